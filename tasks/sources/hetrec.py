"""Last.fm HetRec-2011: dated tag events, read as plays of artists.

The set has no listening log. That somebody tags an artist tells that they listen to them, and when:
a play is a distinct (user, artist, date) of ``user_taggedartists.dat``, and a track is an artist.
Nearly all dates are the first of a month, so windows are months and sessions mean nothing.

The tags themselves are kept with their dates, by their numbers. What is left out, for it was counted
when the crawl ended: the play counts of ``user_artists.dat`` (in a dated evaluation they tell the
future) and tags as genres (an artist's most frequent tags are those of the whole crawl). Friends are
not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Source
from schemas.tables import Errors, Tracks, Users, columns
from tasks.sources.earlier import Earlier
from tasks.sources.records import Records, find, nothing, stream, watched
from tasks.warehouse import Warehouse

TAGS, ARTISTS = "user_taggedartists.dat", "artists.dat"
TAG_COLUMNS = ("userID", "artistID", "tagID", "day", "month", "year")
ARTIST_COLUMNS = ("id", "name")
UNUSED = ("tags.dat", "user_artists.dat", "user_friends.dat", "user_taggedartists-timestamps.dat")


def files(settings: Source) -> list[Path]:
    """The tag events and, where there is one that is not empty, the list of artists, sorted.

    Raises ``InputError`` if a folder or the tag events are missing, or a file is there twice.
    """
    return sorted(_locate(settings).values())


def stage(
    settings: Source, scratch: Path, warehouse: Warehouse, _earlier: Earlier, /
) -> Mapping[str, Any]:
    """Make the raw relations (see ``Reader``); facts: records by file, plays, tags, files not used.

    Plays start and end at midnight UTC of their date and have no length. Tracks without a record
    in ``artists.dat`` have no name. Raises ``InputError`` for a file that is no tab-separated text
    or lacks a column; names that are not UTF-8 are read as Latin-1.
    """
    found = _locate(settings)
    tags = Records(found[TAGS], TAG_COLUMNS, "\t")
    read = [tags]
    given, plays = scratch / "hetrec_tags.parquet", scratch / "hetrec_plays.parquet"
    with watched(tags):
        warehouse.connection.register("hetrec_tags", stream(tags, TAG_COLUMNS))
        warehouse.write("staging/hetrec_tags", given, file=TAGS)
    warehouse.relation("raw_tags", given)
    warehouse.write("staging/hetrec_plays", plays)
    warehouse.relation("raw_plays", plays)
    if ARTISTS in found:
        artists = Records(found[ARTISTS], ARTIST_COLUMNS, "\t", _encoding(found[ARTISTS]))
        read.append(artists)
        with watched(artists):
            warehouse.connection.register("hetrec_artists", stream(artists, ARTIST_COLUMNS))
            warehouse.keep("raw_tracks", "staging/hetrec_tracks")
    else:
        warehouse.relation("raw_tracks", pl.DataFrame(schema=columns(Tracks)))
    warehouse.relation("raw_users", pl.DataFrame(schema=columns(Users)))
    warehouse.relation("raw_errors", pl.DataFrame(schema=columns(Errors)))
    there = {path.name for folder in settings.path for path in folder.iterdir()}
    return {
        "files": {file.path.name: file.facts for file in read},
        "plays": pl.scan_parquet(plays).select(pl.len()).collect().item(),
        "tags": pl.scan_parquet(given).select(pl.len()).collect().item(),
        "unused_files": [name for name in UNUSED if name in there],
    }


def _locate(settings: Source) -> dict[str, Path]:
    tags, artists = find(settings, TAGS), find(settings, ARTISTS)
    if tags is None:
        raise nothing(settings, TAGS, f"{TAGS} and, for names, {ARTISTS}")
    found = {TAGS: tags}
    if artists is not None and artists.stat().st_size > 0:
        found[ARTISTS] = artists
    return found


def _encoding(path: Path) -> str:
    """Copies differ: the set's own list of tags is Latin-1, its list of artists UTF-8."""
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf8"
