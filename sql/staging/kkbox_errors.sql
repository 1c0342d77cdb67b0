-- One row per connection or playback error: KKBox logs none.
with errors as (
    select
        null::varchar as user_id,
        null::timestamptz as at,
        null::varchar as kind,
        null::varchar as file,
        null::bigint as position
    where false
)

select * from errors
