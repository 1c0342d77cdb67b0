"""The audit passes on honest features and fails on every kind of planted leak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas.config import Audit, Config, Store
from tasks import audit as module
from tasks import featurize
from tasks.audit import LeakError, audit
from tasks.sweeps import Stream
from tests import logs
from tests.logs import Log, play

_DRAWN = logs.random_log(11, 14)
_TIED = [play(0.5, 60, position=14 + place, skipped=bool(place)) for place in range(2)]
TIMED = _DRAWN.with_plays([*_DRAWN.plays, *_TIED])
FIRST_PLAYS = logs.random_log(13, 20, "repeat")
ORDERED = logs.random_order_log(13, 18)


def audited(log: Log, folder: Path, plays: int = 60) -> dict[str, Any]:
    """Features of all rows, and all (or some) of them audited."""
    frame = logs.features(log, folder)
    history = logs.write(log, folder)
    names = logs.names_of(frame)
    return audit(folder / "features.parquet", names, history, config(log, folder, plays), folder)


def config(log: Log, folder: Path, plays: int = 60) -> Config:
    store = Store(path=folder, memory_limit="200MB", threads=1)
    return Config(store=store, labels=log.settings, audit=Audit(plays=plays))


@pytest.mark.parametrize(
    "log",
    [
        TIMED,
        FIRST_PLAYS,
        logs.random_log(14, 10, "completed", "minute"),
        logs.random_log(15, 12, "completed", "mixed"),
        ORDERED,
        logs.random_order_log(16, 12, "competition"),
    ],
    ids=["completed", "repeat", "minutes", "mixed", "production", "competition"],
)
def test_honest_features_pass(tmp_path: Path, log: Log) -> None:
    told = audited(log, tmp_path)
    result = pl.read_parquet(tmp_path / "audit.parquet")
    assert result["equal"].all()
    assert told == {
        "plays": result["play"].n_unique(),
        "rebuilt": result["play"].n_unique(),
        "features": result["feature"].n_unique(),
        "compared": result.height,
        "mismatches": 0,
    }
    assert told["plays"] >= 5


def test_the_very_first_play_is_rebuilt_from_nothing(tmp_path: Path) -> None:
    """Whole columns are null then, outcomes of all plays among them."""
    rows = [
        play(place, 60, position=place, skipped=False, track_id=f"t{3 - place}") for place in range(2)
    ]
    told = audited(logs.Log(rows, [], logs.Labels(), "time"), tmp_path)
    assert told["plays"] == 2
    assert pl.read_parquet(tmp_path / "audit.parquet")["play"].min() == 0


def test_nothing_is_left_behind_but_the_result(tmp_path: Path) -> None:
    audited(TIMED, tmp_path, plays=3)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_sample_is_bounded_by_the_rows_that_it_reads(tmp_path: Path) -> None:
    frame = logs.features(TIMED, tmp_path)
    history = logs.write(TIMED, tmp_path)
    few = config(TIMED, tmp_path).model_copy(update={"audit": Audit(plays=60, max_rows=4 * 16 + 1)})
    told = audit(tmp_path / "features.parquet", logs.names_of(frame), history, few, tmp_path)
    assert told["plays"] == 4


def early(streams: dict[str, Stream], name: str, to: Callable[[Stream], Any]) -> dict[str, Stream]:
    """A stream whose events are seen from other ticks."""
    stream = streams[name]
    visible = to(stream)
    order = np.argsort(visible, kind="stable")
    places = np.arange(stream.moments.rows) if stream.places is None else stream.places
    value = None if stream.value is None else stream.value[order]
    return streams | {name: Stream(stream.moments, places[order], visible[order], value)}


def starts(stream: Stream) -> Any:
    return stream.of(stream.moments.columns["seen_from"])


LEAKS: dict[str, tuple[Log, str, Callable[[Stream], Any]]] = {
    "ties see each other": (TIMED, "plays", lambda stream: stream.visible - 1),
    "later plays are seen": (TIMED, "plays", lambda stream: stream.visible - 3_600_000),
    "later errors are seen": (TIMED, "connection_errors", lambda stream: stream.visible - 3_600_000),
    "outcomes are known at the start": (TIMED, "completed", starts),
    "a play knows its own outcome": (TIMED, "completed", lambda stream: starts(stream) - 1),
    "lengths are known at the start": (TIMED, "ended", starts),
    "labels are known before maturity": (FIRST_PLAYS, "repeated", starts),
    "labels are known too soon by a row": (ORDERED, "repeated", lambda stream: stream.visible - 1),
    "a row knows its own label": (ORDERED, "repeated", lambda stream: starts(stream) - 1),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_stream_that_runs_ahead_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log, stream, to = LEAKS[name]
    honest = featurize._streams
    monkeypatch.setattr(featurize, "_streams", lambda *given: early(honest(*given), stream, to))
    with pytest.raises(LeakError, match=r"features changed when later records were removed; first: \w+"):
        audited(log, tmp_path)


def test_labels_of_validation_in_a_prior_are_found(tmp_path: Path) -> None:
    """Features made as if every label were known, audited with the border that holds."""
    frame = logs.features(replace(ORDERED, known_until=10**6), tmp_path)
    history = logs.write(ORDERED, tmp_path)
    path, settings = tmp_path / "features.parquet", config(ORDERED, tmp_path)
    with pytest.raises(LeakError):
        audit(path, logs.names_of(frame), history, settings, tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        pl.col("user_completion_rate") + 1e-3,
        pl.lit(None, pl.Float32).alias("user_plays"),
        pl.lit("elsewhere").cast(pl.Categorical).alias("country"),
        pl.col("target").cast(pl.Float32).alias("pair_last_completed"),
    ],
    ids=["a number", "a null", "a text", "the target itself"],
)
def test_an_edited_table_is_found(tmp_path: Path, edit: pl.Expr) -> None:
    frame = logs.features(TIMED, tmp_path)
    history = logs.write(TIMED, tmp_path)
    path = tmp_path / "features.parquet"
    logs.write_in_parts(pl.read_parquet(path).with_columns(edit), path)
    with pytest.raises(LeakError):
        audit(path, logs.names_of(frame), history, config(TIMED, tmp_path), tmp_path)
    wrong = pl.read_parquet(tmp_path / "audit.parquet").filter(~pl.col("equal"))
    assert wrong["feature"].unique().to_list() == [edit.meta.output_name()]


def test_when_plays_come_only_rows_with_another_past_are_rebuilt(tmp_path: Path) -> None:
    """All of them are compared, whatever was rebuilt before."""
    log = logs.random_log(11, 6)
    newest = max(row["started_at"] for row in log.plays)
    later = play(40, 60, position=90, skipped=False)
    assert later["started_at"] > newest
    between = sorted(row["started_at"] for row in log.plays)[2] + timedelta(seconds=1)
    early = play(0, 30, position=91, skipped=True) | {
        "started_at": between,
        "ended_at": between + timedelta(seconds=30),
    }
    first = audited(log, tmp_path)
    assert audited(log, tmp_path) == first | {"rebuilt": 0}
    grown = audited(log.with_plays([*log.plays, later]), tmp_path)
    assert (grown["plays"], grown["rebuilt"]) == (first["plays"] + 1, 1)
    mended = audited(log.with_plays([*log.plays, later, early]), tmp_path)
    before = sum(row["started_at"] < early["started_at"] for row in log.plays)
    assert before + mended["rebuilt"] >= mended["plays"] > mended["rebuilt"]
    path = tmp_path / "features.parquet"
    edited = pl.read_parquet(path).with_columns(pl.col("user_completion_rate") + 1e-3)
    logs.write_in_parts(edited, path)
    names = pl.read_parquet(tmp_path / "audit.parquet")["feature"].unique().to_list()
    history = logs.write(log.with_plays([*log.plays, later, early]), tmp_path)
    with pytest.raises(LeakError):
        audit(path, names, history, config(log, tmp_path), tmp_path)


def test_rounding_is_no_leak() -> None:
    before = pl.DataFrame(
        {"a": [0.1], "b": [1e6], "c": [None], "d": ["x"]}, schema_overrides={"c": pl.Float32}
    )
    after = pl.DataFrame(
        {"a": [0.1 + 5e-6], "b": [1e6 + 5], "c": [None], "d": ["x"]}, schema_overrides={"c": pl.Float32}
    )
    assert module._compare(3, before, after)["equal"].all()
    off = after.with_columns(a=pl.lit(0.1 + 2e-5), c=pl.lit(0.0))
    assert module._compare(3, before, off)["equal"].to_list() == [False, True, False, True]
