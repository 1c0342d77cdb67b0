-- Grain: one thing that new records say of earlier ones: a title of the account data is now known as
-- an episode, or an account that was read before has a user name to compare.
with episodes as (
    select distinct podcast as artist, episode as title
    from spotify_history
    where apart = 'podcasts'
),

known_episodes as (
    select distinct podcast as artist, episode as title
    from spotify_spellings_before
    where apart = 'podcasts'
),

flipped as (
    select distinct before.artist, before.title
    from spotify_spellings_before as before
    inner join episodes on before.artist = episodes.artist and before.title = episodes.title
    anti join known_episodes
        on before.artist = known_episodes.artist and before.title = known_episodes.title
    where before.resolution = 'minute' and before.listened
),

named as (
    select distinct places.user_id
    from spotify_history as history
    inner join spotify_places as places on history.path = places.path
    where history.listener is not null
),

compared as (
    select named.user_id
    from named
    inner join spotify_files as files on named.user_id = files.user_id
    where files.path is null or files.known > 0
),

changed as (
    select 'episode' as what from flipped
    union all
    select 'listener' as what from compared
)

select * from changed
