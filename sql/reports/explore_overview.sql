-- Grain: one row for the whole data set: how much there is, and from when to when.
with plays_counted as (
    select
        count(*) as plays,
        count(distinct user_id) as users,
        count(distinct track_id) as tracks,
        min(started_at) as first_start,
        max(started_at) as last_start
    from plays
)

select * from plays_counted
