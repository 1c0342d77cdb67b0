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

joined as (
    select
        user_id,
        min(started_at) + to_days($burn_in_days) as burnt_in
    from plays
    group by user_id
),

-- One end for everybody: a listener's own last play would be no honest one, for then a label would
-- be known at a moment only because its listener came back after it.
ended as (
    select max(ended_at) as data_end from plays
),

labels as (
    select
        firsts.play,
        firsts.user_id,
        firsts.seq,
        case
            when firsts.starts[1] + to_days($horizon_days) <= ended.data_end
                then coalesce(firsts.starts[2] < firsts.starts[1] + to_days($horizon_days), false)
        end as target,
        epoch_ms(firsts.starts[1] + to_days($horizon_days)) as matures_at
    from firsts
    inner join joined on firsts.user_id = joined.user_id
    cross join ended
    where firsts.starts[1] >= joined.burnt_in
    order by firsts.play
)

select * from labels
