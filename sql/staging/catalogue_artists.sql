-- Grain: one record of a catalogue's file of artists, in file order, with the columns of
-- schemas.tables.Artists. $file: the file's name.
with cleaned as (
    select
        nullif(trim(artist), '') as artist,
        list_filter(
            list_transform(
                regexp_split_to_array(regexp_replace(lower(genres), '^\[|\]$', '', 'g'), '[,;|]'),
                lambda genre: trim(genre, ' ''"')
            ),
            lambda genre: genre <> ''
        ) as listed,
        position
    from catalogue_texts
),

records as (
    select
        artist,
        case when len(listed) > 0 then listed end as genres,
        $file::varchar as file,
        position
    from cleaned
)

select * from records
