-- Grain: one scrobble, in file order, with the columns of schemas.tables.Plays. Its time is that of
-- the start; where no length is known, a play ends as it starts.
with plays as (
    select
        scrobbles.user_id,
        0::bigint as seq,
        coalesce(scrobbles.given_id, titles.track_id) as track_id,
        scrobbles.at as started_at,
        scrobbles.at + to_milliseconds(
            case when scrobbles.ms_played between 0 and 1000000000000 then scrobbles.ms_played else 0 end
        ) as ended_at,
        'second' as resolution,
        null::varchar as platform,
        null::varchar as country,
        null::varchar as reason_start,
        null::boolean as shuffle,
        null::boolean as offline,
        null::varchar as source_tab,
        null::varchar as source_screen,
        null::varchar as source_type,
        scrobbles.ms_played,
        null::varchar as reason_end,
        null::boolean as skipped,
        null::boolean as repeated,
        null::varchar as request_id,
        scrobbles.file,
        scrobbles.position
    from scrobbles
    left join scrobbles_titles as titles
        on scrobbles.artist = titles.artist and scrobbles.title = titles.title
)

select * from plays
