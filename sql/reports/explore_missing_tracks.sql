-- Grain: one row: the number of values that are there in each column of the tracks.
with present as (
    select count(columns(*))
    from tracks
)

select * from present
