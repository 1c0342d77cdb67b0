-- Grain: one row: the number of values that are there in each column of the plays.
with present as (
    select count(columns(*))
    from plays
)

select * from present
