-- Plays that share their (user_id, seq).
with doubled as (
    select
        user_id,
        seq,
        count(*) as plays
    from plays
    group by user_id, seq
    having count(*) > 1
)

select * from doubled
