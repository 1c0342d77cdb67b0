-- Grain: one record of the account data's streaming history, in file order (StreamingHistory*).
-- The same columns as spotify_extended; what this package does not tell is null.
with records as (
    select *
    from read_json(
        $paths,
        format = 'array',
        records = 'true',
        filename = true,
        maximum_object_size = 16777216,
        columns = {
            "endTime": 'varchar',
            "artistName": 'varchar',
            "trackName": 'varchar',
            "msPlayed": 'varchar'
        }
    )
),

renamed as (
    select
        filename as path,
        'minute' as resolution,
        try_cast("endTime" as timestamptz) as ended_at,
        try_cast("msPlayed" as bigint) as ms_played,
        nullif(trim("artistName"), '') as artist,
        nullif(trim("trackName"), '') as title,
        null::varchar as album,
        null::varchar as uri,
        null::varchar as podcast,
        null::varchar as episode,
        null::varchar as platform,
        null::varchar as country,
        null::varchar as reason_start,
        null::varchar as reason_end,
        null::boolean as shuffle,
        null::boolean as skipped,
        null::boolean as offline,
        null::ubigint as listener,
        null::varchar as apart
    from records
)

select * from renamed
