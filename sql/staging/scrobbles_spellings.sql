-- Grain: one spelling of a track, with a length that was told or none, and the number of its scrobbles.
-- Those read before are counted with the new ones.
with new as (
    select
        coalesce(scrobbles.given_id, titles.track_id) as track_id,
        scrobbles.title,
        scrobbles.artist,
        scrobbles.album,
        case when scrobbles.duration_ms > 0 then scrobbles.duration_ms end as duration_ms,
        count(*) as plays
    from scrobbles
    left join scrobbles_titles as titles
        on scrobbles.artist = titles.artist and scrobbles.title = titles.title
    group by all
),

together as (
    select * from new
    where track_id is not null
    union all
    select track_id, title, artist, album, duration_ms, plays
    from scrobbles_spellings_before
),

spellings as (
    select track_id, title, artist, album, duration_ms, sum(plays)::bigint as plays
    from together
    group by all
)

select * from spellings
