-- Grain: one row for the whole data set: how long before its end (in ticks) users played last.
with ticked as (
    select
        user_id,
        max(case when resolution = 'order' then seq else epoch_ms(started_at) end) as last_tick
    from plays
    group by user_id
),

newest as (
    select max(last_tick) as tick from ticked
),

freshness as (
    select
        count(*) as users,
        max(ticked.last_tick) as newest_play,
        median(newest.tick - ticked.last_tick) as median_gap,
        max(newest.tick - ticked.last_tick) as longest_gap,
        count(*) filter (where ticked.last_tick >= $recent) as users_in_newest
    from ticked
    cross join newest
)

select * from freshness
