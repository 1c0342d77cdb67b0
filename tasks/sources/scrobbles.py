"""Scrobbles as any service or tool writes them: CSV or Parquet, one listen a row.

``source.columns`` says what the columns are called; the defaults are ListenBrainz' names. A
scrobble's time is that of its start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from schemas.config import Columns, Source
from schemas.errors import InputError
from schemas.tables import Errors, Users, columns
from tasks.sources.earlier import KEPT, ChangedError, Earlier
from tasks.sources.packages import ME
from tasks.sources.records import Records, header, stream, watched
from tasks.warehouse import Warehouse

ENDINGS = (".csv", ".csv.gz", ".parquet")
NEEDED = ("artist", "track", "timestamp")
RECORDS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("user_id", "artist", "title", "album", "given_id"), pl.String),
    "at": pl.Datetime("us", "UTC"), "ms_played": pl.Int64, "duration_ms": pl.Int64,
    "file": pl.String, "position": pl.Int64,
}  # fmt: skip
SPELLINGS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("track_id", "title", "artist", "album"), pl.String),
    "duration_ms": pl.Int64, "plays": pl.Int64,
}  # fmt: skip


def files(settings: Source) -> list[Path]:
    """The .csv, .csv.gz and .parquet files that ``source.path`` names or has in it, sorted.

    Raises ``InputError`` when a path is not there, is another kind of file, or has none.
    """
    return sorted(_labelled(settings))


def stage(
    settings: Source, scratch: Path, warehouse: Warehouse, earlier: Earlier, /
) -> Mapping[str, Any]:
    """Make the raw relations (see ``Reader``); facts count each file's records.

    Without a column of users all is heard by ``me``. Where ``ms_played`` is not given a play ends
    as it starts. In a CSV, a record with too few or too many fields stays as a row of nulls, so
    that validation refuses it. Raises ``InputError`` for a file that is no CSV in UTF-8 or no
    Parquet, and for one without a column that is needed or that ``source.columns`` names.

    Kept for the next reading: how tracks are spelled (``spellings``). Then only new files are read.
    """
    files = _labelled(settings)
    known = {label for path, label in files.items() if path in earlier.unchanged}
    facts: dict[str, Any] = dict(earlier.facts.get("files", {}))
    if not set(facts) <= known:
        raise ChangedError("a file is gone or another")
    pieces: list[Path] = []
    for path, label in sorted(files.items()):
        if label in known:
            continue
        pieces.append(scratch / f"scrobbles-{len(pieces):06}.parquet")
        read = _read_parquet if path.suffix == ".parquet" else _read_csv
        facts[label] = read(path, label, settings.columns, pieces[-1], warehouse)
    before = pl.DataFrame(schema=SPELLINGS)
    if earlier.kept is not None:
        before = pl.read_parquet(earlier.kept / "spellings.parquet")
    tables(pieces, scratch, warehouse, before)
    (scratch / KEPT).mkdir()
    warehouse.connection.table("scrobbles_spellings").write_parquet(
        str(scratch / KEPT / "spellings.parquet"), compression="zstd"
    )
    warehouse.relation("raw_users", pl.DataFrame(schema=columns(Users)))
    return {"files": dict(sorted(facts.items()))}


def tables(pieces: Sequence[Path], scratch: Path, warehouse: Warehouse, before: pl.DataFrame) -> None:
    """Make ``raw_plays``, ``raw_tracks`` and ``raw_errors`` of records in Parquet files.

    These have the columns of ``sql/staging/scrobbles_records.sql``. Tracks are also those of
    ``before``, the ``scrobbles_spellings`` of records read earlier. A track's id is the one that is
    given, else made from artist and title; it is null where one of them is missing.
    """
    plays = scratch / "scrobbles_plays.parquet"
    warehouse.relation("scrobbles", [*pieces] or pl.DataFrame(schema=RECORDS))
    warehouse.relation("scrobbles_spellings_before", before)
    warehouse.keep("scrobbles_titles", "staging/scrobbles_titles")
    warehouse.write("staging/scrobbles_plays", plays)
    warehouse.relation("raw_plays", plays)
    warehouse.keep("scrobbles_spellings", "staging/scrobbles_spellings")
    warehouse.keep("raw_tracks", "staging/scrobbles_tracks")
    warehouse.relation("raw_errors", pl.DataFrame(schema=columns(Errors)))


def _labelled(settings: Source) -> dict[Path, str]:
    """Each file once, with its name in reports, which starts with the name of its path's last part."""
    found: dict[Path, str] = {}
    met: Counter[str] = Counter()
    for root in settings.path:
        if not root.exists():
            raise InputError("source.path is not there", file=root, do="check source.path")
        inside = sorted(root.rglob("*")) if root.is_dir() else [root]
        paths = [path for path in inside if path.name.endswith(ENDINGS) and path.is_file()]
        if not paths:
            raise InputError(
                "no scrobbles found", file=root, expected="files that end in " + ", ".join(ENDINGS),
                do="check source.path and source.kind",
            )  # fmt: skip
        for path in paths:
            label = f"{root.resolve().name}/{path.relative_to(root).as_posix()}".removesuffix("/.")
            met[label] += 1
            found[path] = f"{label}#{met[label]}" if met[label] > 1 else label
    return found


