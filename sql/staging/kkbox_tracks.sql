-- One row per song of songs.csv or song_extra_info.csv (the first record of each), in file order.
-- A record without an id stays, so that validation refuses it.
-- ISRC: 2 letters of country, 3 of registrant, 2 digits of year, 5 of designation.
with song_copies as (
    select
        song_id,
        min(position) as first_position
    from kkbox_songs
    group by song_id
    having count(*) > 1 and song_id is not null
),

songs as (
    select kkbox_songs.*
    from kkbox_songs
    left join song_copies on kkbox_songs.song_id = song_copies.song_id
    where song_copies.song_id is null or kkbox_songs.position = song_copies.first_position
),

extra_copies as (
    select
        song_id,
        min(position) as first_position
    from kkbox_song_extra_info
    group by song_id
    having count(*) > 1 and song_id is not null
),

extra as (
    select
        kkbox_song_extra_info.*,
        upper(replace(trim(kkbox_song_extra_info.isrc), '-', '')) as code
    from kkbox_song_extra_info
    left join extra_copies on kkbox_song_extra_info.song_id = extra_copies.song_id
    where extra_copies.song_id is null or kkbox_song_extra_info.position = extra_copies.first_position
),

joined as (
    select
        coalesce(songs.song_id, extra.song_id) as track_id,
        extra.name,
        songs.artist_name,
        songs.song_length,
        songs.language,
        songs.genre_ids,
        songs.composer,
        songs.lyricist,
        songs.position as song_position,
        extra.position as extra_position,
        case
            when regexp_full_match(extra.code, '[A-Z]{2}[A-Z0-9]{3}[0-9]{7}') then extra.code
        end as isrc
    from songs full outer join extra on songs.song_id = extra.song_id
),

split as (
    select
        *,
        list_filter(
            list_transform(string_split(artist_name, '|'), lambda part: trim(part)),
            lambda part: part <> ''
        ) as artists,
        list_filter(
            list_transform(string_split(genre_ids, '|'), lambda part: trim(part)),
            lambda part: part <> ''
        ) as genres,
        list_filter(
            list_transform(string_split(composer, '|'), lambda part: trim(part)),
            lambda part: part <> ''
        ) as composers,
        list_filter(
            list_transform(string_split(lyricist, '|'), lambda part: trim(part)),
            lambda part: part <> ''
        ) as lyricists,
        try_cast(song_length as bigint) as duration_ms,
        isrc[6:7]::bigint as isrc_year
    from joined
),

tracks as (
    select
        track_id,
        nullif(trim(name), '') as name,
        artists[1] as artist,
        null::varchar as album,
        null::varchar as uri,
        case when duration_ms > 0 then duration_ms end as duration_ms,
        -- some copies write 52 as 52.0
        nullif(regexp_replace(trim(language), '\.0$', ''), '') as language,
        case when isrc_year < 18 then 2000 + isrc_year else 1900 + isrc_year end as year,
        isrc[1:2] as isrc_country,
        isrc[3:5] as isrc_registrant,
        case when len(artists) > 0 then artists end as artists,
        case when len(genres) > 0 then genres end as genres,
        case when len(composers) > 0 then composers end as composers,
        case when len(lyricists) > 0 then lyricists end as lyricists
    from split
    order by song_position nulls last, extra_position
)

select * from tracks
