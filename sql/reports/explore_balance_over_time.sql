-- Grain: one $period (day, week, month) local to $timezone: labelled plays and those that are true.
-- Zones change at whole minutes: the calendar is worked out once for each minute that has plays.
with by_minute as (
    select
        epoch_us(started_at) // 60000000 as minute,
        count(*) as rows,
        count(*) filter (where target) as positives
    from labelled
    group by minute
),

local_minutes as (
    select
        date_trunc($period, timezone($timezone, make_timestamptz(minute * 60000000))) as period,
        rows,
        positives
    from by_minute
),

by_period as (
    select
        cast(period as timestamp) as period,
        cast(sum(rows) as bigint) as rows,
        cast(sum(positives) as bigint) as positives
    from local_minutes
    group by period
    order by period
)

select * from by_period
