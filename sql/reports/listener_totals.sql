-- Grain: one listener: how much was played before the cutoff, of how much, and since when.
with totals as (
    select
        user_id,
        count(*) as plays,
        count(distinct track_id) as tracks,
        count(distinct nullif(artist, '')) as artists,
        strftime(min(started), '%Y-%m-%d') as first_day,
        strftime(max(started), '%Y-%m-%d') as last_day,
        date_diff('day', min(started), max(started)) as days
    from listener_plays
    group by user_id
)

select * from totals
