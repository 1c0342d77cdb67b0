-- Grain: one track saved in a library, with the library's file; unchanged libraries were read before.
with new as (
    select library.artist, library.title, library.album, library.uri, files.file
    from spotify_library as library
    inner join spotify_files as files on library.path = files.path
),

saved as (
    select * from new
    union all
    select artist, title, album, uri, file
    from spotify_saved_before
)

select * from saved
