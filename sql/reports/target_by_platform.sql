-- Grain: one platform (or, where the source has no platforms, one place in the app that the play
-- was started from); the $top commonest among the scored plays, the rest as one row.
with started as (
    select
        scored.target,
        coalesce(plays.platform, plays.source_type) as label
    from scored
    inner join plays on scored.user_id = plays.user_id and scored.seq = plays.seq
),

by_label as (
    select
        label,
        count(*) as times,
        count(*) filter (where target) as positives
    from started
    where label is not null
    group by label
),

ranked as (
    select
        *,
        row_number() over (order by times desc, label asc) as place
    from by_label
),

pooled as (
    select
        case when place <= $top then label else 'all others' end as label,
        cast(sum(times) as bigint) as times,
        cast(sum(positives) as bigint) as positives,
        min(place) as place
    from ranked
    group by all
    order by min(place)
)

select * from pooled
