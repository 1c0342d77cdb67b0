-- One row per play (or probe): when it starts and what its numbers tell then; its user, its track and
-- its texts are read beside (tasks/moments.py). The end and the length of the play come along for
-- later plays to look back at; no feature reads its own.
-- A start is its end less its length, and the end is rounded: what the start has below the log's
-- resolution is the length itself. So ticks are whole units of the resolution, or a gap of 28 s in
-- a log of minutes would tell that the play lasted 3:32. Others see the play from the tick after its
-- start (`seen_from`), however coarse their own ticks are.
-- epoch_us with a division takes half the time of epoch_ms.
with started as (
    select
        *,
        epoch_us(started_at) // 1000 as started,
        case resolution when 'day' then 86400000 when 'minute' then 60000 else 1000 end as grain
    from moments_of
),

moments as (
    select
        row,
        coalesce(started // grain * grain, seq) as tick,
        coalesce(started, seq) + 1 as seen_from,
        epoch_us(ended_at) // 1000 as end_tick,
        (ms_played / 1000)::float as seconds_played,
        shuffle::float as shuffle,
        offline::float as offline,
        coalesce((resolution = 'day')::tinyint, 2) as dated, -- 2: unknown, as of a probe
        (started // 86400000)::integer as day
    from started
)

select * from moments
