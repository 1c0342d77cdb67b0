-- Grain: one listener and track, of the $most tracks that the listener played most.
with by_track as (
    select
        user_id,
        track_id,
        any_value(track) as track,
        any_value(artist) as artist,
        count(*) as plays,
        row_number() over (partition by user_id order by count(*) desc, track_id asc) as place
    from listener_plays
    group by user_id, track_id
),

most_played as (
    select *
    from by_track
    where place <= $most
    order by user_id, place
)

select * from most_played
