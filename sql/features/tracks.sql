-- One row per track, numbered in the order of their ids: what a track brings to any moment, with people as
-- dense integers. Lists are represented by their first element.
with listed as (
    select
        track_id,
        artist,
        isrc_registrant,
        isrc_country,
        language,
        year,
        duration_ms,
        composers[1] as composer,
        genres[1] as genre
    from tracks
),

numbered_tracks as (
    select
        row_number() over (order by track_id) - 1 as row,
        row::integer as track,
        case when artist is not null then (dense_rank() over (order by artist) - 1)::integer end as artist,
        case
            when composer is not null then (dense_rank() over (order by composer) - 1)::integer
        end as composer,
        case
            when isrc_registrant is not null then (dense_rank() over (order by isrc_registrant) - 1)::integer
        end as registrant,
        genre,
        language,
        isrc_country,
        year::float as year,
        (duration_ms / 1000)::float as duration
    from listed
)

select * from numbered_tracks
