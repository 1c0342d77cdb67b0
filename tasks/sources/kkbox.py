"""The KKBox competition's files: plays in row order without a clock, and a catalogue beside them.

Every column is read as text and cast in ``sql/staging/kkbox_*.sql``. ``train.csv`` comes before
``test.csv``: row order is time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.config import Source
from schemas.errors import InputError
from tasks.sources.earlier import Earlier
from tasks.sources.records import Records, find, nothing, stream, watched
from tasks.warehouse import Warehouse

_PLAY = ("msno", "song_id", "source_system_tab", "source_screen_name", "source_type")
COLUMNS = {
    "train": (*_PLAY, "target"),
    "test": (*_PLAY, "id"),
    "songs": ("song_id", "song_length", "genre_ids", "artist_name", "composer", "lyricist", "language"),
    "song_extra_info": ("song_id", "name", "isrc"),
    "members": (
        "msno", "city", "bd", "gender", "registered_via", "registration_init_time", "expiration_date",
    ),
}  # fmt: skip
OPTIONAL = ("test",)


def files(settings: Source) -> list[Path]:
    """The competition's files in the folders of ``source.path``, sorted.

    Raises ``InputError`` if a folder or a needed file is missing, still packed as .7z or .zip, or
    there twice.
    """
    return sorted(_locate(settings).values())


def stage(
    settings: Source, scratch: Path, warehouse: Warehouse, _earlier: Earlier, /
) -> Mapping[str, Any]:
    """Make the raw relations (see ``Reader``); facts count each file's records.

    A record with too few or too many fields stays as a row of nulls, so that validation refuses
    it; blank records are dropped and counted. Raises ``InputError`` for a file that is not CSV in
    UTF-8, is cut off or lacks a column.
    """
    found = {name: Records(path, COLUMNS[name]) for name, path in _locate(settings).items()}
    plays: list[Path] = []
    first_seq = 0
    for name in ("train", "test"):
        if name in found:
            file = found[name]
            plays.append(scratch / f"kkbox_{name}_plays.parquet")
            # one shape for both: the column that the other file has is null
            records = stream(file, (*COLUMNS["train"], "id"))
            with watched(file):
                warehouse.connection.register("kkbox_records", records)
                warehouse.write(
                    "staging/kkbox_plays", plays[-1], file=file.path.name, first_seq=first_seq
                )
            first_seq += file.records
    for name in ("songs", "song_extra_info", "members"):
        file, path = found[name], scratch / f"kkbox_{name}.parquet"
        with watched(file):
            warehouse.connection.from_arrow(stream(file, file.columns)).write_parquet(str(path))
        warehouse.relation(f"kkbox_{name}", path)
    warehouse.relation("raw_plays", plays)
    warehouse.write("staging/kkbox_tracks", scratch / "kkbox_tracks.parquet")
    warehouse.relation("raw_tracks", scratch / "kkbox_tracks.parquet")
    warehouse.keep("raw_users", "staging/kkbox_users")
    warehouse.keep("raw_errors", "staging/kkbox_errors")
    return {"files": {file.path.name: file.facts for file in found.values()}}


def _locate(settings: Source) -> dict[str, Path]:
    """Each file's path, by its name in ``COLUMNS``."""
    found: dict[str, Path] = {}
    for name in COLUMNS:
        # plain before packed: who has both has unpacked it
        path = find(settings, f"{name}.csv", [f"{name}.csv.gz"])
        if path is not None:
            found[name] = path
            continue
        packed = [
            path
            for folder in settings.path
            for path in (folder / f"{name}.csv.7z", folder / f"{name}.7z", folder / f"{name}.csv.zip")
            if path.is_file()
        ]
        if packed:
            raise InputError(
                f"{name}.csv is still packed", file=packed[0], expected=f"{name}.csv or {name}.csv.gz",
                do=f"unpack it, e.g. with 7z x {packed[0].name}",
            )  # fmt: skip
        if name not in OPTIONAL:
            needed = ", ".join(f"{each}.csv" for each in COLUMNS if each not in OPTIONAL)
            raise nothing(settings, f"{name}.csv", needed)
    return found
