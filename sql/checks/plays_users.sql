-- Users that plays name and the table users lacks.
with named as (
    select distinct user_id from plays
),

unknown as (
    select named.user_id
    from named
    anti join users on named.user_id = users.user_id
)

select * from unknown
