-- Plays that share their (user_id, seq): among the written ones, or with standing ones, of which each
-- user's are numbered before.
with standing as (
    select
        user_id,
        max(seq) as seq
    from standing_plays
    group by user_id
),

doubled as (
    select
        user_id,
        seq,
        count(*) as plays
    from written_plays
    group by user_id, seq
    having count(*) > 1
),

again as (
    select
        written_plays.user_id,
        written_plays.seq,
        count(*) + 1 as plays
    from written_plays
    inner join standing on written_plays.user_id = standing.user_id
    where written_plays.seq <= standing.seq
    group by written_plays.user_id, written_plays.seq
),

shared as (
    select * from doubled
    union all
    select * from again
)

select * from shared
