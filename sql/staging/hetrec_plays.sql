-- Grain: one (user, artist, date) of the tag events, in the order of its first event: a play of the
-- artist, who stands for a track. A date that is none leaves its event by itself, to be refused.
with distinct_days as (
    select
        user_id,
        track_id,
        tagged_at,
        file,
        min(position) as position
    from raw_tags
    group by
        user_id,
        track_id,
        tagged_at,
        file,
        case when user_id is null or track_id is null or tagged_at is null then position end
),

plays as (
    select
        user_id,
        0::bigint as seq,
        track_id,
        tagged_at as started_at,
        tagged_at as ended_at,
        'day' as resolution,
        null::varchar as platform,
        null::varchar as country,
        null::varchar as reason_start,
        null::boolean as shuffle,
        null::boolean as offline,
        null::varchar as source_tab,
        null::varchar as source_screen,
        null::varchar as source_type,
        null::bigint as ms_played,
        null::varchar as reason_end,
        null::boolean as skipped,
        null::boolean as repeated,
        null::varchar as request_id,
        file,
        position
    from distinct_days
    order by position
)

select * from plays
