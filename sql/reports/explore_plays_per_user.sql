-- Grain: one class of plays per user (1, 3, 10, 30, 100 … and more): users in it.
with by_user as (
    select
        user_id,
        cast(sum(plays) as bigint) as plays
    from pairs
    group by user_id
),

classed as (
    select
        plays,
        floor(log10(plays)) as digits,
        plays >= 3 * pow(10, floor(log10(plays))) as upper_half
    from by_user
),

by_class as (
    select
        cast(pow(10, digits) * case when upper_half then 3 else 1 end as bigint) as at_least,
        count(*) as users,
        cast(sum(plays) as bigint) as plays
    from classed
    group by at_least
    order by at_least
)

select * from by_class
