-- Grain: one row per period, `training` and `newest`: the number of values in each column of the plays.
with placed as (
    select
        *,
        case
            when case when resolution = 'order' then seq else epoch_ms(started_at) end >= $recent
                then 'newest'
            when case when resolution = 'order' then seq else epoch_ms(started_at) end < $known
                then 'training'
        end as period
    from plays
),

present as (
    select
        period,
        count(*) as rows,
        count(columns(* exclude (period)))
    from placed
    where period is not null
    group by period
)

select * from present
