-- Grain: one group of records that were read: plays by resolution, what is set apart and errors
-- by kind, other log records by event type.
with history as (
    select
        case when apart is null then 'plays' else 'set_apart' end as what,
        coalesce(apart, resolution) as detail,
        count(*) as records
    from spotify_records
    group by all
),

log as (
    select
        case
            when files.event in ('connection', 'playback') then 'errors'
            else 'unused_log_records'
        end as what,
        files.event as detail,
        count(*) as records
    from spotify_log
    inner join spotify_files as files on spotify_log.path = files.path
    group by all
),

seen as (
    select * from history
    union all
    select * from log
)

select * from seen
