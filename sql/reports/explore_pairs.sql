-- Grain: one pair of a user and a track that was played: its plays, how many of them tell whether they are
-- repeats (known), and how many are.
with pairs as (
    select
        user_id,
        track_id,
        count(*) as plays,
        count(repeated) as known,
        count(*) filter (where repeated) as repeated
    from plays
    group by user_id, track_id
)

select * from pairs
