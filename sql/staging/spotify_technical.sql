-- Grain: one record of the technical logs, in file order. Only its time is read: the rest is
-- unused and may identify a person. A number is seconds since 1970, or ms or us by its size.
with records as (
    select *
    from read_json(
        $paths,
        format = 'array',
        records = 'true',
        filename = true,
        maximum_object_size = 16777216,
        columns = { timestamp_utc: 'varchar', context_time: 'varchar' }
    )
),

told as (
    select
        filename as path,
        timestamp_utc,
        coalesce(try_cast(timestamp_utc as double), try_cast(context_time as double)) as number
    from records
),

scaled as (
    select
        path,
        timestamp_utc,
        case
            when number between 1e8 and 1e10 then number
            when number between 1e11 and 1e13 then number / 1e3
            when number between 1e14 and 1e16 then number / 1e6
        end as seconds
    from told
),

timed as (
    select
        path,
        coalesce(try_cast(timestamp_utc as timestamptz), to_timestamp(seconds)) as happened_at
    from scaled
)

select * from timed
