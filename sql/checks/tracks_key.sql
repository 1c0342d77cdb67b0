-- Tracks that are there more than once.
with doubled as (
    select
        track_id,
        count(*) as tracks
    from tracks
    group by track_id
    having count(*) > 1
)

select * from doubled
