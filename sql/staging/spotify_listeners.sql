-- Grain: one account whose records bear several user names, with a file of each of two of them.
with names as (
    select distinct path, listener
    from spotify_history
    where listener is not null
),

listeners as (
    select places.user_id, names.listener, min(places.file) as file
    from names
    inner join spotify_places as places on names.path = places.path
    group by places.user_id, names.listener
),

mixed as (
    select user_id, min(file) as file, max(file) as other_file
    from listeners
    group by user_id
    having count(*) > 1
    order by user_id
)

select * from mixed
