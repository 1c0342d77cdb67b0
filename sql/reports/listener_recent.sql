-- Grain: one play, of the $most newest of each listener before the cutoff, newest first.
with numbered_plays as (
    select
        user_id,
        track,
        artist,
        case
            when started is null then format('row {:t,}', seq)
            when resolution = 'day' then strftime(started, '%Y-%m-%d')
            else strftime(started, '%Y-%m-%d %H:%M')
        end as at,
        row_number() over (partition by user_id order by tick desc, seq desc) as place
    from listener_plays
),

newest as (
    select *
    from numbered_plays
    where place <= $most
    order by user_id, place
)

select * from newest
