"""What explore says of small data sets whose numbers can be counted by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from schemas.config import Store
from schemas.tables import Labels, Plays, Tracks, Users
from tasks.report.explore import explore
from tasks.warehouse import Warehouse
from tests.report.conftest import table

MONDAY = datetime(2024, 1, 1, 23, 30, tzinfo=UTC)


@pytest.fixture
def small(tmp_path: Path) -> dict[str, Path]:
    """Two users. ann: 3 plays in a row, then after 31 minutes 1 more; bob: 6 plays of one track."""
    minute = timedelta(minutes=1)
    starts = [0, 3, 6, 9 + 31] + [60 + 3 * step for step in range(6)]
    rows = len(starts)
    plays = table(
        Plays,
        {
            "user_id": ["ann"] * 4 + ["bob"] * 6, "seq": [*range(4), *range(6)],
            "track_id": ["a", "b", "a", "c"] + ["d"] * 6,
            "started_at": [MONDAY + start * minute for start in starts],
            "ended_at": [MONDAY + (start + 3) * minute - timedelta(seconds=1) for start in starts],
            "resolution": ["second"] * rows, "platform": ["phone"] * 5 + [None] * 5,
            "file": ["f"] * rows, "position": list(range(rows)),
        },
    )  # fmt: skip
    tracks = table(Tracks, {"track_id": list("abcd"), "artist": ["x", "x", None, "y"]})
    users = table(
        Users, {"user_id": ["ann", "bob"], "registered_at": [date(2015, 1, 1), date(2020, 1, 1)]}
    )
    labels = table(
        Labels,
        {
            "play": list(range(rows)), "user_id": plays["user_id"].to_list(),
            "seq": plays["seq"].to_list(),
            "target": [True, False, None, True] + [False] * 6, "matures_at": [0] * rows,
        },
    )  # fmt: skip
    paths = {}
    for name, frame in {"plays": plays, "tracks": tracks, "users": users, "labels": labels}.items():
        paths[name] = tmp_path / f"{name}.parquet"
        frame.write_parquet(paths[name])
    return paths


def ask(paths: dict[str, Path], store: Store, sql: str, **values: object) -> list[tuple[object, ...]]:
    with Warehouse(store) as warehouse:
        for name, path in paths.items():
            warehouse.relation(name, path)
        warehouse.keep("pairs", "reports/explore_pairs")
        return warehouse.frame(f"reports/{sql}", **values).rows()


def test_counts_are_those_counted_by_hand(small: dict[str, Path], store: Store) -> None:
    assert ask(small, store, "explore_balance") == [(9, 2, 1)]
    # ann: 3 tracks in 4 plays, 25 %; bob: 1 in 6, 83 %
    assert ask(small, store, "explore_repeats", fewest=1) == [(5, 1, 0.25), (16, 1, 1 - 1 / 6)]
    assert ask(small, store, "explore_repeats", fewest=5) == [(16, 1, 1 - 1 / 6)]
    assert ask(small, store, "explore_long_tail") == [(25, 0.6), (50, 0.8), (75, 0.9), (100, 1.0)]
    assert ask(small, store, "explore_account_age") == [(2015, 1, 3, 2), (2020, 1, 6, 0)]
    # ann's fourth play comes more than 30 minutes after the third ended
    assert ask(small, store, "explore_sessions") == [(1, 1, 1), (3, 1, 3), (6, 1, 6)]
    assert ask(small, store, "explore_plays_per_user") == [(3, 2, 10)]
    assert ask(small, store, "explore_artists", top=9) == [("y", 6, 1), ("x", 3, 1)]


def test_hours_are_local(small: dict[str, Path], store: Store) -> None:
    """23:30 UTC on a Monday is Tuesday, half past midnight, in Berlin."""
    assert ask(small, store, "explore_hours", timezone="UTC") == [(1, 23, 3), (2, 0, 7)]
    assert ask(small, store, "explore_hours", timezone="Europe/Berlin") == [(2, 0, 3), (2, 1, 7)]


def test_a_gap_of_exactly_30_minutes_is_the_same_session(small: dict[str, Path], store: Store) -> None:
    frame = pl.read_parquet(small["plays"])
    fourth = (pl.col("user_id") == "ann") & (pl.col("seq") == 3)
    third_end = frame.filter(user_id="ann", seq=2)["ended_at"][0]
    moved = pl.when(fourth).then(
        pl.lit(third_end + timedelta(minutes=30)).cast(frame.schema["started_at"])
    )
    frame.with_columns(started_at=moved.otherwise("started_at")).write_parquet(small["plays"])
    assert ask(small, store, "explore_sessions") == [(3, 1, 4), (6, 1, 6)]


def test_the_report_says_it_in_words(small: dict[str, Path], tmp_path: Path, store: Store) -> None:
    facts = {
        "rows": {"plays": 10},
        "refused": [
            {"table": "plays", "column": "ms_played", "reason": "negative", "rows": 3},
            {"table": "tracks", "column": "name", "reason": "<script>", "rows": 1},
        ],
    }
    paths = explore(
        small["plays"], small["tracks"], small["users"], small["labels"],
        facts, tmp_path / "out", store, "Europe/Berlin", "completed",
    )  # fmt: skip
    names = {path.stem for path in paths if path.suffix == ".svg"}
    assert names == {
        f"explore_{name}"
        for name in (
            "balance", "repeats", "long_tail", "account_age", "hours", "sessions", "plays_per_user",
            "artists", "missing", "quarantine",
        )
    }  # fmt: skip
    text = (tmp_path / "out/EXPLORE.md").read_text(encoding="utf-8")
    assert "| completion rate | 22.2% | 9 labels, 1 unknown |" in text
    assert "busiest: Tue at 01:00 with 7 plays" in text
    assert "67% for 2015, 0% for 2020" in text
    assert "3 sessions, 3.3 plays each" in text
    assert "y has 60.0%" in text
    assert "4 rows refused; most often: plays.ms_played: negative" in text
    assert "| refused › plays · ms_played · negative | 3 |" in text
    page = (tmp_path / "out/explore.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http" not in page
    assert "ann" not in text


def test_without_clock_labels_and_metadata(small: dict[str, Path], tmp_path: Path, store: Store) -> None:
    plays = pl.read_parquet(small["plays"])
    moments = plays.schema["started_at"]
    plays.with_columns(
        pl.lit(None, dtype=moments).alias("started_at"), pl.lit(None, dtype=moments).alias("ended_at"),
        resolution=pl.lit("order"), seq=pl.int_range(pl.len()),
        repeated=pl.Series([True] * 5 + [False] * 5),
    ).write_parquet(small["plays"])  # fmt: skip
    pl.read_parquet(small["labels"]).with_columns(seq=pl.int_range(pl.len())).write_parquet(
        small["labels"]
    )
    explore(
        small["plays"], small["tracks"], small["users"], small["labels"],
        {}, tmp_path / "out", store, "UTC", "repeat",
    )  # fmt: skip
    text = (tmp_path / "out/EXPLORE.md").read_text(encoding="utf-8")
    assert "row order stands for time" in text
    assert "Target balance: repeat rate by row block" in text
    assert "hours: needs a clock" in text
    assert ask(small, store, "explore_repeats", fewest=1) == [(3, 1, 1 / 6), (19, 1, 1.0)]
    explore(small["plays"], small["tracks"], small["users"], None, {}, tmp_path / "out", store, "UTC")
    assert not (tmp_path / "out/figures/explore_balance.svg").exists()
    assert "balance: needs labels" in (tmp_path / "out/EXPLORE.md").read_text(encoding="utf-8")
