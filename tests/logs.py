"""Small listening logs for tests: random or written out by hand, and their features."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas import config, tables
from schemas.config import Labels
from tasks import featurize, labels, parts
from tasks.featurize import History
from tasks.warehouse import Warehouse

BASE = datetime(2021, 3, 1, 9, tzinfo=UTC)
OUTCOMES = ("ended_at", "ms_played", "reason_end", "skipped", "repeated")
Row = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """Plays as rows (``position`` names a play for good), errors as rows, and how to label them."""

    plays: list[Row]
    errors: list[Row]
    settings: Labels
    clock: str
    timezone: str = "UTC"
    known_until: int | None = None

    def with_plays(self, plays: list[Row]) -> Log:
        """The same log with other plays."""
        return replace(self, plays=plays)


def play(minutes: float, seconds: float, **values: Any) -> Row:
    """A timed play that starts ``minutes`` after ``BASE`` and lasts ``seconds``."""
    started = BASE + timedelta(milliseconds=round(minutes * 60_000))
    return {
        "user_id": "u0",
        "track_id": "t0",
        "started_at": started,
        "ended_at": started + timedelta(milliseconds=round(seconds * 1000)),
        "ms_played": round(seconds * 1000),
        "resolution": "second",
        **values,
    }


def table(model: Any, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows in a table's own columns, with null where they say nothing."""
    schema = tables.columns(model)
    return pl.DataFrame([dict.fromkeys(schema) | dict(row) for row in rows], schema=schema)


def sorted_plays(log: Log) -> list[Row]:
    """Plays in their table's order, with ``seq``, ``file`` and, if it has none yet, ``position``."""
    rows = [{"position": place, "file": "log", **row} for place, row in enumerate(log.plays)]
    if log.clock == "order":
        return sorted(({**row, "seq": row["position"]} for row in rows), key=lambda row: row["seq"])
    rows.sort(key=lambda row: (row["user_id"], row["started_at"], row["ended_at"], row["position"]))
    counts: dict[str, int] = {}
    for row in rows:
        row["seq"] = counts.get(row["user_id"], 0)
        counts[row["user_id"]] = row["seq"] + 1
    return sorted(rows, key=lambda row: (row["started_at"], row["user_id"], row["seq"]))


TRACKS: list[Row] = [
    {"track_id": "t0", "artist": "A", "duration_ms": 200_000, "year": 2015, "language": "3",
     "genres": ["g1"], "composers": ["c1"], "isrc_country": "DE", "isrc_registrant": "r1"},
    {"track_id": "t1", "artist": "A", "duration_ms": 61_000, "year": 2015, "language": "17",
     "genres": ["g2", "g1"], "composers": ["c2"], "isrc_country": "US", "isrc_registrant": "r1"},
    {"track_id": "t2", "artist": "B", "duration_ms": None, "year": 1999, "language": "3",
     "genres": ["g1"], "composers": ["c1"], "isrc_registrant": "r2"},
    {"track_id": "t3", "artist": None, "duration_ms": None, "year": None},
    {"track_id": "t4", "artist": "C", "duration_ms": 240_000, "year": 2016, "genres": ["g3"]},
]  # fmt: skip
USERS: list[Row] = [
    {"user_id": "u0", "country": "SE", "city": "5", "age": 30, "gender": "female",
     "registered_via": "9", "registered_at": date(2021, 2, 28)},
    {"user_id": "u1", "country": "DE", "city": "13", "age": None, "gender": "male",
     "registered_at": date(2015, 1, 1)},
    {"user_id": "u2"},
]  # fmt: skip


