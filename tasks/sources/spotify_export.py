"""Spotify's data exports, every layout since 2019, one account or several side by side.

Account data (``StreamingHistory*``, to the minute), extended streaming history (``endsong_*``,
``Streaming_History_*``, to the second) and technical logs are each read once into Parquet; the rest
is SQL over that. Podcasts, audiobooks and videos are counted and set apart.
"""

from __future__ import annotations

import glob
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import polars as pl

from schemas.config import Source
from schemas.errors import InputError
from schemas.tables import Plays, columns
from tasks.sources.earlier import KEPT, ChangedError, Earlier
from tasks.sources.json_lists import extent, fault, first_record, rest, whole
from tasks.sources.packages import RawFile, labels, raw_paths, unpack
from tasks.store import digest_file
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
LARGEST_RECORD = 16_777_216  # bytes, also in the histories' SQL
COUNTED = ("plays", "set_apart", "errors", "unused_log_records")
# of a file: `known` records were read before; `size` bytes with this digest stay when it grows
FILES = {
    "user_id": pl.String, "file": pl.String, "kind": pl.String, "event": pl.String,
    "known": pl.Int64, "size": pl.Int64, "digest": pl.String,
}  # fmt: skip
SPELLED = ("artist", "title", "album", "uri")
KEPT_COLUMNS: Mapping[str, Mapping[str, pl.DataType | type[pl.DataType]]] = {
    "listing": FILES,
    "saved": dict.fromkeys((*SPELLED, "file"), pl.String),
    "spellings": {
        **dict.fromkeys((*SPELLED, "podcast", "episode", "resolution", "apart"), pl.String),
        "listened": pl.Boolean,
        "records": pl.Int64,
    },
}


@dataclass(frozen=True)
class _Opened:
    """A file to read: ``raw`` holds its new records, ``known`` ones came before them.

    ``size`` is that up to the last record, in bytes, and ``digest`` the SHA-256 of these.
    """

    raw: RawFile
    kind: str
    event: str | None
    known: int
    size: int
    digest: str


def files(settings: Source) -> list[Path]:
    """The export's .json files and .zip archives, sorted; files about the person are left out.

    Raises ``InputError`` when ``source.path`` is not there or holds nothing of the kind.
    """
    paths = raw_paths(settings)
    if not paths:
        raise _nothing(settings)
    return paths


def beginnings(settings: Source, earlier: Earlier) -> Callable[[Path], set[int]]:
    """Of each file, up to which of its bytes ``stage`` will ask for digests.

    That is up to its last record, and up to what was its last one in an earlier reading. Of files that
    turn out to be no lists this is of no use, and of no harm.
    """
    roots = [(root.parts, label) for root, label in labels(settings)]
    sizes: dict[str, int] = {}
    with suppress(FileNotFoundError):  # removed meanwhile
        sizes = dict(_kept(earlier, "listing").select("file", "size").iter_rows())

    def ends(path: Path) -> set[int]:
        if path.suffix.lower() != ".json":
            return set()
        parts = path.parts
        root, label = next(each for each in roots if parts[: len(each[0])] == each[0])
        last = sizes.get("/".join((label, *parts[len(root) :])))
        return {extent(path)} if last is None else {extent(path), last}

    return ends


