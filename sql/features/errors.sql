-- One row per connection or playback error of a kind, in time order; users as dense integers.
with dim_users as (
    select
        user_id,
        (row_number() over (order by user_id) - 1)::integer as user
    from users
),

dated as (
    select
        dim_users.user,
        epoch_ms(errors.at) as tick,
        (epoch_ms(errors.at) // 86400000)::integer as day
    from errors
    inner join dim_users on errors.user_id = dim_users.user_id
    where errors.kind = $kind
    order by tick, dim_users.user
)

select * from dated
