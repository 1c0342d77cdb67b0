-- Grain: one track saved in a library (YourLibrary); old ones have no uri.
with libraries as (
    select filename as path, tracks
    from read_json(
        $paths,
        format = 'auto',
        records = 'true',
        filename = true,
        maximum_object_size = $largest,
        columns = { tracks: 'json' }
    )
),

saved as (
    select path, unnest(from_json(tracks, '["json"]')) as track
    from libraries
    where json_type(tracks) = 'ARRAY'
),

renamed as (
    select
        path,
        nullif(trim(track ->> 'artist'), '') as artist,
        nullif(trim(track ->> 'track'), '') as title,
        nullif(trim(track ->> 'album'), '') as album,
        case when (track ->> 'uri') like 'spotify:track:%' then track ->> 'uri' end as uri
    from saved
)

select * from renamed
