-- Grain: one record of a catalogue's file of tracks, in file order, with the columns of
-- schemas.tables.Catalogue. A text that is no number becomes one outside of the column's range.
-- $file: the file's name.
with cleaned as (
    select
        nullif(trim(title), '') as title,
        -- of several artists in brackets, the first
        nullif(
            trim(
                case
                    when artist like '[''%' then regexp_extract(artist, '^\[''(.*?)''(, |\])', 1)
                    when artist like '["%' then regexp_extract(artist, '^\["(.*?)"(, |\])', 1)
                    else artist
                end
            ),
            ''
        ) as artist,
        nullif(trim(album), '') as album,
        trim(uri) as uri,
        nullif(trim(duration_ms), '') as duration_ms,
        nullif(trim(released), '') as released,
        lower(concat_ws(',', genres, subgenre)) as genres,
        nullif(trim(danceability), '') as danceability,
        nullif(trim(energy), '') as energy,
        nullif(trim("key"), '') as "key",
        nullif(trim(loudness), '') as loudness,
        nullif(trim(mode), '') as mode,
        nullif(trim(speechiness), '') as speechiness,
        nullif(trim(acousticness), '') as acousticness,
        nullif(trim(instrumentalness), '') as instrumentalness,
        nullif(trim(liveness), '') as liveness,
        nullif(trim(valence), '') as valence,
        nullif(trim(tempo), '') as tempo,
        nullif(trim(time_signature), '') as time_signature,
        position
    from catalogue_texts
),

numbers as (
    select
        title,
        artist,
        album,
        uri,
        genres,
        position,
        case when duration_ms is not null then coalesce(try_cast(duration_ms as double), -1) end as duration,
        case
            -- an album without a date has year 0 in Spotify's own data
            when released is not null then nullif(coalesce(try_cast(left(released, 4) as bigint), -1), 0)
        end as year,
        case
            when danceability is not null then coalesce(try_cast(danceability as double), 'nan')
        end as danceability,
        case
            when energy is not null then coalesce(try_cast(energy as double), 'nan')
        end as energy,
        case
            when "key" is not null then coalesce(try_cast("key" as double), 'nan')
        end as "key",
        case
            when loudness is not null then coalesce(try_cast(loudness as double), 'nan')
        end as loudness,
        case
            when mode is not null then coalesce(try_cast(mode as double), 'nan')
        end as mode,
        case
            when speechiness is not null then coalesce(try_cast(speechiness as double), 'nan')
        end as speechiness,
        case
            when acousticness is not null then coalesce(try_cast(acousticness as double), 'nan')
        end as acousticness,
        case
            when instrumentalness is not null then coalesce(try_cast(instrumentalness as double), 'nan')
        end as instrumentalness,
        case
            when liveness is not null then coalesce(try_cast(liveness as double), 'nan')
        end as liveness,
        case
            when valence is not null then coalesce(try_cast(valence as double), 'nan')
        end as valence,
        case
            when tempo is not null then coalesce(try_cast(tempo as double), 'nan')
        end as tempo,
        case
            when time_signature is not null then coalesce(try_cast(time_signature as double), 'nan')
        end as time_signature
    from cleaned
),

split as (
    select
        *,
        list_filter(
            list_transform(
                regexp_split_to_array(regexp_replace(genres, '^\[|\]$', '', 'g'), '[,;|]'),
                lambda genre: trim(genre, ' ''"')
            ),
            lambda genre: genre <> ''
        ) as listed
    from numbers
),

records as (
    select
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
        time_signature,
        title,
        artist,
        album,
        case
            when regexp_full_match(uri, '[0-9A-Za-z]{22}') then 'spotify:track:' || uri
            when regexp_full_match(uri, '[a-z][a-z0-9+.-]*:[^\s]+') then uri
        end as uri,
        case
            when duration between 0 and 1e15 then nullif(round(duration)::bigint, 0)
            when duration is not null then -1
        end as duration_ms,
        year,
        case when len(listed) > 0 then listed end as genres,
        $file::varchar as file,
        position
    from split
)

select * from records
