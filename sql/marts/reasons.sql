-- One row per recommendation: what is true of the user and the track at the end of the data.
with listed_pairs as (
    select
        user_id,
        track_id,
        artist
    from listed
),

own_plays as (
    select
        plays.user_id,
        plays.track_id,
        count(*) as plays
    from plays
    semi join listed_pairs on plays.user_id = listed_pairs.user_id
    group by plays.user_id, plays.track_id
),

named_plays as (
    select
        own_plays.user_id,
        own_plays.track_id,
        own_plays.plays,
        tracks.name,
        tracks.artist
    from own_plays
    left join tracks on own_plays.track_id = tracks.track_id
),

artist_plays as (
    select
        user_id,
        artist,
        sum(plays) as artist_plays
    from named_plays
    where artist is not null
    group by user_id, artist
),

outcomes as (
    select
        user_id,
        track_id,
        known,
        completed
    from own_outcomes
),

artist_outcomes as (
    select
        own_outcomes.user_id,
        tracks.artist,
        sum(own_outcomes.known) as known,
        sum(own_outcomes.completed) as completed
    from own_outcomes
    inner join tracks on own_outcomes.track_id = tracks.track_id
    where tracks.artist is not null
    group by own_outcomes.user_id, tracks.artist
),

listeners as (
    select
        track_id,
        count(distinct user_id) as listeners
    from plays
    group by track_id
),

-- of the tracks near this one, the one that lies nearest and that the user has played
nearest as (
    select
        listed_pairs.user_id,
        listed_pairs.track_id,
        arg_min(named_plays.name, neighbours.rank) as other,
        arg_min(named_plays.artist, neighbours.rank) as other_artist,
        arg_min(named_plays.plays, neighbours.rank) as other_plays
    from listed_pairs
    inner join neighbours on listed_pairs.track_id = neighbours.track_id
    inner join named_plays
        on
            listed_pairs.user_id = named_plays.user_id
            and neighbours.other_id = named_plays.track_id
    where named_plays.name is not null
    group by listed_pairs.user_id, listed_pairs.track_id
),

-- what the user plays most, as far as its sound is known
own_sounds as (
    select
        named_plays.user_id,
        named_plays.name,
        named_plays.artist,
        named_plays.plays,
        sounds.sound
    from named_plays
    inner join sounds on named_plays.track_id = sounds.track_id
    where named_plays.name is not null
    qualify row_number() over (
        partition by named_plays.user_id
        order by named_plays.plays desc, named_plays.track_id asc
    ) <= $most
),

-- of those, the one that this track sounds most like, if it does
alike as (
    select
        listed_pairs.user_id,
        listed_pairs.track_id,
        own_sounds.name,
        own_sounds.artist,
        own_sounds.plays,
        list_distance(sounds.sound, own_sounds.sound) as apart
    from listed_pairs
    inner join sounds on listed_pairs.track_id = sounds.track_id
    inner join own_sounds on listed_pairs.user_id = own_sounds.user_id
    where apart <= $apart
),

nearest_sound as (
    select
        user_id,
        track_id,
        arg_min(name, apart) as sound_other,
        arg_min(artist, apart) as sound_artist,
        arg_min(plays, apart) as sound_plays
    from alike
    group by user_id, track_id
),

reasons as (
    select
        listed_pairs.user_id,
        listed_pairs.track_id,
        listed_pairs.artist,
        coalesce(own_plays.plays, 0) as plays,
        coalesce(outcomes.known, 0) as known,
        coalesce(outcomes.completed, 0) as completed,
        coalesce(artist_plays.artist_plays, 0) as artist_plays,
        coalesce(artist_outcomes.known, 0) as artist_known,
        coalesce(artist_outcomes.completed, 0) as artist_completed,
        coalesce(listeners.listeners, 0) as listeners,
        nearest.other,
        nearest.other_artist,
        nearest.other_plays,
        nearest_sound.sound_other,
        nearest_sound.sound_artist,
        nearest_sound.sound_plays
    from listed_pairs
    left join own_plays
        on listed_pairs.user_id = own_plays.user_id and listed_pairs.track_id = own_plays.track_id
    left join outcomes
        on listed_pairs.user_id = outcomes.user_id and listed_pairs.track_id = outcomes.track_id
    left join artist_plays
        on listed_pairs.user_id = artist_plays.user_id and listed_pairs.artist = artist_plays.artist
    left join artist_outcomes
        on
            listed_pairs.user_id = artist_outcomes.user_id
            and listed_pairs.artist = artist_outcomes.artist
    left join listeners on listed_pairs.track_id = listeners.track_id
    left join nearest
        on listed_pairs.user_id = nearest.user_id and listed_pairs.track_id = nearest.track_id
    left join nearest_sound
        on
            listed_pairs.user_id = nearest_sound.user_id
            and listed_pairs.track_id = nearest_sound.track_id
)

select * from reasons
