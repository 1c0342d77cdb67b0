-- Grain: one class of session lengths (in plays): sessions in it. A session ends with a gap of more
-- than 30 minutes between the end of one play and the start of the next. Each user's seq counts
-- plays without a hole, so a session's length is the distance between two sessions' first plays.
with firsts as (
    select
        plays.user_id,
        plays.seq
    from plays
    left join plays as previous on plays.user_id = previous.user_id and plays.seq = previous.seq + 1
    where
        plays.started_at is not null
        and (
            previous.seq is null
            or epoch_ms(plays.started_at) - epoch_ms(previous.ended_at) > 30 * 60 * 1000
        )
),

ends as (
    select
        user_id,
        max(seq) + 1 as after_last
    from plays
    group by user_id
),

by_session as (
    select
        coalesce(
            lead(firsts.seq) over (partition by firsts.user_id order by firsts.seq), ends.after_last
        ) - firsts.seq as plays
    from firsts
    inner join ends on firsts.user_id = ends.user_id
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
        cast(sum(plays) as bigint) as plays
    from by_session
    group by at_least
    order by at_least
)

select * from by_class
