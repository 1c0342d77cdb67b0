-- Grain: one per cent of the tracks, most played first: the share of all plays that they hold.
with by_track as (
    select
        track_id,
        sum(plays)::bigint as plays
    from pairs
    group by track_id
),

ranked as (
    select
        row_number() over (order by plays desc, track_id asc) as place,
        sum(plays) over (order by plays desc, track_id asc rows unbounded preceding) as held,
        count(*) over () as tracks,
        sum(plays) over () as all_plays
    from by_track
),

steps as (
    select
        ceil(100 * place / tracks) as percent,
        max(held) / max(all_plays) as share
    from ranked
    group by percent
    order by percent
)

select * from steps
