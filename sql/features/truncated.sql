-- The plays as they were known at the start of play $row: that play without its outcome, and all
-- earlier ones; what had not ended (or, without a clock, whose label was not known) is blank.
with moment as (
    select
        started_at,
        seq
    from numbered_plays
    where file_row_number = $row
),

known as (
    select
        plays.*,
        plays.file_row_number = $row or plays.ended_at > moment.started_at as running,
        plays.file_row_number = $row
        or plays.seq >= $known_until
        or least(plays.seq + $maturity_rows, $known_until) > moment.seq as unlabelled,
        moment.started_at + interval 1 millisecond as not_before
    from numbered_plays as plays
    cross join moment
    where
        plays.file_row_number = $row
        or plays.started_at < moment.started_at
        or (plays.started_at is null and plays.seq < moment.seq)
),

truncated as (
    select
        user_id,
        seq,
        track_id,
        started_at,
        case when coalesce(running, false) then not_before else ended_at end as ended_at,
        resolution,
        platform,
        country,
        reason_start,
        shuffle,
        offline,
        source_tab,
        source_screen,
        source_type,
        case when not coalesce(running, false) then ms_played end as ms_played,
        case when not running then reason_end end as reason_end,
        case when not running then skipped end as skipped,
        case when not unlabelled then repeated end as repeated,
        case when file_row_number = $row then 'probe' end as request_id,
        file,
        position
    from known
    order by file_row_number
)

select * from truncated
