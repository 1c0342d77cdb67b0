-- Grain: one scrobbled track, as it is spelled most often, with the columns of schemas.tables.Tracks.
-- A spelling with an album comes first; the length is the middle one of those that are told.
with spellings as (
    select
        coalesce(scrobbles.given_id, titles.track_id) as track_id,
        scrobbles.title,
        scrobbles.artist,
        scrobbles.album,
        count(*) as plays
    from scrobbles
    left join scrobbles_titles as titles
        on scrobbles.artist = titles.artist and scrobbles.title = titles.title
    group by all
),

ranked as (
    select
        *,
        row_number() over (
            partition by track_id
            order by
                title is null asc, artist is null asc, album is null asc, plays desc,
                title asc, artist asc, album asc
        ) as choice
    from spellings
    where track_id is not null
),

lengths as (
    select
        coalesce(scrobbles.given_id, titles.track_id) as track_id,
        quantile_disc(scrobbles.duration_ms, 0.5) as duration_ms
    from scrobbles
    left join scrobbles_titles as titles
        on scrobbles.artist = titles.artist and scrobbles.title = titles.title
    where scrobbles.duration_ms > 0
    group by all
),

tracks as (
    select
        ranked.track_id,
        ranked.title as name,
        ranked.artist,
        ranked.album,
        null::varchar as uri,
        lengths.duration_ms,
        null::varchar as language,
        null::bigint as year,
        null::varchar as isrc_country,
        null::varchar as isrc_registrant,
        null::varchar[] as artists,
        null::varchar[] as genres,
        null::varchar[] as composers,
        null::varchar[] as lyricists
    from ranked
    left join lengths on ranked.track_id = lengths.track_id
    where ranked.choice = 1
)

select * from tracks
