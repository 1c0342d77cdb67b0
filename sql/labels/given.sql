-- One row per play of a source without a clock: the label that the source itself gives, known to
-- later rows once $maturity_rows rows have passed.
with labels as (
    select
        file_row_number as play,
        user_id,
        seq,
        repeated as target,
        seq + $maturity_rows as matures_at
    from plays
    order by file_row_number
)

select * from labels
