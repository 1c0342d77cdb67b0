"""Last.fm-1K: a log of scrobbles without lengths, to the second, and a table of its listeners.

The play file has no header line (some copies do); a quote in it is data. Ids are made from artist
and title as everywhere, for MusicBrainz' are often missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Source
from schemas.errors import InputError
from schemas.tables import Users, columns
from tasks.sources.earlier import Earlier
from tasks.sources.records import Records, find, header, nothing, stream, watched
from tasks.sources.scrobbles import SPELLINGS, tables
from tasks.warehouse import Warehouse

PLAYS, PROFILES = "userid-timestamp-artid-artname-traid-traname.tsv", "userid-profile.tsv"
PLAY_COLUMNS = ("user", "timestamp", "artist_id", "artist", "track_id", "track")
PROFILE_COLUMNS = ("#id", "gender", "age", "country", "registered")


def files(settings: Source) -> list[Path]:
    """The play file and, where there is one that is not empty, the profiles, sorted.

    Raises ``InputError`` if a folder or the play file is missing, or a file is there twice.
    """
    return sorted(_locate(settings).values())


def stage(
    settings: Source, scratch: Path, warehouse: Warehouse, _earlier: Earlier, /
) -> Mapping[str, Any]:
    """Make the raw relations (see ``Reader``); facts count each file's records.

    A play starts and ends at its time stamp. A record with too few or too many fields stays as a
    row of nulls, so that validation refuses it. Raises ``InputError`` for a file that is no
    tab-separated text in UTF-8.
    """
    found = _locate(settings)
    plays = Records(found[PLAYS], (), "\t", names=PLAY_COLUMNS, above=0)
    first = header(plays)
    if len(first) == 1:
        raise InputError(
            "not tab-separated", file=plays.path, expected="\\t between " + ", ".join(PLAY_COLUMNS)
        )
    if first[1].lower() == "timestamp":
        plays.above = 1
    read = [plays]
    path = scratch / "lastfm_1k_records.parquet"
    with watched(plays):
        warehouse.connection.register("lastfm_1k_lines", stream(plays, PLAY_COLUMNS))
        warehouse.write("staging/lastfm_1k_records", path, file=PLAYS)
    tables([path], scratch, warehouse, pl.DataFrame(schema=SPELLINGS))
    if PROFILES in found:
        profiles = Records(found[PROFILES], PROFILE_COLUMNS, "\t")
        read.append(profiles)
        with watched(profiles):
            warehouse.connection.register("lastfm_1k_profiles", stream(profiles, PROFILE_COLUMNS))
            warehouse.keep("raw_users", "staging/lastfm_1k_users")
    else:
        warehouse.relation("raw_users", pl.DataFrame(schema=columns(Users)))
    return {"files": {file.path.name: file.facts for file in read}}


def _locate(settings: Source) -> dict[str, Path]:
    plays, profiles = find(settings, PLAYS), find(settings, PROFILES)
    if plays is None:
        raise nothing(settings, PLAYS, f"{PLAYS} and, for listeners, {PROFILES}")
    found = {PLAYS: plays}
    if profiles is not None and profiles.stat().st_size > 0:
        found[PROFILES] = profiles
    return found
