-- Grain: one row per period, `training` (before $known) and `newest` (from $recent on): how much was played,
-- by whom, and in the newest how much of it by users and of tracks that training does not have.
with ticked as (
    select
        user_id,
        track_id,
        case when resolution = 'order' then seq else epoch_ms(started_at) end as tick
    from plays
),

placed as (
    select
        *,
        case when tick >= $recent then 'newest' when tick < $known then 'training' end as period
    from ticked
),

known_users as (
    select distinct user_id from placed
    where period = 'training'
),

known_tracks as (
    select distinct track_id from placed
    where period = 'training'
),

by_period as (
    select
        placed.period,
        count(*) as plays,
        count(distinct placed.user_id) as users,
        count(distinct placed.track_id) as tracks,
        min(placed.tick) as first_tick,
        max(placed.tick) as last_tick,
        count(distinct placed.user_id) filter (where known_users.user_id is null) as new_users,
        count(*) filter (where known_users.user_id is null) as plays_by_new_users,
        count(distinct placed.track_id) filter (where known_tracks.track_id is null) as new_tracks,
        count(*) filter (where known_tracks.track_id is null) as plays_of_new_tracks
    from placed
    left join known_users on placed.user_id = known_users.user_id
    left join known_tracks on placed.track_id = known_tracks.track_id
    where placed.period is not null
    group by placed.period
    order by placed.period desc
)

select * from by_period
