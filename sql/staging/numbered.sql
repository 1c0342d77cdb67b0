-- Grain: one row of a table, in its order, with its place in the whole table as `file_row_number`.
-- $paths are the table's files in order, $before the number of rows before each.
-- noqa: disable=AM04
with numbered as (
    select * replace (file_row_number + $before[file_index::bigint + 1] as file_row_number)
    from read_parquet($paths, file_row_number = true)
)

select * from numbered
