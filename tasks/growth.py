"""Going on from an earlier ingest: what of its plays stands when new ones come.

Plays are in the order of their starts, and where a play comes depends on those that end near it. So all
plays that start before any that a new one can touch stay as they are, place by place: they are copied.
The others are put in order again together with the new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from schemas import tables
from tasks.admitted import Tally, parquet
from tasks.parts import link, rows
from tasks.sources.earlier import KEPT, NOTHING, Earlier
from tasks.store import Entry

MERGED = "merged"  # among what is kept: valid plays that other packages hold too, as read, in parts
TOLD = ("plays", "errors")  # tables whose records are read once
WAY = "way"  # among what is kept: the name of how raw files were read
CATALOGUE = "catalogue/"  # what the names of its files begin with; those of the source with a number
FUTURE = "in the future"  # why a play is refused that ends after the reading
MOMENT = pl.Datetime("ms", "UTC")


@dataclass(frozen=True)
class Base:
    """An earlier ingest's result, or nothing: ``folder`` with its tables and ``kept``."""

    folder: Path
    facts: Mapping[str, Any]
    earlier: Earlier

    @property
    def plays(self) -> Path:
        """Its table of plays."""
        return self.folder / "plays.parquet"

    @property
    def errors(self) -> Path:
        """Its table of errors."""
        return self.folder / "errors.parquet"

    @property
    def merged(self) -> list[Path]:
        """Its valid plays that are not in that table: files, each in the order of its plays' ends."""
        return sorted((self.folder / KEPT / MERGED).iterdir())

    def quarantine(self) -> pl.DataFrame:
        """Refused records that are not read again."""
        return pl.read_parquet(self.folder / "quarantine.parquet").filter(pl.col("table").is_in(TOLD))


@dataclass(frozen=True)
class Touched:
    """What new plays change of earlier ones.

    ``standing``: how many of the first earlier plays stay as they are. ``pieces``: files of the new
    plays and the other ones, ``valid_plays`` of sql/staging/plays.sql; ``before``: its
    ``plays_before``. ``merged``: of each file of merged plays how many of the first stay so.
    """

    standing: int
    pieces: list[Path]
    before: pl.DataFrame
    merged: dict[Path, int]


def nothing(scratch: Path) -> Base:
    """What a first ingest goes on from: empty tables."""
    folder = scratch / "nothing"
    (folder / KEPT / MERGED).mkdir(parents=True)
    empty = {"quarantine": tables.Quarantine, f"{KEPT}/{MERGED}/000000": tables.Plays}
    for path, model in (tables.SOURCE_TABLES | empty).items():
        pl.DataFrame(schema=tables.columns(model)).write_parquet(folder / f"{path}.parquet")
    return Base(folder, {"read": {}, "clock": "time"}, NOTHING)


def base(entries: Iterable[Entry], way: str, files: Iterable[str]) -> Base | None:
    """The newest entry that read files of these names in the same way, if any.

    ``way`` names how raw files are read (code, settings, listeners left out); ``files`` are lines as in
    the fact ``files``, whose digests make no difference here: see ``compared``. An entry that refused
    plays of the future is none: by now they may have happened. Nor is one that left out listeners:
    what else it left out is not known.
    """
    names = {_name(line) for line in files}
    for entry in entries:
        facts, known = entry.facts, set(filter(_of_source, entry.facts["files"]))
        if (
            _way(entry.path) == way
            and {_name(line) for line in known} <= names
            and not any(FUTURE in row["reason"] for row in facts["refused"])
            and not any(facts.get("forgotten", {}).values())
        ):
            return Base(entry.path, facts, Earlier(frozenset(), entry.path / KEPT, facts["reader"]))
    return None


def compared(base: Base, files: Mapping[str, Path]) -> Base:
    """The base with its unchanged files: ``files`` are paths by their line in the fact ``files``."""
    known = set(base.facts["files"])
    unchanged = frozenset(path for line, path in files.items() if line in known and _of_source(line))
    return replace(base, earlier=replace(base.earlier, unchanged=unchanged))


