-- One row per record of train.csv or test.csv, in file order.
-- Row order is the only clock: seq is the record's number, test.csv's counting on from train.csv's.
-- $file: name of the file; $first_seq: records in the files before it.
with records as (
    select
        trim(msno) as user_id,
        trim(song_id) as track_id,
        trim(source_system_tab) as source_tab,
        trim(source_screen_name) as source_screen,
        trim(source_type) as source_type,
        case trim(target) when '1' then true when '0' then false end as target,
        trim(id) as request_id,
        position
    from kkbox_records
),

plays as (
    select
        nullif(user_id, '') as user_id,
        $first_seq::bigint + position as seq,
        nullif(track_id, '') as track_id,
        null::timestamptz as started_at,
        null::timestamptz as ended_at,
        'order' as resolution,
        null::varchar as platform,
        null::varchar as country,
        null::varchar as reason_start,
        null::boolean as shuffle,
        null::boolean as offline,
        nullif(source_tab, '') as source_tab,
        nullif(source_screen, '') as source_screen,
        nullif(source_type, '') as source_type,
        null::bigint as ms_played,
        null::varchar as reason_end,
        null::boolean as skipped,
        -- a request's outcome is withheld: whatever stands there is not it
        case when request_id is null then target end as repeated,
        nullif(request_id, '') as request_id,
        $file::varchar as file,
        position
    from records
)

select * from plays
