"""The small tables behind pictures of lists, on a window small enough to work out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.two_stage import details, lists
from tasks.two_stage.details import Judged

# user, track, heard, target, score of the only retriever, what the ranker thinks
ROWS = [
    (0, 0, True, True, 3.0, 2.0),
    (0, 1, False, False, 2.0, 1.5),
    (0, 2, False, True, 1.0, -1.0),
    (1, 0, False, False, 2.0, 3.0),
    (1, 3, True, True, 1.0, 0.5),
    (2, 0, False, False, 1.0, 4.0),
]
RELEVANT = [(0, 0), (0, 2), (1, 3), (1, 4)]  # user 2 played nothing at all


@dataclass(frozen=True)
class Line:
    """A ranker whose order is one number, and whose contributions are told by hand."""

    def order(self, frame: pl.DataFrame) -> Any:
        return frame["thought"].to_numpy()

    def probability(self, order: Any) -> Any:
        return 1 / (1 + np.exp(-order))

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(
            thought=pl.col("thought") * 2, merit=-pl.col("merit"), kind=pl.lit(0.5), rest=pl.lit(1.0)
        )


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    whole = pl.DataFrame(
        ROWS,
        {"user": pl.Int32, "track": pl.Int32, "heard": pl.Boolean, "target": pl.Boolean,
         "popular_score": pl.Float32, "thought": pl.Float64},
        orient="row",
    )  # fmt: skip
    rank = pl.col("popular_score").rank("ordinal", descending=True).over("user")
    whole = whole.with_columns(popular_rank=rank)
    whole.write_parquet(tmp_path / "candidates.parquet")
    pl.DataFrame({"user_id": ["anna", "ben", "cleo"], "kind": ["a", "b", "a"]}).write_parquet(
        tmp_path / "users.parquet"
    )
    tracks = {"track_id": [f"t{code}" for code in range(5)], "merit": [1.0, 2.0, 3.0, 4.0, 5.0]}
    pl.DataFrame(tracks).write_parquet(tmp_path / "tracks.parquet")
    found = whole.drop("thought")
    relevant = pl.DataFrame(RELEVANT, {"user": pl.Int32, "track": pl.Int32}, orient="row")
    pairs = found.select("user", "track", "heard")
    scores = {"lightgbm": whole["thought"]}
    tops = {
        "popular": lists.top(pairs.with_columns(score=found["popular_score"]), 2),
        "lightgbm": lists.top(pairs.with_columns(score=whole["thought"]), 2),
    }
    return Judged(7, tmp_path, found, relevant, {"lightgbm": Line()}, scores, tops)  # type: ignore[dict-item]


def test_decisions_by_hand(judged: Judged) -> None:
    """Five of six are more likely than not; five stand on a list of two, two of them rightly."""
    made = details.binary(judged, seed=1)["decisions"]
    cells = {
        by: dict(zip(own.select("target", "called").rows(), own["rows"], strict=True))
        for (by,), own in made.partition_by("by", as_dict=True).items()
    }
    assert cells["probability"] == {
        (True, True): 2, (True, False): 1, (False, True): 3, (False, False): 0,
    }  # fmt: skip
    assert cells["list"] == {(True, True): 2, (True, False): 1, (False, True): 3, (False, False): 0}


def test_curves_are_those_of_the_probabilities(judged: Judged) -> None:
    made = details.binary(judged, seed=1)
    roc = made["roc"].filter(system="lightgbm")
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    # of nine pairs of one played and one not, 2.0 beats 1.5: the rest is the wrong way round
    assert area == pytest.approx(1 / 9)
    assert made["precision_recall"]["recall"].max() == 1
    assert made["calibration"]["rows"].sum() == len(ROWS)


def test_large_tables_are_drawn_from_by_user(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole users, the same by the same seed; all where they are few."""
    user = pl.Series("user", np.repeat(np.arange(1000, dtype=np.int32), 5))
    monkeypatch.setattr(details, "CURVE_ROWS", 2_000)
    drawn = details._drawn(user, 3)
    assert len(drawn) == pytest.approx(2_000, rel=0.15)
    assert (np.unique(user.to_numpy()[drawn], return_counts=True)[1] == 5).all()
    assert (drawn == details._drawn(user, 3)).all()
    assert len(details._drawn(user.head(1_999), 3)) == 1_999


def test_importance_by_hand(judged: Judged) -> None:
    """More thought moves up, more merit down; what is the same for all has no direction."""
    made = details.importance(judged, seed=1)
    told = {row["feature"]: row for row in made.iter_rows(named=True)}
    assert told["thought"]["contribution"] == pytest.approx(2 * (2 + 1.5 + 1 + 3 + 0.5 + 4) / 6)
    assert told["merit"]["contribution"] == pytest.approx((1 + 2 + 3 + 1 + 4 + 1) / 6)
    assert told["thought"]["direction"] == pytest.approx(1)
    assert told["merit"]["direction"] == pytest.approx(-1)
    assert told["kind"]["direction"] is None
    assert made["feature"].to_list() == ["thought", "merit", "kind"]
    assert made["gain"].null_count() == 3


def test_the_long_tail_by_hand(judged: Judged) -> None:
    """t1 was played most before, then t0 and t3; t2 and t4 never, which puts them last."""
    popularity = pl.DataFrame({"track_id": ["t1", "t0", "t3"], "plays": [6, 3, 1]})
    made = details.tail(judged, popularity)
    shares = {
        of: dict(zip(own["tracks"], own["share"], strict=True))
        for (of,), own in made.partition_by("of", as_dict=True).items()
    }
    assert shares["plays"] == pytest.approx({1: 0.6, 2: 0.9, 3: 1.0, 4: 1.0, 5: 1.0})
    # on the ranker's lists: t1 once, t0 three times, t3 once
    assert shares["lightgbm"] == pytest.approx({1: 0.2, 2: 0.8, 3: 1.0, 4: 1.0, 5: 1.0})
    assert shares["window"][2] == pytest.approx(1 / 4)  # of t0, t2, t3 and t4, each played by one
    assert made["catalogue"].max() == 1


def test_lists_tell_what_came_true(judged: Judged) -> None:
    made = details.lists(judged, "lightgbm", "popular")
    own = made.filter(system="lightgbm")
    assert own.select("user", "rank", "track_id", "played", "relevant").rows() == [
        ("anna", 1, "t0", True, 2), ("anna", 2, "t1", False, 2),
        ("ben", 1, "t0", False, 2), ("ben", 2, "t3", True, 2),
    ]  # fmt: skip
    assert own["probability"][0] == pytest.approx(1 / (1 + math.exp(-2)))
    assert made.filter(system="popular", user="ben")["probability"][1] == pytest.approx(
        1 / (1 + math.exp(-0.5))
    )
    assert own["popular_rank"].to_list() == [1, 2, 1, 2]


def test_mistakes_are_of_those_who_played_something(judged: Judged) -> None:
    """Cleo's would be the surest; but she was away."""
    named = pl.DataFrame({"track_id": ["t0"], "name": ["Song"], "artist": ["Band"]})
    made = details.mistakes(judged, "lightgbm", named)
    assert made.select("user", "track_id", "name", "rank", "heard").rows() == [
        ("ben", "t0", "Song", 1, False), ("anna", "t1", None, 2, False),
    ]  # fmt: skip
