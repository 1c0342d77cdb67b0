-- One row per given minute: the listener's own calendar, in the zone $timezone. A date (`dated` is 1)
-- is the listener's own already, and has no hour; nor has a moment of which that is not known (2).
with local_minutes as (
    select
        row,
        dated,
        timezone(
            case when dated = 1 then 'UTC' else $timezone end, make_timestamptz(minute * 60000000)
        ) as local_start
    from minutes
),

calendar as (
    select
        row,
        case when dated = 0 then hour(local_start)::float end as hour,
        isodow(local_start)::float as day_of_week,
        month(local_start)::float as month
    from local_minutes
)

select * from calendar
