-- Grain: one tag event, in file order: a listener gave an artist a tag on a day. A date that is none
-- leaves the moment null, so that validation refuses it.
with tags as (
    select
        "userID" as user_id,
        "artistID" as track_id,
        "tagID" as tag,
        try_strptime(concat_ws('-', "year", "month", "day"), '%Y-%m-%d')::timestamptz as tagged_at,
        $file::varchar as file,
        position
    from hetrec_tags
    order by position
)

select * from tags
