-- Grain: one scrobble of Last.fm-1K's play file, in file order: the columns of scrobbles_records.
-- MusicBrainz ids are not used: many tracks have none.
with timed as (
    select
        *,
        try_cast("timestamp" as timestamptz) as heard_at
    from lastfm_1k_lines
),

records as (
    select
        "user" as user_id,
        nullif(trim(artist), '') as artist,
        nullif(trim(track), '') as title,
        null::varchar as album,
        null::varchar as given_id,
        -- far beyond these dates other tools' calendars end: such a moment is as good as none
        case
            when heard_at between timestamptz '0100-01-01' and timestamptz '9900-01-01' then heard_at
        end as at, -- noqa: RF04
        null::bigint as ms_played,
        null::bigint as duration_ms,
        $file::varchar as file,
        position
    from timed
)

select * from records
