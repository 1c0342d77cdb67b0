-- Grain: one artist of artists.dat (the first record of each), in file order, as a track.
-- A record without an id stays, so that validation refuses it.
with artists as (
    select
        id,
        nullif(trim(name), '') as name,
        position
    from hetrec_artists
    qualify row_number() over (partition by coalesce(id, position::varchar) order by position) = 1
),

tracks as (
    select
        id as track_id,
        name,
        name as artist,
        null::varchar as album,
        null::varchar as uri,
        null::bigint as duration_ms,
        null::varchar as language,
        null::bigint as year,
        null::varchar as isrc_country,
        null::varchar as isrc_registrant,
        null::varchar[] as artists,
        null::varchar[] as genres,
        null::varchar[] as composers,
        null::varchar[] as lyricists
    from artists
    order by position
)

select * from tracks
