-- One row per (user, track): its first play, if the user's burn-in was over. True if the next play
-- of the track starts within the horizon; null until the whole horizon has passed, or early
-- labels would all be true.
with firsts as (
    select
        user_id,
        track_id,
        arg_min(file_row_number, seq) as play,
        min(seq) as seq,
        min(started_at, 2) as starts
    from plays
    group by user_id, track_id
),

-- A listener's log ends with the last play in it: accounts are exported at different times.
spans as (
    select
        user_id,
        min(started_at) + to_days($burn_in_days) as burnt_in,
        max(ended_at) as data_end
    from plays
    group by user_id
),

labels as (
    select
        firsts.play,
        firsts.user_id,
        firsts.seq,
        case
            when firsts.starts[1] + to_days($horizon_days) <= spans.data_end
                then coalesce(firsts.starts[2] < firsts.starts[1] + to_days($horizon_days), false)
        end as target,
        epoch_ms(firsts.starts[1] + to_days($horizon_days)) as matures_at
    from firsts
    inner join spans on firsts.user_id = spans.user_id
    where firsts.starts[1] >= spans.burnt_in
    order by firsts.play
)

select * from labels
