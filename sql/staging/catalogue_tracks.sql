-- Grain: one track, of the source or of the catalogue alone, with the columns of
-- schemas.tables.Tracks. Of the source's tracks, what is null is completed. duration_ms is not: labels
-- rest on it, and a length that came with the catalogue would change what was completed.
with own as (
    select
        *,
        trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g')) as same_artist,
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

-- an artist is spelled as the source spells it most often, so that it is the same one
spelled as (
    select
        same_artist,
        artist
    from own
    where artist is not null
    group by same_artist, artist
    qualify row_number() over (partition by same_artist order by count(*) desc, artist asc) = 1
),

completed as (
    select
        own.track_id,
        own.name,
        own.artist,
        coalesce(own.album, merged.album) as album,
        coalesce(own.uri, merged.uri) as uri,
        own.duration_ms,
        own.language,
        coalesce(own.year, merged.year) as year,
        own.isrc_country,
        own.isrc_registrant,
        own.artists,
        own.genres as source_genres,
        own.composers,
        own.lyricists,
        own.same_artist,
        own.same_track
    from own
    left join catalogue_merged as merged on own.same_track = merged.same_track
),

unheard as (
    select
        merged.same_track as track_id,
        merged.title as name,
        coalesce(spelled.artist, merged.artist) as artist,
        merged.album,
        merged.uri,
        null::bigint as duration_ms,
        null::varchar as language,
        merged.year,
        null::varchar as isrc_country,
        null::varchar as isrc_registrant,
        null::varchar[] as artists,
        null::varchar[] as source_genres,
        null::varchar[] as composers,
        null::varchar[] as lyricists,
        merged.same_artist,
        merged.same_track
    from catalogue_merged as merged
    anti join own on merged.same_track = own.same_track
    left join spelled on merged.same_artist = spelled.same_artist
),

united as (
    select * from completed
    union all
    select * from unheard
),

genred as (
    select
        united.*,
        of_track.genres as track_genres,
        list_concat(
            coalesce(of_track.genres, []),
            list_filter(
                coalesce(of_artist.genres, []),
                lambda genre: not list_contains(coalesce(of_track.genres, []), genre)
            )
        ) as catalogue_genres
    from united
    left join catalogue_genres as of_track on united.same_track = of_track.same_track
    left join catalogue_artist_genres as of_artist on united.same_artist = of_artist.same_artist
),

tracks as (
    select
        track_id,
        name,
        artist,
        album,
        uri,
        duration_ms,
        language,
        year,
        isrc_country,
        isrc_registrant,
        artists,
        coalesce(source_genres, case when len(catalogue_genres) > 0 then catalogue_genres end) as genres,
        composers,
        lyricists
    from genred
    order by track_id
)

select * from tracks
