-- Grain: one row: the number of values that are there in each column of the users.
with present as (
    select count(columns(*))
    from users
)

select * from present
