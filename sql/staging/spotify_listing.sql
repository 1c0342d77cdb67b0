-- Grain: one raw file, with the number of its records as `known`: what the next reading need not read.
with counted as (
    select path, count(*) as records
    from spotify_history
    group by path
    union all
    select path, count(*) as records
    from spotify_log
    group by path
),

listing as (
    select
        files.user_id,
        files.file,
        files.kind,
        files.event,
        files.known + coalesce(counted.records, 0) as known,
        files.size,
        files.digest
    from spotify_files as files
    left join counted on files.path = counted.path
)

select * from listing
