-- Users that are there more than once.
with doubled as (
    select
        user_id,
        count(*) as users
    from users
    group by user_id
    having count(*) > 1
)

select * from doubled
