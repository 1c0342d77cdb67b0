-- Grain: one of $blocks equal blocks of labelled plays in row order, for sources without a clock.
with bounds as (
    select
        min(seq) as first_seq,
        max(seq) - min(seq) + 1 as width
    from labels
),

by_block as (
    select
        (labels.seq - bounds.first_seq) * $blocks // bounds.width + 1 as period,
        count(*) as rows,
        count(*) filter (where labels.target) as positives
    from labels
    cross join bounds
    where labels.target is not null
    group by period
    order by period
)

select * from by_block
