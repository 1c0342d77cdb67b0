"""Exact top-k against a plain sort of all scores, where tiles, threads and ties could go wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.retrieval import topk
from tasks.retrieval.protocol import Heard

MODES: tuple[Heard, ...] = ("include", "exclude", "only")


def plain(
    scores: NDArray[np.float32], heard: NDArray[np.bool_], k: int, mode: Heard
) -> list[tuple[int, int, float, int]]:
    """(user, track, score, rank) of every user, by sorting all tracks; NaN scores are no tracks."""
    rows = []
    for user in range(len(scores)):
        allowed = {"include": ~np.isnan(scores[user]), "exclude": ~heard[user], "only": heard[user]}[
            mode
        ]
        tracks = np.flatnonzero(allowed & ~np.isnan(scores[user]))
        best = sorted(tracks, key=lambda track: (-scores[user, track], track))[:k]
        rows += [
            (user, int(track), float(scores[user, track]), place + 1) for place, track in enumerate(best)
        ]
    return rows


def found(candidates: topk.Candidates) -> list[tuple[int, int, float, int]]:
    columns = (candidates.user, candidates.track, candidates.score, candidates.rank)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def products(
    user_factors: NDArray[np.float32], item_factors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """All scores, by definition: the exact product, rounded once; nothing is known of zero rows."""
    scores = (user_factors.astype(np.float64) @ item_factors.astype(np.float64).T).astype(np.float32)
    scores[~user_factors.any(1)] = np.nan
    scores[:, ~item_factors.any(1)] = np.nan
    return scores


def listened(heard: NDArray[np.bool_]) -> topk.Pairs:
    user, track = np.nonzero(heard)
    return topk.pairs(user.astype(np.int32), track.astype(np.int32), *heard.shape)


def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "TILE", 40)
    monkeypatch.setattr(topk, "ROWS", 3)
    monkeypatch.setattr(topk, "PART", 7)


@pytest.mark.parametrize("mode", MODES)
@given(
    seed=st.integers(0, 10_000),
    users=st.integers(1, 20),
    items=st.integers(1, 200),
    factors=st.integers(1, 6),
    k=st.integers(1, 250),
    levels=st.integers(1, 3),
    threads=st.integers(1, 3),
)
@settings(max_examples=60)
def test_top_is_a_plain_sort(
    mode: Heard, seed: int, users: int, items: int, factors: int, k: int, levels: int, threads: int
) -> None:
    """Whole numbers as factors: exact in any order of summing, full of ties and of zero rows."""
    random = np.random.default_rng(seed)
    user_factors = random.integers(-levels, levels + 1, (users, factors)).astype(np.float32)
    item_factors = random.integers(-levels, levels + 1, (items, factors)).astype(np.float32)
    heard = random.random((users, items)) < random.random()
    with pytest.MonkeyPatch.context() as patched:
        small_tiles(patched)
        given_items = topk.catalogue(item_factors)
        order = random.permutation(users).astype(np.int32)
        answer = topk.top(user_factors, given_items, order, k, listened(heard), mode, threads)
    rows = plain(products(user_factors, item_factors), heard, k, mode)
    assert found(answer) == [row for user in order for row in rows if row[0] == user]


@pytest.mark.parametrize("mode", MODES)
def test_top_of_real_numbers_over_many_tiles(mode: Heard) -> None:
    """Norms from 1e-4 to 1e4, so that most users stop early, and near ties that float32 cannot tell."""
    random = np.random.default_rng(5)
    item_factors = random.normal(size=(6_000, 16)) * np.exp(random.normal(0, 2.5, (6_000, 1)))
    item_factors[3_000:] = item_factors[:3_000] * (1 + random.normal(0, 3e-8, (3_000, 1)))
    item_factors = item_factors.astype(np.float32)
    user_factors = random.normal(size=(150, 16)).astype(np.float32)
    heard = random.random((150, 6_000)) < 0.02
    users = np.arange(150, dtype=np.int32)
    answer = topk.top(user_factors, topk.catalogue(item_factors), users, 50, listened(heard), mode, 2)
    expected = plain(products(user_factors, item_factors), heard, 50, mode)
    # numpy sums in another order: where it rounds to another neighbour, ranks may swap
    scores = np.array([row[2] for row in expected], np.float32)
    assert [(row[0], row[3]) for row in found(answer)] == [(row[0], row[3]) for row in expected]
    np.testing.assert_array_max_ulp(answer.score, scores, maxulp=1)
    same = np.mean(answer.track == [row[1] for row in expected])
    assert same > 0.99
    again = topk.score(user_factors, item_factors, answer.user, answer.track)
    np.testing.assert_array_equal(answer.score, again)


def test_users_may_come_in_any_batches() -> None:
    """A float32 product depends on the rows beside it; the answer does not."""
    random = np.random.default_rng(6)
    item_factors = random.normal(size=(5_000, 33)).astype(np.float32)
    item_factors[2_500:] = item_factors[:2_500][::-1]  # every score twice
    user_factors = random.normal(size=(70, 33)).astype(np.float32)
    items = topk.catalogue(item_factors)
    heard = listened(np.zeros((70, 5_000), bool))
    users = np.arange(70, dtype=np.int32)
    whole = found(topk.top(user_factors, items, users, 20, heard, "include", 2))
    parts = []
    for size in (1, 2, 3, 64):
        some, users = users[:size], users[size:]
        parts += found(topk.top(user_factors, items, some, 20, heard, "include", 1))
    assert whole == parts
    for first, second in zip(whole[::2], whole[1::2], strict=True):
        assert first[2] == second[2]
        assert first[1] < second[1]


def test_a_user_stops_where_no_later_item_can_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items 4, 3, 2, 1 long and a tile for each: one who has a 4 needs no other; one of -1 needs all."""
    monkeypatch.setattr(topk, "TILE", 1)
    asked: list[int] = []
    scan = topk.kernels.scan

    def counted(scores: NDArray[np.float32], *rest: object) -> None:
        asked.append(len(scores))
        scan(scores, *rest)

    monkeypatch.setattr(topk.kernels, "scan", counted)
    items = topk.catalogue(np.array([[1], [4], [2], [3]], np.float32))
    user_factors = np.array([[1], [-1]], np.float32)
    heard = listened(np.zeros((2, 4), bool))
    users = np.arange(2, dtype=np.int32)
    answer = topk.top(user_factors, items, users, 1, heard, "include", 1)
    assert found(answer) == [(0, 1, 4.0, 1), (1, 0, -1.0, 1)]
    assert asked == [2, 1, 1, 1]


