-- Tracks that plays name and the table tracks lacks.
with named as (
    select distinct track_id from plays
),

unknown as (
    select named.track_id
    from named
    anti join tracks on named.track_id = tracks.track_id
)

select * from unknown
