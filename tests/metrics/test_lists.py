"""Accuracy of lists worked by hand, against a plain loop, and against ranx; recall of candidates."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics import lists as module
from tasks.metrics.lists import ACCURACY, accuracy, recall_of

IDS = {"user": pl.Int32, "track": pl.Int32, "rank": pl.Int32}
Pairs = list[tuple[int, int]]


def lists_of(*rows: tuple[int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), IDS, orient="row")


def pairs_of(*rows: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), {"user": pl.Int32, "track": pl.Int32}, orient="row")


def ranked(user: int, *tracks: int) -> list[tuple[int, int, int]]:
    return [(user, track, place + 1) for place, track in enumerate(tracks)]


def loop(lists: Pairs, relevant: Pairs, k: int) -> dict[int, dict[str, float]]:
    """The definitions, read aloud: ``lists`` has (user, track) in the order of each list."""
    found = {}
    for user in sorted({user for user, _ in relevant}):
        wanted = {track for owner, track in relevant if owner == user}
        shown = [track for owner, track in lists if owner == user][:k]
        ranks = [rank for rank, track in enumerate(shown, start=1) if track in wanted]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
        found[user] = {
            "ndcg": sum(1 / math.log2(rank + 1) for rank in ranks) / ideal,
            "map": sum(n / rank for n, rank in enumerate(ranks, start=1)) / min(k, len(wanted)),
            "mrr": 1 / ranks[0] if ranks else 0.0,
            "recall": len(ranks) / len(wanted),
            "precision": len(ranks) / k,
            "hit": float(bool(ranks)),
        }
    return found


def as_dict(frame: pl.DataFrame) -> dict[int, dict[str, float]]:
    return {row.pop("user"): row for row in frame.to_dicts()}


# --- accuracy ---------------------------------------------------------------------------------


def test_every_metric_by_hand() -> None:
    lists = lists_of(*ranked(7, 10, 11, 12, 13), *ranked(8, 20, 21), *ranked(9, 30))
    # 7: hits at 2 and 4 of three relevant; 8: a hit at 1 of one; 5: no list; 9 played nothing.
    relevant = pairs_of((7, 11), (7, 13), (7, 99), (8, 20), (5, 10))
    found = accuracy(lists, relevant, 4)
    assert found.columns == ["user", *ACCURACY]
    assert found.schema["user"] == pl.Int32
    assert set(found.drop("user").dtypes) == {pl.Float64}
    assert found["user"].to_list() == [5, 7, 8]
    seven = found.row(1, named=True)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert seven["ndcg"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert seven["map"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert (seven["mrr"], seven["precision"], seven["hit"]) == (0.5, 0.5, 1.0)
    assert seven["recall"] == pytest.approx(2 / 3)
    assert found.row(2)[1:] == (1.0, 1.0, 1.0, 1.0, 0.25, 1.0)  # two of four places stay empty
    assert found.row(0)[1:] == (0.0,) * 6


def test_ranks_beyond_k_do_not_count() -> None:
    lists = lists_of(*ranked(1, 10, 11, 12))
    assert accuracy(lists, pairs_of((1, 12)), 2).row(0)[1:] == (0.0,) * 6
    # with more relevant tracks than places, two hits in two places are perfect but for recall
    found = accuracy(lists, pairs_of((1, 10), (1, 11), (1, 98), (1, 99)), 2).row(0, named=True)
    assert (found["ndcg"], found["map"], found["precision"], found["recall"]) == (1.0, 1.0, 1.0, 0.5)


def test_a_missing_rank_is_an_empty_place() -> None:
    assert accuracy(lists_of((1, 10, 3)), pairs_of((1, 10)), 5)["mrr"].item() == pytest.approx(1 / 3)


def test_no_lists_score_nothing_and_no_relevant_tracks_give_no_rows() -> None:
    lists, relevant = lists_of(*ranked(1, 10)), pairs_of((1, 10))
    assert accuracy(lists.clear(), relevant, 3).row(0)[1:] == (0.0,) * 6
    empty = accuracy(lists, relevant.clear(), 3)
    assert empty.height == 0
    assert empty.columns == ["user", *ACCURACY]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Pairs, Pairs]:
    """Lists and relevant pairs of a few users, with ids at both ends of 32 bits among them."""
    users = draw(st.lists(st.sampled_from([0, 1, 2, 3, 2**31 - 2]), unique=True, max_size=4))
    tracks = st.lists(st.sampled_from([*range(12), 2**31 - 2]), unique=True, max_size=12)
    lists = [(user, track) for user in users for track in draw(tracks)]
    others = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 2**31 - 2]), unique=True, max_size=5))
    return lists, [(user, track) for user in others for track in draw(tracks)]


@given(worlds(), st.integers(1, 15), st.randoms(use_true_random=False))
def test_it_is_the_loop_in_any_order_of_rows(world: tuple[Pairs, Pairs], k: int, random: Any) -> None:
    lists, relevant = world
    rows = []
    for user, track in lists:
        rows.append((user, track, 1 + sum(owner == user for owner, _, _ in rows)))
    shuffled, pairs = random.sample(rows, len(rows)), random.sample(relevant, len(relevant))
    found = as_dict(accuracy(lists_of(*shuffled), pairs_of(*pairs), k))
    expected = loop(lists, relevant, k)
    assert found.keys() == expected.keys()
    for user, metrics in expected.items():
        assert found[user] == pytest.approx(metrics, abs=1e-12)
        assert all(0.0 <= value <= 1.0 + 1e-12 for value in found[user].values())


@given(st.lists(st.integers(0, 30), unique=True, min_size=1), st.integers(1, 40))
def test_a_perfect_list_has_one(tracks: list[int], k: int) -> None:
    found = accuracy(lists_of(*ranked(1, *tracks)), pairs_of(*((1, each) for each in tracks)), k)
    row = found.row(0, named=True)
    assert [row[metric] for metric in ("ndcg", "map", "mrr", "hit")] == pytest.approx([1.0] * 4)
    assert row["recall"] == pytest.approx(min(k, len(tracks)) / len(tracks))
    assert row["precision"] == pytest.approx(min(k, len(tracks)) / k)


def test_slices_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = lists_of(*(row for user in range(30) for row in ranked(user, *range(user % 5, 12, 2))))
    relevant = pairs_of(*((user, track) for user in range(30) for track in (user % 3, 4, 7)))
    whole = accuracy(table, relevant, 6)
    monkeypatch.setattr(module, "_SLICE", 7)
    assert accuracy(table, relevant, 6).equals(whole)
    assert whole["ndcg"].n_unique() > 3


@pytest.mark.parametrize(
    ("lists", "relevant", "k", "message"),
    [
        ([(1, 10, 1)], [(1, 10)], 0, "k must be at least 1"),
        ([(1, 10, 1)], [(1, 10)], -3, "k must be at least 1"),
        ([(1, 10, 1), (1, 10, 2)], [(1, 10)], 5, "tracks of a user's list must be distinct: 1"),
        ([(1, 10, 2), (2, 10, 2), (1, 11, 2)], [(1, 10)], 5, "ranks of a user must be distinct: 1"),
        ([(1, 10, 0)], [(1, 10)], 5, "rank must lie in 1 to"),
        ([(1, -1, 1)], [(1, 10)], 5, "track must lie in 0 to"),
        ([(1, 10, None)], [(1, 10)], 5, "1 rows have no rank"),
        ([(1, None, 1)], [(1, 10)], 5, "1 rows have no track"),
        ([(None, 10, 1)], [(1, 10)], 5, "1 rows have no user"),
        ([(1, 10, 1)], [(1, 10), (2, 3), (1, 10)], 5, "relevant pairs must be distinct: 1"),
        ([(1, 10, 1)], [(1, None)], 5, "1 rows have no track"),
    ],
)
def test_what_are_no_lists_is_refused(
    lists: list[Any], relevant: list[Any], k: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy(lists_of(*lists), pairs_of(*relevant), k)


RANX = """
import json, sys
import ranx

