-- Grain: one artist; the $top most played among the scored plays whose artist is known.
with by_artist as (
    select
        tracks.artist as label,
        count(*) as times,
        count(*) filter (where scored.target) as positives
    from scored
    inner join tracks on scored.track_id = tracks.track_id
    where tracks.artist is not null
    group by tracks.artist
),

most_played as (
    select * from by_artist
    order by times desc, label asc
    limit $top
)

select * from most_played
