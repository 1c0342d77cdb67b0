-- Grain: one scrobbled track, as it is spelled most often, with the columns of schemas.tables.Tracks.
-- A spelling with an album comes first; the length is the middle one of those that are told.
with spellings as (
    select track_id, title, artist, album, sum(plays) as plays
    from scrobbles_spellings
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
),

counted as (
    select track_id, duration_ms, sum(plays) as plays
    from scrobbles_spellings
    where duration_ms is not null
    group by all
),

placed as (
    select
        *,
        sum(plays) over (partition by track_id order by duration_ms) as up_to,
        sum(plays) over (partition by track_id) as told
    from counted
),

lengths as (
    select track_id, min(duration_ms) as duration_ms
    from placed
    where 2 * up_to >= told
    group by track_id
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
    order by ranked.track_id
)

select * from tracks
