-- Grain: one listener and artist, of the $most artists whom the listener played most.
with by_artist as (
    select
        user_id,
        artist,
        count(*) as plays,
        count(distinct track_id) as tracks,
        row_number() over (partition by user_id order by count(*) desc, artist asc) as place
    from listener_plays
    where artist <> ''
    group by user_id, artist
),

most_played as (
    select *
    from by_artist
    where place <= $most
    order by user_id, place
)

select * from most_played
