-- Grain: one of $blocks equal blocks of scored plays in row order, for sources without a clock,
-- with what came true, what was predicted, and the log loss in nats (clipped at 1e-15).
with placed as (
    select
        target,
        predicted_probability,
        (row_number() over (order by seq, user_id) - 1) * $blocks // count(*) over () as block,
        least(greatest(
            case when target then predicted_probability else 1 - predicted_probability end, 1e-15
        ), 1 - 1e-15) as likelihood
    from scored
),

by_block as (
    select
        block + 1 as period,
        count(*) as rows,
        count(*) filter (where target) as positives,
        avg(predicted_probability) as predicted,
        avg(-ln(likelihood)) as log_loss
    from placed
    group by block
    order by block
)

select * from by_block
