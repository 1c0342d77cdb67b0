-- Grain: one $period (day, week, month) of scored plays, local to $timezone, with what came true,
-- what was predicted, and the log loss in nats (clipped at 1e-15 as in the metrics).
with local_plays as (
    select
        target,
        predicted_probability,
        date_trunc($period, timezone($timezone, started_at)) as period,
        least(greatest(
            case when target then predicted_probability else 1 - predicted_probability end, 1e-15
        ), 1 - 1e-15) as likelihood
    from scored
    where started_at is not null
),

by_period as (
    select
        cast(period as timestamp) as period,
        count(*) as rows,
        count(*) filter (where target) as positives,
        avg(predicted_probability) as predicted,
        avg(-ln(likelihood)) as log_loss
    from local_plays
    group by period
    order by period
)

select * from by_period
