-- Grain: one record of the extended streaming history, in file order (endsong_*, Streaming_History_*).
-- Everything is read as text, so that one odd value does not refuse its file. Of what identifies a
-- person only a salted hash of the user name is kept, to notice two people in one account.
with records as (
    select *
    from read_json(
        $paths,
        format = 'array',
        records = 'true',
        filename = true,
        maximum_object_size = 16777216,
        columns = {
            ts: 'varchar',
            username: 'varchar',
            platform: 'varchar',
            ms_played: 'varchar',
            conn_country: 'varchar',
            master_metadata_track_name: 'varchar',
            master_metadata_album_artist_name: 'varchar',
            master_metadata_album_album_name: 'varchar',
            spotify_track_uri: 'varchar',
            episode_name: 'varchar',
            episode_show_name: 'varchar',
            spotify_episode_uri: 'varchar',
            audiobook_title: 'varchar',
            audiobook_uri: 'varchar',
            audiobook_chapter_uri: 'varchar',
            audiobook_chapter_title: 'varchar',
            reason_start: 'varchar',
            reason_end: 'varchar',
            shuffle: 'varchar',
            skipped: 'varchar',
            offline: 'varchar'
        }
    )
),

renamed as (
    select
        filename as path,
        'second' as resolution,
        try_cast(ts as timestamptz) as ended_at,
        try_cast(ms_played as bigint) as ms_played,
        nullif(trim(master_metadata_album_artist_name), '') as artist,
        nullif(trim(master_metadata_track_name), '') as title,
        nullif(trim(master_metadata_album_album_name), '') as album,
        case when spotify_track_uri like 'spotify:track:%' then spotify_track_uri end as uri,
        nullif(trim(episode_show_name), '') as podcast,
        nullif(trim(episode_name), '') as episode,
        coalesce(audiobook_title, audiobook_uri, audiobook_chapter_uri, audiobook_chapter_title) as book,
        spotify_episode_uri,
        nullif(trim(platform), '') as platform,
        nullif(trim(conn_country), '') as country,
        nullif(trim(reason_start), '') as reason_start,
        nullif(trim(reason_end), '') as reason_end,
        try_cast(shuffle as boolean) as shuffle,
        try_cast(skipped as boolean) as skipped,
        try_cast(offline as boolean) as offline,
        case when trim(username) <> '' then hash(username || $salt) end as listener -- hash(null) is none
    from records
),

marked as (
    select
        * exclude (book, spotify_episode_uri),
        case
            when artist is not null or title is not null then null
            when coalesce(podcast, episode, spotify_episode_uri) is not null then 'podcasts'
            when book is not null then 'audiobooks'
        end as apart
    from renamed
)

select * from marked
