-- Grain: one history record, play or set apart (`apart` says as what), in file order: the columns
-- of schemas.tables.Plays, then `apart`. Every join has a small right side, so nothing is held.
with placed as (
    select
        history.*,
        places.user_id,
        places.file,
        titles.track_id,
        platforms.family,
        places.known + history.file_row_number - places.first_row as position,
        case
            when places.kind in ('video', 'podcast', 'audiobook') then places.kind || 's'
            when history.apart is not null then history.apart
            when history.resolution = 'minute' and titles.episode then 'podcasts'
        end as kept_apart,
        -- far beyond these dates other tools' calendars end: such a moment is as good as none
        case
            when history.ended_at between timestamptz '0100-01-01' and timestamptz '9900-01-01'
                then history.ended_at
        end as ended,
        case when abs(history.ms_played) < 1000000000000 then to_milliseconds(history.ms_played) end as lasted
    from spotify_history as history
    inner join spotify_places as places on history.path = places.path
    left join spotify_titles as titles on history.artist = titles.artist and history.title = titles.title
    left join spotify_platforms as platforms on history.platform = platforms.platform
),

records as (
    select
        user_id,
        0::bigint as seq,
        track_id,
        ended - lasted as started_at,
        ended as ended_at,
        resolution,
        family as platform,
        country,
        reason_start,
        shuffle,
        offline,
        null::varchar as source_tab,
        null::varchar as source_screen,
        null::varchar as source_type,
        ms_played,
        reason_end,
        skipped,
        null::boolean as repeated,
        null::varchar as request_id,
        file,
        position,
        kept_apart as apart
    from placed
)

select * from records
