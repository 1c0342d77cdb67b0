-- Grain: one step of 5 % of the repeat rate: users whose rate falls into it. A user's rate is what the
-- source itself says of the pairs (repeated); without that, the share of plays of tracks the user
-- had played before. Users with fewer than $fewest plays are left out.
with by_user as (
    select
        user_id,
        case
            when sum(known) > 0 then sum(repeated) / sum(known)
            else 1 - count(*) / sum(plays)
        end as rate
    from pairs
    group by user_id
    having sum(plays) >= $fewest
),

by_step as (
    select
        least(cast(floor(rate * 20) as bigint), 19) as step,
        count(*) as users,
        avg(rate) as mean_rate
    from by_user
    group by step
    order by step
)

select * from by_step
