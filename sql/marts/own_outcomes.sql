-- One row per user and track: how many plays have a known outcome, and how many were completed.
with outcomes as (
    select
        plays.user_id,
        plays.track_id,
        count(*) as known,
        count(*) filter (where completed.target) as completed
    from plays
    inner join completed
        on plays.user_id = completed.user_id and plays.seq = completed.seq
    where completed.target is not null
    group by plays.user_id, plays.track_id
)

select * from outcomes
