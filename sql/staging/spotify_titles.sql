-- Grain: one (artist, title) as spelled in the history or a library. track_id is the same for
-- spellings that differ only in case, Unicode form and white space; `episode` marks what the
-- extended history knows as a podcast's episode, which the account data does not tell from a track.
with spellings as (
    select artist, title
    from spotify_spellings
    where artist is not null and title is not null
    union
    select artist, title
    from spotify_saved
    where artist is not null and title is not null
),

episodes as (
    select distinct podcast as artist, episode as title
    from spotify_spellings
    where apart = 'podcasts' and podcast is not null and episode is not null
),

normal as (
    select
        artist,
        title,
        trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g')) as same_artist,
        trim(regexp_replace(lower(nfc_normalize(title)), '[\s\p{Z}]+', ' ', 'g')) as same_title
    from spellings
),

named as (
    select
        normal.artist,
        normal.title,
        left(md5(normal.same_artist || chr(31) || normal.same_title), 16) as track_id,
        episodes.title is not null as episode
    from normal
    left join episodes on normal.artist = episodes.artist and normal.title = episodes.title
)

select * from named