def _read_csv(
    path: Path, label: str, names: Columns, target: Path, warehouse: Warehouse
) -> Mapping[str, Any]:
    file = Records(path, ())
    there = _mapped(header(file), path, names)
    with watched(file):
        _write(
            warehouse.connection.from_arrow(stream(file, list(dict.fromkeys(there.values())))),
            there, "position", label, target, warehouse,
        )  # fmt: skip
    return file.facts


def _read_parquet(
    path: Path, label: str, names: Columns, target: Path, warehouse: Warehouse
) -> Mapping[str, Any]:
    try:
        whole = warehouse.connection.read_parquet(str(path), file_row_number=True)
        there = _mapped(whole.columns, path, names)
        _write(whole, there, "file_row_number", label, target, warehouse)
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.SerializationException) as error:
        raise InputError(
            "not readable as Parquet", file=path, do="mend or write it again"
        ) from error  # DuckDB's message may quote a value
    return {"records": pl.scan_parquet(target).select(pl.len()).collect().item()}


def _mapped(found: Sequence[str], path: Path, names: Columns) -> dict[str, str]:
    """The file's column for each role in ``Columns`` that it has.

    Only columns that nobody asked for by another name may be missing.
    """
    standard = Columns()
    mapped = names.model_dump()
    missing = [
        role
        for role, name in mapped.items()
        if name not in found and (role in NEEDED or name != getattr(standard, role))
    ]
    if missing:
        raise InputError(
            "columns are missing", file=path,
            place=", ".join(f"source.columns.{role}={mapped[role]}" for role in missing),
            found=", ".join(found), do=f"--set source.columns.{missing[0]}=NAME of one that is there",
        )  # fmt: skip
    return {role: name for role, name in mapped.items() if name in found}


def _write(
    whole: duckdb.DuckDBPyRelation, there: Mapping[str, str], position: str,
    label: str, target: Path, warehouse: Warehouse,
) -> None:  # fmt: skip
    """Records of one file as Parquet, with the roles' names and what each role means."""
    nothing = duckdb.ConstantExpression(None)
    texts = [
        (duckdb.ColumnExpression(there[role]) if role in there else nothing).cast("VARCHAR").alias(role)
        for role in Columns.model_fields
    ]
    place = duckdb.ColumnExpression(position).alias("position")
    warehouse.relation("scrobbles_texts", whole.select(*texts, place))
    listener = None if "user" in there else ME
    warehouse.write("staging/scrobbles_records", target, file=label, listener=listener)
