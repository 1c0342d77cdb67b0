-- Grain: one played track, as it is spelled most often, with the columns of schemas.tables.Tracks.
-- A spelling with uri and album comes first; the library's are used where the plays have none.
with histories as (
    select title, artist, album, uri, resolution, sum(records) as plays
    from spotify_spellings
    where apart is null and listened
    group by all
),

played as (
    select
        titles.track_id,
        histories.title,
        histories.artist,
        histories.album,
        histories.uri,
        histories.plays
    from histories
    inner join spotify_titles as titles on histories.artist = titles.artist and histories.title = titles.title
    where histories.resolution = 'second' or not titles.episode
),

saved as (
    select titles.track_id, saved.title, saved.artist, saved.album, saved.uri, 0 as plays
    from spotify_saved as saved
    inner join spotify_titles as titles on saved.artist = titles.artist and saved.title = titles.title
    where titles.track_id in (select played.track_id from played)
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
            order by uri is null asc, album is null asc, plays desc, uri asc, title asc, artist asc, album asc
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
    order by track_id
)

select * from tracks
