-- Grain: one connection or playback error of a technical log, with the columns of schemas.tables.Errors.
with firsts as (
    select path, min(file_row_number) as first_row
    from spotify_log
    group by path
),

errors as (
    select
        files.user_id,
        case
            when log.happened_at between timestamptz '0100-01-01' and timestamptz '9900-01-01'
                then log.happened_at
        end as at, -- noqa: RF04
        files.event as kind,
        files.file,
        files.known + log.file_row_number - firsts.first_row as position
    from spotify_log as log
    inner join spotify_files as files on log.path = files.path
    inner join firsts on log.path = firsts.path
    where files.event in ('connection', 'playback')
)

select * from errors
