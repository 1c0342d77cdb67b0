-- Grain: one platform as recorded. The text may name a device's model: only its family is kept.
with platforms as (
    select distinct platform
    from spotify_history
    where platform is not null
),

families as (
    select
        platform,
        case
            when regexp_matches(platform, 'web_?player|web player', 'i') then 'web'
            when regexp_matches(platform, 'cast|airplay', 'i') then 'cast'
            when regexp_matches(platform, 'sonos|speaker|echo|alexa|amazon|google.?home|bose|denon', 'i')
                then 'speaker'
            when regexp_matches(platform, '_tv|tv_|\btv|tizen|webos|roku|playstation|\bps[345]|xbox', 'i')
                then 'tv'
            when regexp_matches(platform, '\bios|iphone|ipad|ipod|watchos', 'i') then 'ios'
            when regexp_matches(platform, 'android', 'i') then 'android'
            when regexp_matches(platform, 'windows', 'i') then 'windows'
            when regexp_matches(platform, '\bos ?x|mac ?os|darwin', 'i') then 'macos'
            when regexp_matches(platform, 'linux', 'i') then 'linux'
            else 'other'
        end as family
    from platforms
)

select * from families
