-- Grain: one listener of Last.fm-1K's profile file (the first record of each), in file order.
-- An age outside 1..74 is a slip of the form, not an age.
with profiles as (
    select
        *,
        "#id" as user_id, -- noqa: RF05
        try_cast(age as bigint) as years
    from lastfm_1k_profiles
    qualify row_number() over (partition by coalesce(user_id, position::varchar) order by position) = 1
),

users as (
    select
        user_id,
        null::varchar as city,
        nullif(trim(country), '') as country,
        case when years > 0 and years < 75 then years end as age,
        case lower(trim(gender)) when 'm' then 'male' when 'f' then 'female' end as gender,
        null::varchar as registered_via,
        try_strptime(trim(registered), '%b %d, %Y')::date as registered_at,
        null::date as expires_at
    from profiles
    order by position
)

select * from users
