-- The errors as they were known at the start of play $row; all of them where plays have no clock.
with moment as (
    select started_at
    from numbered_plays
    where file_row_number = $row
),

truncated as (
    select
        errors.user_id,
        errors.at,
        errors.kind,
        errors.file,
        errors.position
    from errors
    cross join moment
    where errors.at < moment.started_at or moment.started_at is null
)

select * from truncated
