-- Identity of the holdout's plays, in the order of the scored rows.
with scored_plays as (
    select
        scored.row,
        plays.started_at,
        plays.user_id,
        plays.seq,
        plays.track_id,
        plays.file,
        plays.position
    from scored
    inner join plays on scored.play = plays.file_row_number
    order by scored.row
)

select * from scored_plays
