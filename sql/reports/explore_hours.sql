-- Grain: one hour of one weekday (1 = Monday), local to $timezone: plays that started in it.
-- Zones change at whole minutes: the calendar is worked out once for each minute that has plays.
with by_minute as (
    select
        epoch_us(started_at) // 60000000 as minute,
        count(*) as plays
    from plays
    where started_at is not null
    group by minute
),

local_minutes as (
    select
        timezone($timezone, make_timestamptz(minute * 60000000)) as started,
        plays
    from by_minute
),

by_hour as (
    select
        isodow(started) as weekday,
        hour(started) as hour,
        sum(plays)::bigint as plays
    from local_minutes
    group by weekday, hour
    order by weekday, hour
)

select * from by_hour
