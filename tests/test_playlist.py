"""The playlist: tracks heard before, best first, probed after the newest play, without context."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas.config import Config, LightGBM, Models, Store
from tasks import playlist
from tasks.split import Windows
from tests import logs
from tests.logs import BASE, Log, Row, play

DAYS = 60


def liked(user: str, track: str) -> bool:
    """u0 hears out t0 and t1, u1 all but t0."""
    return (track in ("t0", "t1")) if user == "u0" else track != "t0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log, dict[str, Any]]:
    """A list from a log in which every play is as its listener likes the track."""
    folder = tmp_path_factory.mktemp("playlist")
    rng = np.random.default_rng(1)
    rows: list[Row] = []
    for place in range(600):
        user, track = f"u{place % 2}", f"t{rng.integers(0, 5)}"
        moment, hit = place * DAYS * 24 * 60 / 600, liked(user, track)
        context = {"platform": "ios", "reason_start": "trackdone"}
        rows.append(play(moment, 60, user_id=user, track_id=track, skipped=not hit, **context))
    rows.append(
        play(DAYS * 24 * 60, 60, user_id="u2", track_id="t3", reason_end="remote")
    )  # no label: nothing is known
    log = Log([{**row, "position": i} for i, row in enumerate(rows)], [], logs.Labels(), "time")
    logs.features(log, folder)
    history = logs.write(log, folder)
    start = int(BASE.timestamp() * 1000)
    end = int(max(row["ended_at"] for row in rows).timestamp() * 1000) + 1
    border = start + round((end - start) * 0.7)
    windows = Windows(start, border, start + round((end - start) * 0.85), end)
    models = Models(lightgbm=LightGBM(max_trees=60, min_data_in_leaf=5, learning_rate=0.2))
    config = Config(store=Store(path=folder, threads=1, memory_limit="200MB"), models=models)
    told = dict(playlist.write(folder / "features.parquet", history, windows, config, folder))
    return folder, log, told


def test_every_heard_track_of_each_listener_is_ranked(made: tuple[Path, Log, dict[str, Any]]) -> None:
    folder, _, told = made
    listed = pl.read_parquet(folder / "playlist.parquet")
    assert listed.columns == ["user_id", "rank", "uri", "name", "artist", "probability", "reason"]
    assert (told["users"], told["tracks"]) == (2, 10)
    for _, own in listed.group_by("user_id"):
        assert own["rank"].to_list() == [1, 2, 3, 4, 5]
        assert own["probability"].is_sorted(descending=True)


def test_what_a_listener_hears_out_comes_first(made: tuple[Path, Log, dict[str, Any]]) -> None:
    """Artists A, A, B, none, C are t0 … t4."""
    folder, _, _ = made
    listed = pl.read_parquet(folder / "playlist.parquet")
    best = {
        user: own.head(2)["artist"].to_list()
        for (user,), own in listed.group_by("user_id", maintain_order=True)
    }
    assert best["u0"] == ["A", "A"]
    worst = listed.filter(pl.col("user_id") == "u1")
    assert worst["artist"][-1] == "A"
    assert worst["probability"][-1] < 0.2 < 0.8 < worst["probability"][0]


def test_reasons_count_what_happened(made: tuple[Path, Log, dict[str, Any]]) -> None:
    folder, log, _ = made
    listed = pl.read_parquet(folder / "playlist.parquet")
    own = [row for row in log.plays if (row["user_id"], row["track_id"]) == ("u1", "t4")]
    end = max(row["ended_at"] for row in log.plays)
    days = (end - max(row["started_at"] for row in own)) // timedelta(days=1)
    expected = f"completed {len(own)} of {len(own)} plays, last heard {days} days ago"
    assert (
        listed.filter((pl.col("user_id") == "u1") & (pl.col("artist") == "C"))["reason"].item()
        == expected
    )


def test_its_model_uses_no_context(made: tuple[Path, Log, dict[str, Any]]) -> None:
    """Platform and reason_start are in the features, but no play is happening."""
    folder, _, told = made
    features = set(pl.read_parquet_schema(folder / "features.parquet"))
    assert {"platform", "session_position"} <= features
    assert told["features"] < len(features) - 5 - 8
