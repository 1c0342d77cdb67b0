-- Grain: one account whose records bear several user names, with a file of each of two of them.
with listeners as (
    select user_id, listener, min(file) as file
    from spotify_records
    where listener is not null
    group by user_id, listener
),

mixed as (
    select user_id, min(file) as file, max(file) as other_file
    from listeners
    group by user_id
    having count(*) > 1
)

select * from mixed order by user_id