def stage(
    settings: Source, scratch: Path, warehouse: Warehouse, earlier: Earlier, /
) -> Mapping[str, Any]:
    """Make ``raw_plays``, ``raw_tracks``, ``raw_users`` and ``raw_errors``, as ``Reader`` says.

    Times are TIMESTAMPTZ; ``track_id`` is null where artist or title is missing. Facts: ``accounts``,
    ``files`` read by kind, ``plays`` by resolution, ``set_apart`` and ``errors`` by kind,
    ``unused_log_records`` by event type, ``unused_files`` by name. Raises ``InputError`` for a file
    that is bad as a whole, for two user names in one account and when there is no streaming history.

    Kept for the next reading: each file's place among all (``listing``), how its records are spelled
    (``spellings``) and what libraries hold (``saved``). Then new files are read, and of lists that
    have only grown what is new.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    found, same, unopened = unpack(settings, scratch, earlier)
    kept = {name: _kept(earlier, name) for name in KEPT_COLUMNS}
    listing = kept["listing"]
    if not set(listing["file"]) <= same | {raw.file for raw in found}:
        raise ChangedError("a file is gone")
    still = listing.filter(pl.col("file").is_in(sorted(same)))
    opened = _opened(found, listing, scratch)
    if (
        not any(each.kind in HISTORY for each in opened)
        and still.filter(pl.col("kind").is_in(HISTORY)).is_empty()
    ):
        raise _nothing(settings)
    files = pl.concat([still.with_columns(path=pl.lit(None, pl.String)), _listing(opened)])
    warehouse.relation("spotify_files", files)
    warehouse.relation("spotify_spellings_before", kept["spellings"])
    warehouse.relation("spotify_saved_before", kept["saved"].filter(pl.col("file").is_in(sorted(same))))
    seen = _load(opened, scratch, warehouse)
    counted = Counter(dict(files.filter(pl.col("kind") != "other")["kind"].value_counts().iter_rows()))
    unused = unopened + Counter({"other": files.filter(pl.col("kind") == "other").height})
    return {
        "accounts": files.filter(pl.col("kind") != "other")["user_id"].n_unique(),
        "files": dict(sorted(counted.items())),
        **{what: _counts(seen, what, earlier.facts.get(what, {})) for what in COUNTED},
        "unused_files": dict(sorted((+unused).items())),
    }


def _kept(earlier: Earlier, name: str) -> pl.DataFrame:
    """What was kept of the earlier reading; empty if there was none."""
    if earlier.kept is None:
        return pl.DataFrame(schema=KEPT_COLUMNS[name])
    return pl.read_parquet(earlier.kept / f"{name}.parquet")


def _opened(found: Sequence[RawFile], listing: pl.DataFrame, scratch: Path) -> list[_Opened]:
    """The files to read, each looked at as a whole; of those that have grown the new records."""
    known = {row["file"]: row for row in listing.iter_rows(named=True)}
    ready = []
    for number, raw in enumerate(found):
        kind = _kind(raw)
        bracket = {"library": "{", "other": ""}.get(kind, "[")
        text = whole(raw, bracket, scratch) if bracket else raw
        ready.append((text, kind, known.get(raw.file), scratch / f"new-{number}.json"))
    with ThreadPoolExecutor(2) as pool:  # hashing releases the GIL
        return list(pool.map(lambda each: _new(*each), ready))


def _new(raw: RawFile, kind: str, known: Mapping[str, Any] | None, target: Path) -> _Opened:
    """What is to be read of one file. Raises ``ChangedError`` if it is not the known one, grown."""
    event = _event(raw) if kind == "technical" else None
    if known and known["kind"] != kind:
        raise ChangedError("a file is of another kind")
    if kind in ("library", "other"):
        return _Opened(raw, kind, event, 0, 0, "")
    size = extent(raw.path)
    if known and known["size"] > size:
        raise ChangedError("a file has less in it")
    ends = {size, known["size"]} if known else {size}
    there = raw.beginnings if ends <= raw.beginnings.keys() else digest_file(raw.path, ends)[1]
    digest = there.get(size, "")  # none of a file that is being cut: the next reading is of all
    if known is None:
        return _Opened(raw, kind, event, 0, size, digest)
    same = there.get(known["size"]) == known["digest"]
    grown = rest(raw, known["size"], target) if same else None
    if grown is None:
        raise ChangedError("a file has other records")
    return _Opened(grown, kind, event, known["known"], size, digest)


def _load(opened: Sequence[_Opened], scratch: Path, warehouse: Warehouse) -> pl.DataFrame:
    """Read the files, make the raw relations and keep what the next reading needs."""

    def read(sql: str, kinds: Sequence[str], **values: str | int) -> Path:
        raws = [each.raw for kind in kinds for each in opened if each.kind == kind]
        return _read(warehouse, sql, raws, scratch, **values)

    histories = [
        read("staging/spotify_extended", ("extended", "video"), salt=secrets.token_hex(16)),
        read("staging/spotify_account", ("account", "podcast", "audiobook")),
    ]
    history = warehouse.connection.read_parquet([str(path) for path in histories], file_row_number=True)
    warehouse.relation("spotify_history", history)
    warehouse.numbered("spotify_log", read("staging/spotify_technical", ("technical",)))
    # one object a file: the engine sets aside twice the largest for each
    sizes = [each.raw.path.stat().st_size + 1 for each in opened if each.kind == "library"]
    library = read("staging/spotify_library", ("library",), largest=max([LARGEST_RECORD, *sizes]))
    warehouse.relation("spotify_library", library)
    warehouse.keep("spotify_places", "staging/spotify_places")
    if not warehouse.frame("staging/spotify_changed").is_empty():
        raise ChangedError("new records say other things of earlier ones")
    warehouse.keep("spotify_saved", "staging/spotify_saved")
    warehouse.keep("spotify_spellings", "staging/spotify_spellings")
    warehouse.keep("spotify_titles", "staging/spotify_titles")
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
    (scratch / KEPT).mkdir()
    warehouse.write("staging/spotify_listing", scratch / KEPT / "listing.parquet")
    for name in ("spellings", "saved"):
        warehouse.connection.table(f"spotify_{name}").write_parquet(
            str(scratch / KEPT / f"{name}.parquet"), compression="zstd"
        )
    return warehouse.frame("staging/spotify_seen")


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


def _listing(opened: Sequence[_Opened]) -> pl.DataFrame:
    """One row per file to read: whose it is, what it holds, and where its new records are."""
    rows = [
        (each.raw.user_id, each.raw.file, each.kind, each.event, each.known, each.size, each.digest,
         str(each.raw.path))
        for each in opened
    ]  # fmt: skip
    return pl.DataFrame(rows, schema={**FILES, "path": pl.String}, orient="row")


def _read(
    warehouse: Warehouse, sql: str, raws: Sequence[RawFile], scratch: Path, **values: str | int
) -> Path:
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


def _counts(seen: pl.DataFrame, what: str, before: Mapping[str, int]) -> dict[str, int]:
    """Records by detail of one kind of ``staging/spotify_seen``, with those seen before."""
    new = seen.filter(pl.col("what") == what).select("detail", "records").iter_rows()
    return dict(sorted((Counter(before) + Counter(dict(new))).items()))


def _nothing(settings: Source) -> InputError:
    return InputError(
        "no streaming history found", file=", ".join(map(str, settings.path)),
        expected="StreamingHistory*.json, endsong_*.json or Streaming_History_Audio_*.json",
        do="unpack the export there or give its .zip",
    )  # fmt: skip
