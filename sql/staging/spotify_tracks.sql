-- Grain: one played track, as it is spelled most often, with the columns of schemas.tables.Tracks.
-- A spelling with uri and album comes first; the library's are used where the plays have none.
with played as (
    select track_id, title, artist, album, uri, count(*) as plays
    from spotify_records
    where apart is null and track_id is not null
    group by all
),

saved as (
    select titles.track_id, saved.title, saved.artist, saved.album, saved.uri, 0 as plays
    from spotify_saved as saved
    inner join spotify_titles as titles on saved.artist = titles.artist and saved.title = titles.title
    where titles.track_id in (select track_id from played)
),

spellings as (
    select * from played
    union all
    select * from saved
),

ranked as (
    select
        *,
        row_number() over (
            partition by track_id
            order by uri is null, album is null, plays desc, uri, title, artist, album
        ) as choice
    from spellings
),

tracks as (
    select
        track_id,
        title as name,
        artist,
        album,
        uri,
        null::bigint as duration_ms,
        null::varchar as language,
        null::bigint as year,
        null::varchar as isrc_country,
        null::varchar as isrc_registrant,
        null::varchar[] as artists,
        null::varchar[] as genres,
        null::varchar[] as composers,
        null::varchar[] as lyricists
    from ranked
    where choice = 1
)

select * from tracks
