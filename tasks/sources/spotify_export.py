"""Spotify's data exports, every layout since 2019, one account or several side by side.

Account data (``StreamingHistory*``, to the minute), extended streaming history (``endsong_*``,
``Streaming_History_*``, to the second) and technical logs are each read once into Parquet; the rest
is SQL over that. Podcasts, audiobooks and videos are counted and set apart.
"""

from __future__ import annotations

import glob
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import polars as pl

from schemas.config import Source
from schemas.errors import InputError
from schemas.tables import Plays, columns
from tasks.sources.json_lists import fault, first_record, whole
from tasks.sources.packages import RawFile, raw_paths, unpack
from tasks.warehouse import Warehouse

# A file's kind by Spotify's name for it; a file of another name shows it in its first record.
NAMES = {
    "account": r"streaminghistory(_music)?_?\d*",
    "podcast": r"streaminghistory_podcast_?\d*",
    "audiobook": r"streaminghistory_audiobook_?\d*",
    "extended": r"endsong_?\d*|streaming_history_audio(_.*)?",
    "video": r"endvideo_?\d*|streaming_history_video(_.*)?",
    "library": r"yourlibrary\d*",
}
KEYS = {"account": {"endTime", "msPlayed"}, "extended": {"ts", "ms_played"}}
CLOCKS = {"timestamp_utc", "context_time"}  # a record with either belongs to a technical log
ERRORS = {"connectionerror": "connection", "playbackerror": "playback"}
HISTORY = ("account", "extended")


def files(settings: Source) -> list[Path]:
    """The export's .json files and .zip archives, sorted; files about the person are left out.

    Raises ``InputError`` when ``source.path`` is not there or holds nothing of the kind.
    """
    paths = raw_paths(settings)
    if not paths:
        raise _nothing(settings)
    return paths


