-- Grain: one row for the whole data set: how much there is, and from when to when.
with spans as (
    select
        count(*) as plays,
        min(started_at) as first_start,
        max(started_at) as last_start
    from plays
),

distinct_ids as (
    select
        count(distinct user_id) as users,
        count(distinct track_id) as tracks
    from pairs
),

plays_counted as (
    select
        spans.plays,
        distinct_ids.users,
        distinct_ids.tracks,
        spans.first_start,
        spans.last_start
    from spans
    cross join distinct_ids
)

select * from plays_counted
