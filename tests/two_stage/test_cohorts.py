"""Who users were at a cutoff, and how cohorts of them fared."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas import config, tables
from schemas.config import Config, Store
from tasks.two_stage import cohorts as list_cohorts
from tests.logs import BASE, Row, play, table

DAY = 24 * 60
CUTOFF = int(BASE.timestamp() * 1000) + 10 * DAY * 60_000
TRACKS: list[Row] = [
    {"track_id": "t0", "genres": ["rock", "pop"]},
    {"track_id": "t1", "genres": ["jazz"]},
    {"track_id": "t2"},
]
EARLY: list[Row] = [
    play(0, 60, user_id="anna", track_id="t0"),
    play(DAY, 60, user_id="anna", track_id="t1"),
    play(2 * DAY, 60, user_id="anna", track_id="t1"),
    play(7 * DAY, 60, user_id="ben", track_id="t0"),
    play(9 * DAY, 60, user_id="cleo", track_id="t2"),
]
LATE: list[Row] = [
    *(play(10 * DAY + minute, 60, user_id="anna", track_id="t0") for minute in range(5)),
    play(11 * DAY, 60, user_id="dora", track_id="t1"),
]


def attributes(folder: Path, plays: list[Row], cutoffs: list[int]) -> pl.DataFrame:
    folder.mkdir()
    numbered = [{**row, "seq": place, "file": "", "position": place} for place, row in enumerate(plays)]
    people = [{"user_id": "anna", "age": 30, "country": "SE"}, {"user_id": "ben"}, {"user_id": "cleo"}]
    frames = {"plays": (tables.Plays, numbered), "tracks": (tables.Tracks, TRACKS),
              "users": (tables.Users, [*people, {"user_id": "dora"}])}  # fmt: skip
    paths = {name: folder / f"{name}.parquet" for name in frames}
    for name, (model, rows) in frames.items():
        table(model, rows).write_parquet(paths[name])
    return list_cohorts.attributes(cutoffs, paths, Config(store=Store(path=folder / "store")))


def test_by_hand(tmp_path: Path) -> None:
    """Of equally many plays the genre that comes first in the alphabet; none, where no track has one."""
    made = attributes(tmp_path / "w", [*EARLY, *LATE], [CUTOFF]).sort("user")
    assert made.select("user", "activity", "tenure", "main_genre", "age", "country").rows() == [
        ("anna", 3, 10, "jazz", 30, "SE"),
        ("ben", 1, 3, "pop", None, None),
        ("cleo", 1, 1, None, None, None),
    ]


def test_what_was_played_later_changes_nothing(tmp_path: Path) -> None:
    whole = attributes(tmp_path / "whole", [*EARLY, *LATE], [CUTOFF])
    assert_frame_equal(whole, attributes(tmp_path / "cut", EARLY, [CUTOFF]), check_row_order=False)
    later = attributes(tmp_path / "later", [*EARLY, *LATE], [CUTOFF, CUTOFF + 5 * DAY * 60_000])
    assert later.filter(user="anna").sort("cutoff")["activity"].to_list() == [3, 8]
    assert later.filter(user="anna").sort("cutoff")["main_genre"].to_list() == ["jazz", "pop"]


def test_without_a_clock_rows_are_time(tmp_path: Path) -> None:
    rows = [
        {"user_id": "anna", "track_id": "t1", "resolution": "order"},
        {"user_id": "ben", "track_id": "t0", "resolution": "order"},
        {"user_id": "anna", "track_id": "t0", "resolution": "order"},
    ]
    made = attributes(tmp_path / "w", rows, [2]).sort("user")
    assert made.select("user", "activity", "tenure", "main_genre").rows() == [
        ("anna", 1, None, "jazz"), ("ben", 1, None, "pop"),
    ]  # fmt: skip


def test_gain_is_paired_with_the_same_user(tmp_path: Path) -> None:
    """Every user's list gains .1, whoever they are: the interval has no width."""
    users = [f"u{code:02}" for code in range(40)]
    own = pl.DataFrame({"user": users, "cutoff": 7, "ndcg": [code / 100 for code in range(40)]})
    frames = [
        own.with_columns(mode=pl.lit(mode), system=pl.lit(system), ndcg=pl.col("ndcg") + more,
                         recall=0.5, hit=1.0)
        for mode, system, more in (("include", "lightgbm", 0.1), ("include", "als", 0.0),
                                   ("only", "lightgbm", 0.7))
    ]  # fmt: skip
    people = pl.DataFrame(
        {"user": users, "cutoff": 7, "country": ["SE", "DE"] * 20, "gender": [None] * 40},
        schema_overrides={"gender": pl.String},
    )
    settings = Config(evaluation=config.Evaluation(resamples=100))
    made = list_cohorts.judged(pl.concat(frames), people, "lightgbm", "als", settings)
    assert set(made["attribute"]) == {"all", "country"}  # nobody's gender is known
    gains = made.filter(metric="ndcg_gain")
    assert gains.select("value", "low", "high").to_numpy() == pytest.approx(0.1)
    assert made.filter(attribute="all", metric="ndcg")["value"].item() == pytest.approx(0.295)
