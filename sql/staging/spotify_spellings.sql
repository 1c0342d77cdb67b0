-- Grain: one spelling of the history's records and what they were read as; `listened` tells plays'
-- packages from others. Records read before are counted with the new ones.
with new as (
    select
        history.artist,
        history.title,
        history.album,
        history.uri,
        history.podcast,
        history.episode,
        history.resolution,
        history.apart,
        places.kind in ('account', 'extended') as listened,
        count(*) as records
    from spotify_history as history
    inner join spotify_places as places on history.path = places.path
    group by all
),

together as (
    select * from new
    union all
    select artist, title, album, uri, podcast, episode, resolution, apart, listened, records
    from spotify_spellings_before
),

spellings as (
    select
        artist,
        title,
        album,
        uri,
        podcast,
        episode,
        resolution,
        apart,
        listened,
        sum(records)::bigint as records
    from together
    group by all
)

select * from spellings
