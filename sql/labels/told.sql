-- One row per play: was it heard out, as far as the play itself tells? Null where it does not.
-- Order of trust: the source's skipped flag; how the play ended.
-- epoch_us with a division takes half the time of epoch_ms.
with labels as (
    select
        file_row_number as play,
        case
            when skipped is not null then not skipped
            when reason_end = 'trackdone' then true
            when reason_end in ('fwdbtn', 'backbtn', 'endplay', 'clickrow', 'nextbtn') then false
        end as target,
        greatest(epoch_us(ended_at), epoch_us(started_at) + 1000) // 1000 as matures_at
    from plays
)

select * from labels
