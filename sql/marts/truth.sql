-- The simulated world's probability of each scored play, matched by listener, end and length.
-- A play that the world and the export do not agree on has none.
with truths as (
    select
        user_id,
        ended_at,
        ms_played,
        any_value(probability) as probability
    from truth
    group by user_id, ended_at, ms_played
    having count(*) = 1
),

matched as (
    select
        scored.row,
        truths.probability
    from scored
    inner join plays on scored.play = plays.file_row_number
    left join truths
        on
            plays.user_id = truths.user_id
            and plays.ended_at = truths.ended_at
            and plays.ms_played = truths.ms_played
    order by scored.row
)

select * from matched
