-- One row per play of which the source tells nothing (often there are none): was it heard out, by the
-- share of the track's length, which is the catalogue's, or else the longest play of at least 30 s that
-- had ended before? Null where no length is known.
with untold as (
    select
        plays.file_row_number as play,
        plays.track_id,
        plays.started_at,
        plays.ms_played,
        nullif(tracks.duration_ms, 0) as duration_ms
    from plays
    left join tracks on plays.track_id = tracks.track_id
    where plays.skipped is null and plays.reason_end is null
),

heard as (
    select
        track_id,
        ended_at,
        max(ms_played) as ms_played
    from plays
    where ms_played >= 30000 and exists (select 1 from untold where duration_ms is null)
    group by track_id, ended_at
),

lengths as (
    select
        track_id,
        ended_at,
        max(ms_played) over (partition by track_id order by ended_at rows unbounded preceding) as longest
    from heard
),

measured as (
    select
        untold.play,
        untold.ms_played >= $completed_share * coalesce(untold.duration_ms, lengths.longest) as target
    from untold
    asof left join lengths on untold.track_id = lengths.track_id and untold.started_at >= lengths.ended_at
)

select * from measured
