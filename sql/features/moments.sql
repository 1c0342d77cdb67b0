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

ticks as (
    select
        *,
        coalesce(epoch_ms(started_at) // grain * grain, seq) as tick
    from grains
),

moments as (
    select
        ticks.row,
        ticks.tick,
        coalesce(epoch_ms(ticks.started_at), ticks.seq) + 1 as seen_from,
        epoch_ms(ticks.ended_at) as end_tick,
        (ticks.ms_played / 1000)::float as seconds_played,
        dim_users.user,
        dim_tracks.track,
        ticks.platform,
        ticks.country,
        ticks.reason_start,
        ticks.source_tab,
        ticks.source_screen,
        ticks.source_type,
        ticks.shuffle::float as shuffle,
        ticks.offline::float as offline,
        coalesce((ticks.resolution = 'day')::tinyint, 2) as dated, -- 2: unknown, as of a probe
        (epoch_ms(ticks.started_at) // 86400000)::integer as day
    from ticks
    inner join dim_users on ticks.user_id = dim_users.user_id
    inner join dim_tracks on ticks.track_id = dim_tracks.track_id
)

select * from moments
