-- Grain: one year of registration: labelled plays of its users, and those that are true.
with by_year as (
    select
        year(users.registered_at) as year,
        count(distinct labels.user_id) as users,
        count(*) as rows,
        count(*) filter (where labels.target) as positives
    from labels
    inner join users on labels.user_id = users.user_id
    where labels.target is not null and users.registered_at is not null
    group by year
    order by year
)

select * from by_year
