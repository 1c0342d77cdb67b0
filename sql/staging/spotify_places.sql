-- Grain: one file of the history that has new records: whose it is, its kind, its first row's number,
-- how many records were read before.
with firsts as (
    select path, min(file_row_number) as first_row
    from spotify_history
    group by path
),

places as (
    select firsts.path, firsts.first_row, files.user_id, files.file, files.kind, files.known
    from firsts
    inner join spotify_files as files on firsts.path = files.path
)

select * from places
