-- One row per listener of members.csv (the first record of each), in file order.
-- An age outside 1..74 is a slip of the form, not an age; dates are yyyymmdd.
-- A record without an id stays, so that validation refuses it.
with members as (
    select
        *,
        try_cast(bd as bigint) as age
    from kkbox_members
    qualify row_number() over (partition by coalesce(msno, position::varchar) order by position) = 1
),

users as (
    select
        msno as user_id,
        nullif(trim(city), '') as city,
        null::varchar as country,
        case when age > 0 and age < 75 then age end as age,
        case when lower(trim(gender)) in ('male', 'female') then lower(trim(gender)) end as gender,
        nullif(trim(registered_via), '') as registered_via,
        try_strptime(trim(registration_init_time), '%Y%m%d')::date as registered_at,
        try_strptime(trim(expiration_date), '%Y%m%d')::date as expires_at
    from members
    order by position
)

select * from users
