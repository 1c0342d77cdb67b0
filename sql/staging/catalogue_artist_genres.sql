-- Grain: one artist, by the normal form of the name: the genres of all its records, in their order.
with named as (
    select
        trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g')) as same_artist,
        genres,
        unnest(genres) as genre
    from catalogue_of_artists
    where genres is not null
),

counted as (
    select
        same_artist,
        genre,
        min(list_position(genres, genre)) as place
    from named
    group by same_artist, genre
),

united as (
    select
        same_artist,
        list(genre order by place asc, genre asc) as genres
    from counted
    group by same_artist
)

select * from united
