-- Grain: one track of the catalogue, by the normal form of artist and title (as in spotify_titles),
-- described by one of its records: the one that measures most, then the one with a uri.
with normal as (
    select
        *,
        trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g')) as same_artist,
        trim(regexp_replace(lower(nfc_normalize(title)), '[\s\p{Z}]+', ' ', 'g')) as same_title,
        (danceability is not null)::integer + (energy is not null)::integer + ("key" is not null)::integer
        + (loudness is not null)::integer + (mode is not null)::integer + (speechiness is not null)::integer
        + (acousticness is not null)::integer + (instrumentalness is not null)::integer
        + (liveness is not null)::integer + (valence is not null)::integer + (tempo is not null)::integer
        + (time_signature is not null)::integer as measured
    from catalogue
),

named as (
    select
        *,
        left(md5(same_artist || chr(31) || same_title), 16) as same_track
    from normal
),

merged as (
    select
        same_track,
        same_artist,
        title,
        artist,
        album,
        uri,
        duration_ms,
        year,
        danceability,
        energy,
        "key",
        loudness,
        mode,
        speechiness,
        acousticness,
        instrumentalness,
        liveness,
        valence,
        tempo,
        time_signature
    from named
    qualify
        row_number() over (
            partition by same_track
            order by measured desc, uri is null asc, album is null asc, file asc, position asc
        ) = 1
)

select * from merged
