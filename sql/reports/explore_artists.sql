-- Grain: one artist; the $top most played.
with by_artist as (
    select
        tracks.artist as label,
        sum(pairs.plays)::bigint as plays,
        count(distinct pairs.user_id) as users
    from pairs
    inner join tracks on pairs.track_id = tracks.track_id
    where tracks.artist is not null
    group by tracks.artist
),

most_played as (
    select *
    from by_artist
    order by plays desc, label asc
    limit $top
)

select * from most_played
