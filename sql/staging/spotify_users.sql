-- Grain: one account, with the columns of schemas.tables.Users; exports' profile files are not read.
with users as (
    select distinct
        user_id,
        null::varchar as city,
        null::varchar as country,
        null::bigint as age,
        null::varchar as gender,
        null::varchar as registered_via,
        null::date as registered_at,
        null::date as expires_at
    from spotify_files
    where kind not in ('library', 'other')
)

select * from users