def test_nothing_is_known_of_zero_rows() -> None:
    items = topk.catalogue(np.array([[0, 0], [1, 0]], np.float32))
    user_factors = np.array([[0, 0], [-1, 0]], np.float32)
    users = np.array([0, 1], np.int32)
    answer = topk.top(user_factors, items, users, 5, listened(np.zeros((2, 2), bool)), "include", 1)
    assert found(answer) == [(1, 1, -1.0, 1)]
    pair_user, pair_track = np.array([0, 1, 1], np.int32), np.array([1, 0, 1], np.int32)
    scores = topk.score(user_factors, np.array([[0, 0], [1, 0]], np.float32), pair_user, pair_track)
    np.testing.assert_array_equal(scores, [np.nan, np.nan, -1.0])


@pytest.mark.parametrize("mode", MODES)
@given(
    seed=st.integers(0, 10_000),
    users=st.integers(1, 12),
    items=st.integers(1, 120),
    k=st.integers(1, 130),
)
@settings(max_examples=40)
def test_top_sums_is_a_plain_sort(mode: Heard, seed: int, users: int, items: int, k: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.integers(-2, 3, (items, items)).astype(np.float32)
    heard = random.random((users, items)) < random.random() / 2
    rows = listened(heard)
    scores = heard.astype(np.float32) @ weights
    scores[~heard.any(1)] = np.nan
    order = random.permutation(users).astype(np.int32)
    answer = topk.top_sums(weights, order, k, rows, mode, 2)
    expected = plain(scores, heard, k, mode)
    assert found(answer) == [row for user in order for row in expected if row[0] == user]
    np.testing.assert_array_equal(topk.sums(weights, answer.user, answer.track, rows), answer.score)


def test_sums_are_the_same_numbers_alone() -> None:
    random = np.random.default_rng(7)
    weights = random.normal(size=(500, 500)).astype(np.float32)
    binary = listened(random.random((20, 500)) < 0.1)
    rows = replace(binary, count=random.random(len(binary.track)).astype(np.float32))
    users = np.arange(20, dtype=np.int32)
    answer = topk.top_sums(weights, users, 30, rows, "exclude", 2)
    np.testing.assert_array_equal(topk.sums(weights, answer.user, answer.track, rows), answer.score)


def test_pairs_are_the_distinct_tracks_of_each_user() -> None:
    user = np.array([2, 0, 2, 2, 0], np.int32)
    track = np.array([5, 1, 0, 5, 3], np.int32)
    pairs = topk.pairs(user, track, users=4, tracks=6)
    assert pairs.start.tolist() == [0, 2, 2, 4, 4]
    assert pairs.track.tolist() == [1, 3, 0, 5]
    assert pairs.count.tolist() == [1, 1, 1, 2]


def test_no_users_and_no_items() -> None:
    none = np.empty(0, np.int32)
    heard = topk.pairs(none, none, users=1, tracks=0)
    items = topk.catalogue(np.empty((0, 3), np.float32))
    factors = np.ones((1, 3), np.float32)
    for users in (none, np.zeros(1, np.int32)):
        assert found(topk.top(factors, items, users, 5, heard, "exclude", 2)) == []
