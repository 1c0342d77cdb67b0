-- One row per play: was it heard out? Null where nothing tells.
-- Order of trust: the source's skipped flag; how the play ended; the share of the track's length,
-- which is the catalogue's, or else the longest play of at least 30 s that had ended before.
with told as (
    select
        plays.file_row_number as play,
        plays.user_id,
        plays.seq,
        plays.track_id,
        plays.started_at,
        plays.ended_at,
        plays.ms_played,
        nullif(tracks.duration_ms, 0) as duration_ms,
        plays.skipped is null and plays.reason_end is null as untold,
        case
            when plays.skipped is not null then not plays.skipped
            when plays.reason_end = 'trackdone' then true
            when plays.reason_end in ('fwdbtn', 'backbtn', 'endplay', 'clickrow', 'nextbtn') then false
        end as target
    from plays
    left join tracks on plays.track_id = tracks.track_id
),

heard as (
    select
        track_id,
        ended_at,
        max(ms_played) as ms_played
    from plays
    where ms_played >= 30000 and exists (select 1 from told where untold and duration_ms is null)
    group by track_id, ended_at
),

lengths as (
    select
        track_id,
        ended_at,
        max(ms_played) over (partition by track_id order by ended_at rows unbounded preceding) as longest
    from heard
),

measured as (
    select
        told.play,
        told.ms_played >= $completed_share * coalesce(told.duration_ms, lengths.longest) as target
    from told
    asof left join lengths on told.track_id = lengths.track_id and told.started_at >= lengths.ended_at
    where told.untold
),

labels as (
    select
        told.play,
        told.user_id,
        told.seq,
        case when told.untold then measured.target else told.target end as target,
        greatest(epoch_ms(told.ended_at), epoch_ms(told.started_at) + 1) as matures_at
    from told
    left join measured on told.play = measured.play
    order by told.play
)

select * from labels
