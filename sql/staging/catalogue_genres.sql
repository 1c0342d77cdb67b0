-- Grain: one track of the catalogue that has genres: those of all its records, the broad ones first
-- (each record names these first), then those that more records name.
with named as (
    select
        left(
            md5(
                trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g'))
                || chr(31)
                || trim(regexp_replace(lower(nfc_normalize(title)), '[\s\p{Z}]+', ' ', 'g'))
            ),
            16
        ) as same_track,
        genres,
        unnest(genres) as genre
    from catalogue
    where genres is not null
),

counted as (
    select
        same_track,
        genre,
        min(list_position(genres, genre)) as place,
        count(*) as records
    from named
    group by same_track, genre
),

united as (
    select
        same_track,
        list(genre order by place asc, records desc, genre asc) as genres
    from counted
    group by same_track
)

select * from united
