-- Grain: one row for the whole data set: labels that are true, false and unknown.
with counted as (
    select
        count(target) as rows,
        count(*) filter (where target) as positives,
        count(*) - count(target) as unknown
    from labels
)

select * from counted
