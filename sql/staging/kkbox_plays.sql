-- One row per record of train.csv or test.csv, in file order; an empty field is null already.
-- Row order is the only clock: seq is the record's number, test.csv's counting on from train.csv's.
-- $file: name of the file; $first_seq: records in the files before it.
with plays as (
    select
        msno as user_id,
        $first_seq::bigint + position as seq,
        song_id as track_id,
        null::timestamptz as started_at,
        null::timestamptz as ended_at,
        'order' as resolution,
        null::varchar as platform,
        null::varchar as country,
        null::varchar as reason_start,
        null::boolean as shuffle,
        null::boolean as offline,
        source_system_tab as source_tab,
        source_screen_name as source_screen,
        source_type,
        null::bigint as ms_played,
        null::varchar as reason_end,
        null::boolean as skipped,
        -- a request's outcome is withheld: whatever stands there is not it
        case
            when id is not null then null
            when target = '1' then true
            when target = '0' then false
        end as repeated,
        id as request_id,
        $file::varchar as file,
        position
    from kkbox_records
)

select * from plays
