-- Grain: one hour of the listener's day (0 to 23, in $timezone). From scored plays with a clock.
with local_plays as (
    select
        target,
        hour(timezone($timezone, started_at)) as hour
    from scored
    where started_at is not null
),

by_hour as (
    select
        hour,
        count(*) as rows,
        count(*) filter (where target) as positives
    from local_plays
    group by hour
    order by hour
)

select * from by_hour
