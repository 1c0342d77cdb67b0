-- Grain: one track of the catalogue, heard or not, with the columns of schemas.tables.Audio.
with own as (
    select
        track_id,
        left(
            md5(
                trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g'))
                || chr(31)
                || trim(regexp_replace(lower(nfc_normalize(name)), '[\s\p{Z}]+', ' ', 'g'))
            ),
            16
        ) as same_track
    from source_tracks
),

audio as (
    select
        coalesce(own.track_id, merged.same_track) as track_id,
        merged.danceability,
        merged.energy,
        merged."key",
        merged.loudness,
        merged.mode,
        merged.speechiness,
        merged.acousticness,
        merged.instrumentalness,
        merged.liveness,
        merged.valence,
        merged.tempo,
        merged.time_signature,
        merged.duration_ms
    from catalogue_merged as merged
    left join own on merged.same_track = own.same_track
    order by 1
)

select * from audio
