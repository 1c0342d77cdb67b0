-- Grain: one class of session lengths (in plays): sessions in it. A session ends with a gap of more
-- than 30 minutes between the end of one play and the start of the next.
with timed as (
    select
        user_id,
        started_at - lag(ended_at) over (partition by user_id order by seq) as gap,
        seq
    from plays
    where started_at is not null
),

numbered as (
    select
        user_id,
        sum(case when gap is null or gap > interval 30 minute then 1 else 0 end)
            over (partition by user_id order by seq rows unbounded preceding) as session
    from timed
),

by_session as (
    select count(*) as plays
    from numbered
    group by user_id, session
),

by_class as (
    select
        case
            when plays = 1 then 1
            when plays = 2 then 2
            when plays <= 5 then 3
            when plays <= 10 then 6
            when plays <= 20 then 11
            when plays <= 50 then 21
            else 51
        end as at_least,
        count(*) as sessions,
        sum(plays)::bigint as plays
    from by_session
    group by at_least
    order by at_least
)

select * from by_class