def write(
    log: Log, folder: Path, tracks: Sequence[Row] = TRACKS, users: Sequence[Row] = USERS
) -> History:
    """Write the log's tables and labels into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "plays": table(tables.Plays, sorted_plays(log)),
        "tracks": table(tables.Tracks, tracks),
        "users": table(tables.Users, users),
        "errors": table(tables.Errors, [{"file": "e", "position": 0, **row} for row in log.errors]),
    }
    write_in_parts(made["plays"], folder / "plays.parquet")
    for name in ("tracks", "users", "errors"):
        made[name].write_parquet(folder / f"{name}.parquet")
    shutil.rmtree(folder / "completed.parquet", ignore_errors=True)
    with warehouse(folder) as house:
        plays, catalogue = folder / "plays.parquet", folder / "tracks.parquet"
        labels.write(plays, catalogue, log.clock, log.settings, house, folder)
    streams = ["completed"] if log.clock == "time" else []
    streams += ["repeated"] if log.settings.target == "repeat" else []
    return History(
        **{name: folder / f"{name}.parquet" for name in made},
        labels={name: folder / f"{name}.parquet" for name in streams},
        clock=log.clock,
        timezone=log.timezone,
        known_until=log.known_until,
    )


def write_in_parts(frame: pl.DataFrame, folder: Path) -> None:
    """A table as ingest writes the plays."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for start in range(0, max(frame.height, 1), parts.ROWS):
        part = frame.slice(start, parts.ROWS)
        part.write_parquet(parts.part(folder, start // parts.ROWS))


def warehouse(folder: Path) -> Warehouse:
    """A small DuckDB session."""
    return Warehouse(config.Store(path=folder, memory_limit="200MB", threads=1))


def features(
    log: Log, folder: Path, target: str | None = None, names: Sequence[str] | None = None
) -> pl.DataFrame:
    """Feature table of the log, with ``position``; texts as strings."""
    history = write(log, folder)
    if target is None:
        target = (
            "completed" if log.clock == "time" and log.settings.target == "completed" else "repeated"
        )
    path = folder / "features.parquet"
    shutil.rmtree(path, ignore_errors=True)
    with warehouse(folder) as house:
        featurize.write(history, target, names, house, 1, path)
    plays = pl.read_parquet(history.plays).with_row_index("play").select(
        pl.col("play").cast(pl.Int64), "position"
    )  # fmt: skip
    frame = pl.read_parquet(path).join(plays, on="play", maintain_order="left")
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def names_of(frame: pl.DataFrame) -> list[str]:
    """The features of a feature table."""
    keys = ("play", "user", "tick", "matures_at", "target", "position")
    return [name for name in frame.columns if name not in keys]


def differences(before: pl.DataFrame, after: pl.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Features that are not the same in two frames of the same rows: name → the values."""
    assert before.height == after.height
    told = {}
    for name in names:
        left, right = before[name], after[name]
        if left.dtype.is_float():
            near = (left - right).abs() <= 1e-5 * left.abs().clip(lower_bound=1.0)
            same = near.fill_null(False) | (left.is_null() & right.is_null())
        else:
            same = left.eq_missing(right)
        if not same.all():
            told[name] = (left.filter(~same).to_list(), right.filter(~same).to_list())
    return told


def random_log(seed: int, size: int, target: str = "completed", resolution: str = "second") -> Log:
    """A timed log with ties, overlapping and zero-length plays, several users, nulls and errors.

    ``resolution`` is "second", "minute", or "mixed". Starts lie on a coarse grid within a span
    drawn from minutes to months, with some of them between whole seconds.
    """
    rng = np.random.default_rng(seed)
    span = int(rng.choice([10 * 60, 6 * 3600, 20 * 86_400]))  # seconds
    grid = span // 20
    rows: list[Row] = []
    for _ in range(size):
        start = int(rng.integers(0, 21)) * grid * 1000 + int(rng.choice([0, 0, 0, 400, 31_700]))
        length = int(
            rng.choice([0, 600, 28_000, 45_300, 190_000, 250_000, grid * 1000, 3 * grid * 1000])
        )
        length = min(length, tables.LONGEST_PLAY_MS)
        grain = str(rng.choice(["second", "minute"])) if resolution == "mixed" else resolution
        rows.append(
            {
                "user_id": f"u{rng.integers(0, 3)}",
                "track_id": f"t{rng.integers(0, 5)}",
                "started_at": BASE + timedelta(milliseconds=start),
                "ended_at": BASE + timedelta(milliseconds=start + length),
                "ms_played": length,
                "resolution": grain,
                "platform": rng.choice(["ios", "web", None]),
                "country": rng.choice(["DE", None]),
                "reason_start": rng.choice(["trackdone", "clickrow", None]),
                "shuffle": rng.choice([True, False, None]),
                "offline": rng.choice([True, False, None]),
                "source_tab": rng.choice(["search", None]),
                "source_screen": rng.choice(["Radio", None]),
                "source_type": rng.choice(["album", "radio", None]),
                "reason_end": rng.choice(["trackdone", "fwdbtn", "remote", None]),
                "skipped": rng.choice([True, False, None, None]),
            }
        )
    errors = [
        {
            "user_id": f"u{rng.integers(0, 3)}",
            "at": BASE + timedelta(seconds=int(rng.integers(0, 21)) * grid),
            "kind": str(rng.choice(["connection", "playback"])),
        }
        for _ in range(6)
    ]
    settings = Labels(target=target, burn_in_days=0 if target == "completed" else 1, horizon_days=2)
    return Log([{**row, "position": place} for place, row in enumerate(rows)], errors, settings, "time")


def random_order_log(seed: int, size: int, mode: str = "production", maturity_rows: int = 4) -> Log:
    """A log without a clock: pairs repeat, some labels are null, and the last rows ask."""
    rng = np.random.default_rng(seed)
    asking = size // 6
    rows = [
        {
            "user_id": f"u{rng.integers(0, 3)}",
            "track_id": f"t{rng.integers(0, 5)}",
            "resolution": "order",
            "source_tab": rng.choice(["my library", "search", None]),
            "source_screen": rng.choice(["Album more", "Radio", None]),
            "source_type": rng.choice(["album", "radio", "local-library", None]),
            "repeated": bool(rng.integers(0, 2)) if place < size - asking else None,
            "request_id": str(place) if place >= size - asking else None,
            "position": place,
        }
        for place in range(size)
    ]
    settings = Labels(target="repeat", mode=mode, maturity_rows=maturity_rows)
    return Log(rows, [], settings, "order", known_until=size // 2)
