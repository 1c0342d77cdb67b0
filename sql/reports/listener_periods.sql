-- Grain: one listener and $period (week or month, local time) with plays before the cutoff.
with by_period as (
    select
        user_id,
        cast(date_trunc($period, started) as timestamp) as period,
        count(*) as plays
    from listener_plays
    where started is not null
    group by user_id, date_trunc($period, started)
    order by user_id, period
)

select * from by_period
