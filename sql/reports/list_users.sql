-- Grain: one user with plays before the cutoff: how many, for how many days, and of which genre most.
with earlier_plays as (
    select
        user_id,
        track_id,
        count(*) as plays,
        epoch_ms(min(started_at)) as first_tick
    from plays
    where coalesce(epoch_ms(started_at), seq) < $cutoff
    group by user_id, track_id
),

totals as (
    select
        user_id,
        sum(plays)::bigint as activity,
        ($cutoff - min(first_tick)) // 86400000 as tenure
    from earlier_plays
    group by user_id
),

genre_plays as (
    select
        earlier_plays.user_id,
        unnest(tracks.genres) as genre,
        earlier_plays.plays
    from earlier_plays
    inner join tracks on earlier_plays.track_id = tracks.track_id
),

by_genre as (
    select
        user_id,
        genre,
        row_number() over (partition by user_id order by sum(plays) desc, genre asc) as place
    from genre_plays
    where genre is not null
    group by user_id, genre
),

described as (
    select
        totals.user_id,
        totals.activity,
        totals.tenure,
        by_genre.genre as main_genre,
        users.age,
        users.gender,
        users.country
    from totals
    left join by_genre on totals.user_id = by_genre.user_id and by_genre.place = 1
    left join users on totals.user_id = users.user_id
    order by totals.user_id
)

select * from described
