-- One row per play (or probe): what is known when it starts, with its user and track as their places
-- in features/users and features/tracks. The end and the length of the play come along for later
-- plays to look back at; no feature reads its own.
-- A start is its end less its length, and the end is rounded: what the start has below the log's
-- resolution is the length itself. So ticks are whole units of the resolution, or a gap of 28 s in
-- a log of minutes would tell that the play lasted 3:32. Others see the play from the tick after its
-- start (`seen_from`), however coarse their own ticks are.
with dim_tracks as (
    select
        track_id,
        (row_number() over (order by track_id) - 1)::integer as track
    from tracks
),

dim_users as (
    select
        user_id,
        (row_number() over (order by user_id) - 1)::integer as user
    from users
),

grains as (
    select
        *,
        case resolution when 'day' then 86400000 when 'minute' then 60000 else 1000 end as grain
    from moments_of
),

local_plays as (
    select
        *,
        coalesce(epoch_ms(started_at) // grain * grain, seq) as tick,
        -- a date is the listener's own already, and has no hour
        timezone(case resolution when 'day' then 'UTC' else $timezone end, started_at) as local_start
    from grains
),

moments as (
    select
        local_plays.row,
        local_plays.tick,
        coalesce(epoch_ms(local_plays.started_at), local_plays.seq) + 1 as seen_from,
        epoch_ms(local_plays.ended_at) as end_tick,
        (local_plays.ms_played / 1000)::float as seconds_played,
        dim_users.user,
        dim_tracks.track,
        local_plays.platform,
        local_plays.country,
        local_plays.reason_start,
        local_plays.source_tab,
        local_plays.source_screen,
        local_plays.source_type,
        local_plays.shuffle::float as shuffle,
        local_plays.offline::float as offline,
        case when local_plays.resolution <> 'day' then hour(local_plays.local_start)::float end as hour,
        isodow(local_plays.local_start)::float as day_of_week,
        month(local_plays.local_start)::float as month,
        (epoch_ms(local_plays.started_at) // 86400000)::integer as day
    from local_plays
    inner join dim_users on local_plays.user_id = dim_users.user_id
    inner join dim_tracks on local_plays.track_id = dim_tracks.track_id
)

select * from moments
