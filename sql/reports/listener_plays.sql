-- Grain: one play before the cutoff by a listener who gets a page (relation `sampled`), with its names.
with named_plays as (
    select
        plays.user_id,
        plays.track_id,
        coalesce(tracks.name, plays.track_id) as track,
        coalesce(tracks.artist, '') as artist,
        timezone($timezone, plays.started_at) as started,
        coalesce(epoch_ms(plays.started_at), plays.seq) as tick,
        plays.seq,
        plays.resolution
    from plays
    semi join sampled on plays.user_id = sampled.user_id
    left join tracks on plays.track_id = tracks.track_id
    where coalesce(epoch_ms(plays.started_at), plays.seq) < $cutoff
)

select * from named_plays
