-- One row per track, numbered in the order of their ids: what a track brings to any moment, with people as
-- dense integers in the order of their names. Lists are represented by their first element.
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

-- narrow sorts, joined to the rest: a sort of all columns for each number took twice as long
numbers as (
    select
        track_id,
        row_number() over (order by track_id) - 1 as row
    from listed
),

artists as (
    select
        artist,
        (row_number() over (order by artist) - 1)::integer as number
    from (select distinct artist from listed where artist is not null) as known
),

composers as (
    select
        composer,
        (row_number() over (order by composer) - 1)::integer as number
    from (select distinct composer from listed where composer is not null) as known
),

registrants as (
    select
        isrc_registrant,
        (row_number() over (order by isrc_registrant) - 1)::integer as number
    from (select distinct isrc_registrant from listed where isrc_registrant is not null) as known
),

numbered_tracks as (
    select
        listed.track_id,
        numbers.row,
        numbers.row::integer as track,
        artists.number as artist,
        composers.number as composer,
        registrants.number as registrant,
        listed.genre,
        listed.language,
        listed.isrc_country,
        listed.year::float as year,
        (listed.duration_ms / 1000)::float as duration
    from listed
    inner join numbers on listed.track_id = numbers.track_id
    left join artists on listed.artist = artists.artist
    left join composers on listed.composer = composers.composer
    left join registrants on listed.isrc_registrant = registrants.isrc_registrant
)

select * from numbered_tracks