asked = json.load(open(sys.argv[1]))
found = ranx.evaluate(
    ranx.Qrels(asked["played"]), ranx.Run(asked["shown"]), asked["metrics"], return_mean=False
)
json.dump({name: list(map(float, values)) for name, values in found.items()}, open(sys.argv[1], "w"))
"""


def test_ranx_finds_the_same(tmp_path: Path) -> None:
    """ranx divides average precision by all relevant tracks, not by those that k places can hold."""
    random = np.random.default_rng(4)
    users, tracks, length, ks = 300, 400, 30, (1, 5, 20, 100)
    shown = [random.permutation(tracks)[:length].tolist() for _ in range(users)]
    played = [random.permutation(60 + user)[: random.integers(1, 40)].tolist() for user in range(users)]
    lists = lists_of(*(row for user in range(users) for row in ranked(user, *shown[user])))
    relevant = pairs_of(*((user, track) for user in range(users) for track in played[user]))

    names = dict(zip(ACCURACY, ("ndcg", "map", "mrr", "recall", "precision", "hit_rate"), strict=True))
    asked = {
        "played": {f"{user:03}": {str(track): 1 for track in each} for user, each in enumerate(played)},
        "shown": {
            f"{user:03}": {str(track): float(length - place) for place, track in enumerate(each)}
            for user, each in enumerate(shown)
        },
        "metrics": [f"{name}@{k}" for name in names.values() for k in ks],
    }
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(asked), encoding="utf-8")
    # compiling ranx takes a minute, running it as plain Python a moment; it writes into the home
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", RANX, str(path)], env=environment, check=True)
    theirs = json.loads(path.read_text(encoding="utf-8"))

    sizes = np.array([len(each) for each in played])
    for k in ks:
        ours = accuracy(lists, relevant, k)
        assert ours["ndcg"].mean() > 0.01  # there is something to agree about
        for metric, name in names.items():
            expected = np.array(theirs[f"{name}@{k}"])
            if metric == "map":
                expected = expected * sizes / np.minimum(sizes, k)
            np.testing.assert_allclose(
                ours[metric], expected, rtol=0, atol=1e-9, err_msg=f"{metric}@{k}"
            )


# --- recall of candidates ---------------------------------------------------------------------

# user 1: a finds 10 at 1 and 11 at 3, b finds 12 at 1; user 2: a finds 20 at 2; user 3: none
CANDIDATES = pl.DataFrame(
    [
        (1, 10, 1, None),
        (1, 11, 3, 2),
        (1, 12, None, 1),
        (1, 13, 2, None),
        (2, 20, 2, None),
        (9, 1, 1, 1),
    ],
    {"user": pl.Int32, "track": pl.Int32, "a_rank": pl.Int32, "b_rank": pl.Int32},
    orient="row",
)
PLAYED = pl.DataFrame(
    [(1, 10, True), (1, 12, False), (2, 20, True), (2, 21, False), (3, 30, False)],
    {"user": pl.Int32, "track": pl.Int32, "heard": pl.Boolean},
    orient="row",
)
RANKS = {"a": "a_rank", "b": "b_rank"}


def test_recall_by_retriever_part_and_depth_by_hand() -> None:
    found = recall_of(CANDIDATES, PLAYED, [1, 3], RANKS)
    assert found["retriever"].unique(maintain_order=True).to_list() == ["a", "b", "union"]
    by = {row[:3]: row[3:] for row in found.rows()}
    assert len(by) == found.height == 3 * 3 * 2
    # recall, users, tracks, candidates
    assert by["a", "all", 1] == pytest.approx(((1 / 2 + 0 + 0) / 3, 3, 5, 1 / 3))
    assert by["a", "all", 3] == pytest.approx(((1 / 2 + 1 / 2 + 0) / 3, 3, 5, 4 / 3))
    assert by["b", "all", 3] == pytest.approx(((1 / 2 + 0 + 0) / 3, 3, 5, 2 / 3))
    assert by["union", "all", 1] == pytest.approx(((1 + 0 + 0) / 3, 3, 5, 2 / 3))
    assert by["union", "all", 3] == pytest.approx(((1 + 1 / 2 + 0) / 3, 3, 5, 5 / 3))
    assert by["a", "repeats", 1] == pytest.approx((1 / 2, 2, 2, 1 / 2))
    assert by["a", "discoveries", 3] == pytest.approx((0, 3, 3, 4 / 3))
    assert by["b", "discoveries", 1] == pytest.approx((1 / 3, 3, 3, 1 / 3))


def test_one_retriever_has_no_union_and_parts_need_heard() -> None:
    found = recall_of(CANDIDATES, PLAYED.drop("heard"), [3], {"a": "a_rank"})
    assert found.rows() == [("a", "all", 3, pytest.approx(1 / 3), 3, 5, pytest.approx(4 / 3))]


def test_a_part_that_nobody_played_has_no_recall() -> None:
    found = recall_of(CANDIDATES, PLAYED.filter("heard"), [3], {"a": "a_rank"})
    assert found.filter(part="discoveries").row(0)[3:] == (None, 0, 0, None)
    empty = recall_of(CANDIDATES.clear(), PLAYED, [3], RANKS)
    assert empty.filter(part="all")["recall"].to_list() == [0.0] * 3


def test_recall_is_the_mean_of_the_users_recall() -> None:
    random = np.random.default_rng(2)
    size = 4000
    candidates = (
        pl.DataFrame({"user": random.integers(0, 50, size), "track": random.integers(0, 300, size)})
        .cast(pl.Int32)
        .unique(maintain_order=True)
    )
    candidates = candidates.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("user"))
    relevant = candidates.sample(500, seed=1).select(
        "user", track=pl.col("track") + pl.Series(random.integers(0, 2, 500), dtype=pl.Int32)
    )
    relevant = relevant.unique()
    found = recall_of(
        candidates.sample(fraction=1, shuffle=True, seed=5), relevant, [5, 40], {"x": "rank"}
    )
    expected = [accuracy(candidates, relevant, k)["recall"].mean() for k in (5, 40)]
    assert found["recall"].to_list() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("candidates", "relevant", "ks", "ranks", "message"),
    [
        (CANDIDATES, PLAYED, [0, 5], RANKS, "depths must be"),
        (CANDIDATES, PLAYED, [], RANKS, "depths must be"),
        (CANDIDATES, PLAYED, [5], {"union": "a_rank"}, "called union"),
        (
            pl.concat([CANDIDATES, CANDIDATES.head(2)]),
            PLAYED,
            [5],
            RANKS,
            "candidates must be distinct: 2",
        ),
        (CANDIDATES, pl.concat([PLAYED, PLAYED.head(1)]), [5], RANKS, "relevant pairs must be distinct"),
        (CANDIDATES, PLAYED.with_columns(heard=None), [5], RANKS, "neither heard before nor not"),
    ],
)
def test_recall_refuses(
    candidates: pl.DataFrame,
    relevant: pl.DataFrame,
    ks: list[int],
    ranks: dict[str, str],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        recall_of(candidates, relevant, ks, ranks)
