-- Grain: one play of `sample` (column play): how many records came before its start and a hash of
-- them, whatever their order: of plays with all that is told of their tracks and users, of errors,
-- and of the play itself. Where a play lies in the raw files does not count.
with told_tracks as (
    select
        track_id,
        hash(tracks) as told
    from tracks
),

told_users as (
    select
        user_id,
        hash(users) as told
    from users
),

facts as (
    select
        plays.file_row_number as row,
        plays.started_at,
        plays.seq,
        hash(plays, told_tracks.told, told_users.told)::hugeint as told
    from (select * exclude (file, position) from numbered_plays) as plays
    left join told_tracks on plays.track_id = told_tracks.track_id
    left join told_users on plays.user_id = told_users.user_id
),

moments as (
    select facts.*
    from facts
    inner join sample on facts.row = sample.play
),

plays_before as (
    select
        moments.row as play,
        count(*) as plays,
        sum(facts.told) as played
    from facts
    inner join moments
        on
            facts.row = moments.row
            or facts.started_at < moments.started_at
            or (facts.started_at is null and facts.seq < moments.seq)
    group by moments.row
),

errors_before as (
    select
        moments.row as play,
        sum(hash(errors.user_id, errors.at, errors.kind)::hugeint) as failed
    from errors
    inner join moments on errors.at < moments.started_at or moments.started_at is null
    group by moments.row
),

known as (
    select
        plays_before.play,
        concat_ws(' ', plays_before.plays, plays_before.played, errors_before.failed, moments.told) as known
    from plays_before
    inner join moments on plays_before.play = moments.row
    left join errors_before on plays_before.play = errors_before.play
    order by plays_before.play
)

select * from known
