-- Grain: one hour of one weekday (1 = Monday), local to $timezone: plays that started in it.
with local_plays as (
    select timezone($timezone, started_at) as started
    from plays
    where started_at is not null
),

by_hour as (
    select
        isodow(started) as weekday,
        hour(started) as hour,
        count(*) as plays
    from local_plays
    group by weekday, hour
    order by weekday, hour
)

select * from by_hour
