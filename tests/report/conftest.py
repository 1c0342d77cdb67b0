"""A hand-made holdout: 240 plays by 4 users whose outcome the candidate half knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Store
from schemas.tables import Labels, Plays, Tracks, Users, columns
from tasks.metrics.binary import Interval
from tasks.report.content import (
    Achieved,
    Audit,
    Importance,
    Lineage,
    ModelResult,
    Promotion,
    Report,
    Window,
)

START = datetime(2024, 5, 1, tzinfo=UTC)
NASTY = 'a "quoted", <script>alert(1)</script>\nsecond | line'
ROWS = 240


def table(model: Any, values: dict[str, Any]) -> pl.DataFrame:
    """A frame of a canonical table: what is not given is null."""
    types = columns(model)
    frame = pl.DataFrame(values, schema_overrides={name: types[name] for name in values})
    absent = [pl.lit(None, dtype=kind).alias(name) for name, kind in types.items() if name not in values]
    return model.validate(frame.with_columns(absent).select(list(types)))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Parquet files: plays, tracks, users, labels, and scored (240 plays, one every 3 hours)."""
    folder = tmp_path_factory.mktemp("world")
    rows = range(ROWS)
    started = [START + timedelta(hours=3 * row) for row in rows]
    target = [row % 3 != 0 for row in rows]  # two thirds are true
    user = [NASTY if row % 4 == 0 else f"user {row % 4}" for row in rows]
    track = [NASTY if row % 5 == 0 else f"track {row % 5}" for row in rows]
    seq = [row // 4 for row in rows]
    plays = table(
        Plays,
        {
            "user_id": user, "seq": seq, "track_id": track, "started_at": started,
            "ended_at": [moment + timedelta(minutes=3) for moment in started],
            "resolution": ["second"] * ROWS,
            "platform": ["phone" if row % 4 else "desk" for row in rows],
            "ms_played": [180_000] * ROWS, "file": ["a.json"] * ROWS, "position": list(rows),
        },
    )  # fmt: skip
    names = sorted(set(track))
    tracks = table(
        Tracks, {"track_id": names, "name": names, "artist": [f"<b>{name}</b> & co" for name in names]}
    )
    people = sorted(set(user))
    users = table(Users, {"user_id": people, "registered_at": [START.date()] * len(people)})
    labels = table(
        Labels,
        {"play": list(rows), "user_id": user, "seq": seq, "target": target, "matures_at": [0] * ROWS},
    )
    forecast = [0.3 + 0.4 * value + (row % 7) / 50 for row, value in zip(rows, target, strict=True)]
    scored = plays.select("started_at", "user_id", "seq", "track_id").with_columns(
        target=pl.Series(target),
        base_rate=pl.lit(2 / 3),
        heuristic=pl.Series([0.5 + (row % 11) / 40 for row in rows]),
        lightgbm=pl.Series(forecast),
        predicted_probability=pl.Series(forecast),
    )
    paths = {}
    for name, frame in {
        "plays": plays, "tracks": tracks, "users": users, "labels": labels, "scored": scored
    }.items():  # fmt: skip
        paths[name] = folder / f"{name}.parquet"
        frame.write_parquet(paths[name])
    return paths


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(path=tmp_path / "store")


def model(name: str, log_loss: float, differences: dict[str, Interval]) -> ModelResult:
    return ModelResult(
        name,
        {
            "auc": Interval(0.7, 0.65, 0.75),
            "log_loss": Interval(log_loss, log_loss - 0.01, log_loss + 0.01),
            "ece": Interval(0.04, float("nan"), float("nan")),
        },
        threshold=0.5,
        seconds=1.5,
        note="calibrated | isotonic" if name == "lightgbm" else None,
        differences={baseline: {"log_loss": each} for baseline, each in differences.items()},
    )


@pytest.fixture(scope="session")
def report() -> Report:
    """The candidate's log loss is lower than the heuristic's by .021, than the base rate's by .05."""
    better = {"heuristic": Interval(-0.021, -0.024, -0.018), "base_rate": Interval(-0.05, -0.06, -0.04)}
    return Report(
        dataset="demo",
        target="completed",
        target_sentence="a play is heard to its end",
        label_mode="production",
        clock=True,
        timezone="Asia/Tokyo",
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        windows={
            "training": Window(datetime(2024, 1, 1, tzinfo=UTC), START, 900, 4, 0.66),
            "holdout": Window(START, START + timedelta(days=30), ROWS, 4, 2 / 3, users_with_history=3),
        },
        ingest={"rows": {"plays": 1140, "tracks": 5, "users": 4}, "merged_duplicates": 7},
        labels=1140,
        labels_unknown=12,
        models=(
            model("base_rate", 0.64, {}),
            model("heuristic", 0.61, {"base_rate": Interval(-0.03, -0.04, -0.02)}),
            model("lightgbm", 0.59, better),
        ),
        candidate="lightgbm",
        resampling_unit="user-day",
        resampling_units=118,
        importance=(Importance("late", 1.0, 3, "track"), Importance("early", 9.0, 5, "user")),
        audit=Audit(plays=60, features=1800, mismatches=0),
        achieved=Achieved(0.78, {"lightgbm": Interval(0.87, 0.85, 0.89)}),
        promotion=Promotion(True, "no champion yet", {"difference": -0.021}, None, "1"),
        mlflow={"run": "abc123"},
        lineage=Lineage({"a.json": "ab" * 32}, {"plays": "cd" * 24}, {"ingest": "ef" * 16}),
        seconds={"ingest": 1.25},
    )


@pytest.fixture
def against(report: Report) -> Callable[[Interval, Interval], Report]:
    """The report with other log loss differences of the candidate to heuristic and base rate."""

    def changed(heuristic: Interval, base_rate: Interval) -> Report:
        candidate = model("lightgbm", 0.59, {"heuristic": heuristic, "base_rate": base_rate})
        return replace(report, models=(*report.models[:2], candidate))

    return changed
