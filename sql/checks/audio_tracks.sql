-- Rows of the table audio without a track, or with a track that another row has.
with counted as (
    select
        track_id,
        count(*) as times
    from audio
    group by track_id
),

astray as (
    select
        counted.track_id,
        counted.times
    from counted
    left join tracks on counted.track_id = tracks.track_id
    where tracks.track_id is null or counted.times > 1
)

select * from astray
