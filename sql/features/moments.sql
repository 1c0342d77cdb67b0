-- One row per play (or probe), in its order: everything that is known when it starts, with users,
-- tracks and people as dense integers. Lists are represented by their first element. The end and
-- the length of the play come along for later plays to look back at; no feature reads its own.
-- A start is its end less its length, and the end is rounded: what the start has below the log's
-- resolution is the length itself. So ticks are whole units of the resolution, or a gap of 28 s in
-- a log of minutes would tell that the play lasted 3:32. Others see the play from the tick after its
-- start (`seen_from`), however coarse their own ticks are.
with dim_tracks as (
    select
        track_id,
        duration_ms,
        year,
        language,
        isrc_country,
        genres[1] as genre,
        (row_number() over (order by track_id) - 1)::integer as track,
        (dense_rank() over (order by artist) - 1)::integer as artist,
        (dense_rank() over (order by composers[1]) - 1)::integer as composer,
        (dense_rank() over (order by isrc_registrant) - 1)::integer as registrant,
        artist is not null as has_artist,
        composers[1] is not null as has_composer,
        isrc_registrant is not null as has_registrant
    from tracks
),

dim_users as (
    select
        *,
        (row_number() over (order by user_id) - 1)::integer as user
    from users
),

grains as (
    select
        *,
        case resolution when 'minute' then 60000 else 1000 end as grain
    from moments_of
),

local_plays as (
    select
        *,
        coalesce(epoch_ms(started_at) // grain * grain, seq) as tick,
        timezone($timezone, started_at) as local_start
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
        case when dim_tracks.has_artist then dim_tracks.artist end as artist,
        case when dim_tracks.has_composer then dim_tracks.composer end as composer,
        case when dim_tracks.has_registrant then dim_tracks.registrant end as registrant,
        dim_tracks.genre,
        dim_tracks.language,
        dim_tracks.isrc_country,
        dim_tracks.year::float as year,
        (dim_tracks.duration_ms / 1000)::float as duration,
        dim_users.city,
        dim_users.gender,
        dim_users.registered_via,
        dim_users.age::float as age,
        year(dim_users.registered_at)::float as registered_year,
        case
            when local_plays.started_at is not null
                then ((local_plays.tick - epoch_ms(dim_users.registered_at)) / 86400000)::float
        end as account_days,
        local_plays.platform,
        local_plays.country,
        local_plays.reason_start,
        local_plays.source_tab,
        local_plays.source_screen,
        local_plays.source_type,
        local_plays.shuffle::float as shuffle,
        local_plays.offline::float as offline,
        hour(local_plays.local_start)::float as hour,
        isodow(local_plays.local_start)::float as day_of_week,
        month(local_plays.local_start)::float as month,
        (epoch_ms(local_plays.started_at) // 86400000)::integer as day
    from local_plays
    inner join dim_users on local_plays.user_id = dim_users.user_id
    inner join dim_tracks on local_plays.track_id = dim_tracks.track_id
)

select * from moments
