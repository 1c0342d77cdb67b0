-- Grain: one $period (day, week, month) local to $timezone: labelled plays and those that are true.
with labelled as (
    select
        labels.target,
        date_trunc($period, timezone($timezone, plays.started_at)) as period
    from labels
    inner join numbered_plays as plays on labels.play = plays.file_row_number
    where labels.target is not null
),

by_period as (
    select
        cast(period as timestamp) as period,
        count(*) as rows,
        count(*) filter (where target) as positives
    from labelled
    group by period
    order by period
)

select * from by_period