def stage(settings: Source, scratch: Path, warehouse: Warehouse) -> Mapping[str, Any]:
    """Make ``raw_plays``, ``raw_tracks``, ``raw_users`` and ``raw_errors``, as ``Reader`` says.

    Times are TIMESTAMPTZ; ``track_id`` is null where artist or title is missing. Facts: ``accounts``,
    ``files`` read by kind, ``plays`` by resolution, ``set_apart`` and ``errors`` by kind,
    ``unused_log_records`` by event type, ``unused_files`` by name. Raises ``InputError`` for a file
    that is bad as a whole, for two user names in one account and when there is no streaming history.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    found, unopened = unpack(settings, scratch)
    kinds: dict[str, list[RawFile]] = defaultdict(list)
    for raw in found:
        kinds[_kind(raw)].append(raw)
    if not any(kinds[kind] for kind in HISTORY):
        raise _nothing(settings)
    unused = unopened + Counter({"other": len(kinds.pop("other", []))})
    kinds = {
        kind: [whole(raw, "{" if kind == "library" else "[", scratch) for raw in raws]
        for kind, raws in kinds.items()
    }
    return _load(kinds, unused, scratch, warehouse)


def _load(
    kinds: Mapping[str, Sequence[RawFile]], unused: Counter[str], scratch: Path, warehouse: Warehouse
) -> Mapping[str, Any]:
    """Read the files of each kind and make the raw relations."""
    extended = [*kinds.get("extended", []), *kinds.get("video", [])]
    account = [raw for kind in ("account", "podcast", "audiobook") for raw in kinds.get(kind, [])]
    technical = [*kinds.get("technical", [])]
    library = [*kinds.get("library", [])]
    salt = secrets.token_hex(16)
    histories = [
        _read(warehouse, "staging/spotify_extended", extended, scratch, salt=salt),
        _read(warehouse, "staging/spotify_account", account, scratch),
    ]
    warehouse.relation("spotify_files", _listing(kinds))
    history = warehouse.connection.read_parquet([str(path) for path in histories], file_row_number=True)
    warehouse.relation("spotify_history", history)
    warehouse.numbered("spotify_log", _read(warehouse, "staging/spotify_technical", technical, scratch))
    warehouse.relation("spotify_saved", _read(warehouse, "staging/spotify_library", library, scratch))
    warehouse.keep("spotify_titles", "staging/spotify_titles")
    warehouse.keep("spotify_places", "staging/spotify_places")
    warehouse.keep("spotify_platforms", "staging/spotify_platforms")
    _refuse_two_listeners(warehouse)
    records = scratch / "spotify_records.parquet"
    warehouse.write("staging/spotify_records", records)
    warehouse.relation("spotify_records", records)
    plays = warehouse.connection.table("spotify_records").filter(
        duckdb.ColumnExpression("apart").isnull()
    )
    warehouse.relation("raw_plays", plays.select(*columns(Plays)))
    warehouse.keep("raw_tracks", "staging/spotify_tracks")
    warehouse.keep("raw_users", "staging/spotify_users")
    warehouse.keep("raw_errors", "staging/spotify_errors")
    seen = warehouse.frame("staging/spotify_seen")
    return {
        "accounts": len({raw.user_id for raws in kinds.values() for raw in raws}),
        "files": {kind: len(raws) for kind, raws in sorted(kinds.items()) if raws},
        **{what: _counts(seen, what) for what in ("plays", "set_apart", "errors", "unused_log_records")},
        "unused_files": dict(sorted((+unused).items())),
    }


def _kind(raw: RawFile) -> str:
    """What a file holds, by its name or else by its first record; ``other`` is not used."""
    stem = _stem(raw)
    for kind, names in NAMES.items():
        if re.fullmatch(names, stem, re.IGNORECASE):
            return kind
    record = first_record(raw)
    for kind, keys in KEYS.items():
        if keys <= record:
            return kind
    # an empty or broken log of errors is still one: `whole` tells what is wrong with it
    return "technical" if record & CLOCKS or (_event(raw) in ERRORS.values() and not record) else "other"


def _stem(raw: RawFile) -> str:
    """The file's name without folders, ending and a copy's number, as in ``endsong_0 (1).json``."""
    return re.sub(r" ?\(\d+\)$", "", PurePosixPath(raw.file).stem)


def _event(raw: RawFile) -> str:
    """The event type that a technical log is named after: ``ConnectionError_1`` is a connection."""
    name = re.sub("[^A-Za-z]", "", _stem(raw)) or "other"
    return ERRORS.get(name.lower(), name)


def _listing(kinds: Mapping[str, Sequence[RawFile]]) -> pl.DataFrame:
    """One row per file read: path, user_id, file, kind, event."""
    rows = [
        (str(raw.path), raw.user_id, raw.file, kind, _event(raw) if kind == "technical" else None)
        for kind, raws in kinds.items()
        if kind != "library"
        for raw in raws
    ]
    names = ("path", "user_id", "file", "kind", "event")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _read(warehouse: Warehouse, sql: str, raws: Sequence[RawFile], scratch: Path, **values: str) -> Path:
    """Read the JSON files into one Parquet file in ``scratch``, in their order.

    Raises ``InputError`` naming the file that cannot be read.
    """
    target = scratch / f"{PurePosixPath(sql).name}.parquet"
    nothing = scratch / "nothing.json"  # a kind without files is an empty table
    nothing.write_text("[]", encoding="utf-8")
    paths = [glob.escape(str(path)) for path in (nothing, *(raw.path for raw in raws))]
    try:
        warehouse.write(sql, target, paths=paths, **values)
    except (duckdb.InvalidInputException, UnicodeDecodeError) as error:
        named = re.search(r'in file "(.*?)"', str(error))
        suspects = [raw for raw in raws if named is None or str(raw.path) == named.group(1)]
        for raw in suspects or raws:
            wrong = fault(raw)
            if wrong is not None:
                raise wrong from None  # DuckDB's message may quote a record
        if named is None or not suspects:
            raise
        raise InputError(
            "cannot be read as JSON records", file=suspects[0].file,
            do="remove it or download the export again",
        ) from None  # fmt: skip
    return target


def _refuse_two_listeners(warehouse: Warehouse) -> None:
    mixed = warehouse.frame("staging/spotify_listeners")
    if mixed.is_empty():
        return
    user_id, file, other = mixed.row(0)
    raise InputError(
        "two user names in one account", file=other, place=f"account {user_id}",
        found="another user name than in " + file if other != file else "several user names in one file",
        expected="one person's records", do="give each person a folder or .zip of their own",
    )  # fmt: skip


def _counts(seen: pl.DataFrame, what: str) -> dict[str, int]:
    """Records by detail of one kind of ``staging/spotify_seen``."""
    return dict(
        seen.filter(pl.col("what") == what).sort("detail").select("detail", "records").iter_rows()
    )


def _nothing(settings: Source) -> InputError:
    return InputError(
        "no streaming history found", file=", ".join(map(str, settings.path)),
        expected="StreamingHistory*.json, endsong_*.json or Streaming_History_Audio_*.json",
        do="unpack the export there or give its .zip",
    )  # fmt: skip
