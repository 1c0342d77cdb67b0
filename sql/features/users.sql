-- One row per user, numbered in the order of their ids: what a listener brings to any moment. Dates are days
-- since 1970.
with numbered_users as (
    select
        user_id,
        row_number() over (order by user_id) - 1 as row,
        row::integer as user,
        country as home_country,
        city,
        gender,
        registered_via,
        age::float as age,
        year(registered_at)::float as registered_year,
        (epoch_ms(registered_at) // 86400000)::float as registered_day
    from users
)

select * from numbered_users
