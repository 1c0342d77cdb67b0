"""The retrievers take turns, and each one's score and rank stay beside the pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.two_stage import Retrieval
from tasks.retrieval import RETRIEVERS, union
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores, ranked
from tasks.retrieval.union import united


@dataclass(frozen=True)
class Told:
    """A retriever that says what it is told: tracks per user, each scoring minus its own number."""

    tracks: dict[int, list[int]]
    silent: bool = False

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        rows = [(user, track) for user in users.tolist() for track in self.tracks.get(user, [])[:k]]
        user, track = np.array(rows, np.int32).reshape(-1, 2).T
        return ranked(user, track, -track)

    def score(self, user: Codes, track: Codes) -> Scores:
        return np.full(len(user), np.nan, np.float32) if self.silent else -track.astype(np.float32)


A = Told({1: [10, 11, 12, 13], 2: [20]})
B = Told({1: [11, 14, 10], 3: [30, 31]}, silent=True)


def codes(*values: int) -> Codes:
    return np.array(values, np.int32)


def test_retrievers_take_turns_and_scores_and_ranks_are_kept() -> None:
    found = united({"a": A, "b": B}, codes(3, 1, 2), 4, "include")
    expected = pl.DataFrame(
        {
            "user": [3, 3, 1, 1, 1, 1, 2],
            "track": [30, 31, 10, 11, 14, 12, 20],
            "a_score": [-30.0, -31.0, -10.0, -11.0, -14.0, -12.0, -20.0],
            "a_rank": [None, None, 1, 2, None, 3, 1],
            "b_score": [None] * 7,
            "b_rank": [1, 2, 3, 1, 2, None, None],
        },
        schema={"user": pl.Int32, "track": pl.Int32}
        | dict.fromkeys(("a_score", "a_rank", "b_score", "b_rank"), pl.Float32),
    )
    assert_frame_equal(found, expected)


def test_equal_ranks_go_by_the_order_of_the_retrievers() -> None:
    found = united({"b": B, "a": A}, codes(1), 3, "include")
    assert found["track"].to_list() == [11, 10, 14]
    assert found.columns == ["user", "track", "b_score", "b_rank", "a_score", "a_rank"]


@pytest.mark.parametrize("users", [codes(), codes(7), codes(7, 8)])
def test_nothing_found_is_an_empty_frame_of_the_same_columns(users: Codes) -> None:
    found = united({"a": A, "b": B}, users, 5, "exclude")
    assert found.is_empty()
    assert_frame_equal(found, united({"a": A, "b": B}, codes(1), 5, "include").clear())


def test_no_pair_twice_and_each_retrievers_best_is_kept_in_any_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    user, track = rng.integers(0, 50, 4_000), np.minimum(rng.exponential(40, 4_000), 199)
    people = pl.DataFrame({"user_id": range(55)})
    tracks = pl.DataFrame({"track_id": range(200)})
    given = Listening(
        user.astype(np.int32),
        track.astype(np.int32),
        np.arange(4_000) * 600_000,
        people,
        tracks,
        4_000 * 600_000,
        "time",
    )
    fitted = {
        name: RETRIEVERS[name].fit(given, Retrieval(neighbours=20), 1, 0)
        for name in ("popular", "again", "covisit", "item_knn")
    }
    users = rng.permutation(55).astype(np.int32)
    found = united(fitted, users, 12, "include")
    assert not found.select("user", "track").is_duplicated().any()
    assert found.group_by("user").len()["len"].max() == 12
    assert found["user"].unique(maintain_order=True).to_list() == users.tolist()
    ranks = found.select(pl.min_horizontal(pl.selectors.ends_with("_rank"))).to_series()
    best = found.select("user", rank=ranks)
    assert best.select((pl.col("rank").diff().over("user") >= 0).all()).item()
    for name, retriever in fitted.items():
        alone = retriever.retrieve(users, 3, "include")  # four retrievers, twelve places
        top = pl.DataFrame({"user": alone.user, "track": alone.track})
        assert top.join(found, on=["user", "track"]).height == top.height
        told = found.filter(pl.col(f"{name}_rank").is_not_null())
        assert told[f"{name}_score"].null_count() == 0
    monkeypatch.setattr(union, "ROWS", 500)
    assert_frame_equal(found, united(fitted, users, 12, "include"))
