-- One row per track that one of the most active listeners has heard: how often, how it went, when.
with active as (
    select user_id
    from plays
    group by user_id
    order by count(*) desc, user_id
    limit $users
),

outcomes as (
    select
        plays.user_id,
        plays.track_id,
        plays.started_at,
        completed.target
    from plays
    inner join active on plays.user_id = active.user_id
    left join completed on plays.file_row_number = completed.play
),

heard as (
    select
        user_id,
        track_id,
        count(*) as plays,
        count(target) as known,
        count_if(target) as completed,
        max(started_at) as last_heard
    from outcomes
    group by user_id, track_id
    having count(target) > 0
),

heard_tracks as (
    select
        heard.*,
        tracks.uri,
        tracks.name,
        tracks.artist
    from heard
    inner join tracks on heard.track_id = tracks.track_id
    order by heard.user_id, heard.track_id
)

select * from heard_tracks
