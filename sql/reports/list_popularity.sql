-- Grain: one track played before the cutoff, most played first: how often it was.
with by_track as (
    select
        track_id,
        count(*) as plays
    from plays
    where coalesce(epoch_ms(started_at), seq) < $cutoff
    group by track_id
    order by plays desc, track_id asc
)

select * from by_track
