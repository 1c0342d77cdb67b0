-- Grain: one (artist, title) as spelled in the scrobbles. track_id is the same for spellings that
-- differ only in case, Unicode form and white space, and the same as in spotify_titles.
with spellings as (
    select distinct
        artist,
        title
    from scrobbles
    where artist is not null and title is not null
),

normal as (
    select
        artist,
        title,
        trim(regexp_replace(lower(nfc_normalize(artist)), '[\s\p{Z}]+', ' ', 'g')) as same_artist,
        trim(regexp_replace(lower(nfc_normalize(title)), '[\s\p{Z}]+', ' ', 'g')) as same_title
    from spellings
),

titles as (
    select
        artist,
        title,
        left(md5(same_artist || chr(31) || same_title), 16) as track_id
    from normal
)

select * from titles