def sign(folder: Path, way: str) -> None:
    """Note how an ingest has read, where it keeps what can be gone on from."""
    if (folder / KEPT).is_dir():
        (folder / KEPT / WAY).write_text(way, encoding="utf-8")


def _way(folder: Path) -> str | None:
    path = folder / KEPT / WAY
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _of_source(line: str) -> bool:
    return not _name(line).startswith(CATALOGUE)


def _name(line: str) -> str:
    return line.split(" ", 1)[1]


def touched(base: Base, new: list[Path], scratch: Path) -> Touched:
    """What the new valid plays in these files, all with a clock, change of the base's."""
    plays, merged = pl.scan_parquet(base.plays), pl.scan_parquet(base.merged)
    if not new:
        nothing = {"user_id": pl.String, "plays": pl.Int64, "last_end": pl.Int64}
        standing = {part: rows(part) for part in base.merged}
        return Touched(rows(base.plays), [], pl.DataFrame(schema=nothing), standing)
    started, ended = pl.col("started_at"), pl.col("ended_at")  # bare: whole row groups are left out
    # as it was read: in the table, a start may have been moved to the end of the play before
    read = (ended.dt.epoch("ms") - pl.col("ms_played").fill_null(0)).cast(MOMENT)
    first_end = pl.scan_parquet(new).select(ended.min()).collect().item()
    edge = pl.lit(first_end.replace(second=0, microsecond=0), MOMENT)  # merged by the minute
    starts = [pl.scan_parquet(new).select(start=started.min())]
    starts += [each.filter(ended >= edge).select(start=read.min()) for each in (plays, merged)]
    moment = pl.lit(pl.concat(starts).min().collect().item(), MOMENT)
    settled = ended < edge
    moved = pl.when(settled).then(started).otherwise(read)
    again = [
        plays.filter(started >= moment).with_columns(started_at=moved, settled=settled),
        merged.filter(~settled).with_columns(settled=pl.lit(value=False)),
    ]
    pieces = [*new]
    record = sum(map(rows, new))
    for each in again:
        pieces.append(scratch / f"again-{len(pieces)}.parquet")
        numbered = each.with_columns(record=pl.int_range(pl.len()) + record)
        numbered.sink_parquet(pieces[-1], compression="lz4")
        record += rows(pieces[-1])
    before = plays.group_by("user_id").agg(
        plays=(started < moment).sum().cast(pl.Int64),
        last_end=ended.filter(settled).max().dt.epoch("ms"),
    )
    return Touched(
        rows(base.plays) - rows(pieces[len(new)]),  # all but its plays that are ordered again
        pieces,
        before.collect(engine="streaming"),
        {part: pl.scan_parquet(part).select(settled.sum()).collect().item() for part in base.merged},
    )


def may_be_kept(kept: Path, tally: Tally) -> bool:
    """Whether a reader has left something, and none of it is of who is forgotten.

    They may have files without a row in any table.
    """
    if not kept.exists() or any(tally.forgotten.values()):
        return False
    named = [pl.read_parquet(path) for path in kept.glob("*.parquet")]
    return all(
        tally.gone.among(each["user_id"]).is_empty() for each in named if "user_id" in each.columns
    )


def keep_merged(touched: Touched, more: Iterator[pl.DataFrame], folder: Path) -> None:
    """Write merged plays into a new folder: those that stay so, and ``more``, in order of their ends.

    A file that stays as it is becomes another name of the same.
    """
    folder.mkdir()
    for number, (part, first) in enumerate(touched.merged.items()):
        target = folder / f"{number:06}.parquet"
        if first < rows(part):
            with parquet(target, tables.Plays, part, first):
                pass  # nothing comes after these
        else:
            link(part, target)
    first_of_more = next(more, None)
    if first_of_more is None and touched.merged:
        return
    with parquet(folder / f"{len(touched.merged):06}.parquet", tables.Plays) as write:
        for batch in () if first_of_more is None else (first_of_more, *more):
            write(batch)
