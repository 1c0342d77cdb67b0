-- Grain: one record of a scrobbles file, in file order, its texts cast. A number is a time since
-- 1970: in seconds below 10^11 (the year 5138), else in milliseconds.
-- $listener: who listens where the file has no such column, else null; $file: the file's name.
with numbers as (
    select
        *,
        try_cast("timestamp" as double) as epoch
    from scrobbles_texts
),

timed as (
    select
        *,
        case
            when epoch is null then try_cast("timestamp" as timestamptz)
            when abs(epoch) < 1e11 then make_timestamptz(round(epoch * 1000)::bigint * 1000)
            when abs(epoch) < 1e14 then make_timestamptz(round(epoch)::bigint * 1000)
        end as heard_at
    from numbers
),

records as (
    select
        coalesce(nullif("user", ''), $listener) as user_id,
        nullif(trim(artist), '') as artist,
        nullif(trim(track), '') as title,
        nullif(trim(album), '') as album,
        nullif(track_id, '') as given_id,
        -- far beyond these dates other tools' calendars end: such a moment is as good as none
        case
            when heard_at between timestamptz '0100-01-01' and timestamptz '9900-01-01' then heard_at
        end as at, -- noqa: RF04
        round(try_cast(ms_played as double))::bigint as ms_played,
        round(try_cast(duration_ms as double))::bigint as duration_ms,
        $file::varchar as file,
        position
    from timed
)

select * from records
