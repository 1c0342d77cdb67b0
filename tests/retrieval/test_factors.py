"""The retrievers with weights or factors: the closed form by hand, what a confidence is, same seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from schemas.two_stage import Als, Retrieval
from tasks.retrieval import als, linear, topk
from tasks.retrieval.protocol import Kind, Listening


def listening(plays: list[tuple[int, int]], users: int, tracks: int) -> Listening:
    user, track = np.array(plays, np.int32).reshape(-1, 2).T
    return Listening(
        user,
        track,
        np.arange(len(plays), dtype=np.int64),
        pl.DataFrame({"user_id": [str(code) for code in range(users)]}),
        pl.DataFrame({"track_id": [str(code) for code in range(tracks)]}),
        len(plays),
        "order",
    )


def matrix(plays: list[tuple[int, int]], users: int, tracks: int) -> NDArray[np.float64]:
    counts = np.zeros((users, tracks))
    np.add.at(counts, tuple(np.array(plays).T), 1)
    return counts


def random_plays(seed: int, users: int, tracks: int, plays: int) -> list[tuple[int, int]]:
    random = np.random.default_rng(seed)
    user = random.integers(0, users, plays)
    track = (tracks * random.random(plays) ** 2).astype(int)
    return list(zip(user.tolist(), track.tolist(), strict=True))


def test_linear_by_hand() -> None:
    """Two users heard {0, 1} and {0}. XᵀX + I = [[3, 1], [1, 2]]; its inverse is [[2, -1], [-1, 3]] / 5.

    So weights[0, 1] = (1/5) / (3/5) and weights[1, 0] = (1/5) / (2/5).
    """
    fitted = linear.fit(listening([(0, 0), (0, 1), (1, 0)], 2, 2), Retrieval(linear_l2=1.0), 1, 0)
    assert isinstance(fitted, linear.Fitted)
    np.testing.assert_allclose(fitted.weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)
    scores = fitted.score(np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 1], np.int32))
    np.testing.assert_allclose(scores, [1 / 2, 1 / 3, 0, 1 / 3], rtol=1e-6)


def test_linear_counts_older_plays_less() -> None:
    """As above, asked two and one half-lives after the newest plays of user 0's tracks 0 and 1."""
    days = np.array([0, 20, 20, 30]) * 86_400_000
    timed = replace(
        listening([(0, 1), (0, 0), (1, 0), (0, 1)], 2, 2), tick=days, at=40 * 86_400_000, clock="time"
    )
    fitted = linear.fit(timed, Retrieval(linear_l2=1.0, linear_half_life_days=10), 1, 0)
    assert isinstance(fitted, linear.Fitted)
    np.testing.assert_allclose(fitted.weights, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)
    scores = fitted.score(np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32))
    np.testing.assert_allclose(scores, [1 / 2 / 2, 1 / 3 / 4, 1 / 3 / 4], rtol=1e-6)
    best = fitted.retrieve(np.array([1, 0], np.int32), 5, "only")
    assert list(zip(best.user.tolist(), best.track.tolist(), strict=True)) == [(1, 0), (0, 0), (0, 1)]
    np.testing.assert_array_equal(best.score, fitted.score(best.user, best.track))


def test_linear_minimises_what_it_says() -> None:
    """Against float64 least squares with L2 of each track on all others, over several blocks."""
    plays = random_plays(1, 1_300, 1_200, 9_000)
    binary = (matrix(plays, 1_300, 1_200) > 0).astype(np.float64)
    fitted = linear.fit(listening(plays, 1_300, 1_200), Retrieval(linear_l2=20.0), 2, 0)
    assert isinstance(fitted, linear.Fitted)
    assert fitted.catalogue.tolist() == np.flatnonzero(binary.any(0)).tolist()
    heard = binary[:, fitted.catalogue]
    for column in (0, 3, 511, 512, 700):
        others = np.arange(heard.shape[1]) != column
        left = heard[:, others]
        gram = left.T @ left + 20.0 * np.eye(left.shape[1])
        expected = np.linalg.solve(gram, left.T @ heard[:, column])
        np.testing.assert_allclose(fitted.weights[others, column], expected, atol=2e-6)
        assert fitted.weights[column, column] == 0


def test_linear_dual_by_hand() -> None:
    """One user heard {0, 1} of three tracks. XᵀX + I of the two is [[2, 1], [1, 2]]: weights 1 / 2."""
    fitted = linear.fit(listening([(0, 0), (0, 2)], 1, 3), Retrieval(linear_l2=1.0), 1, 0)
    assert isinstance(fitted, linear.Dual)
    scores = fitted.score(np.array([0, 0, 0], np.int32), np.array([0, 1, 2], np.int32))
    np.testing.assert_allclose(scores, [1 / 2, np.nan, 1 / 2], rtol=1e-6)


@pytest.mark.parametrize("l2", [1.0, 200.0])
@pytest.mark.parametrize("clock", ["time", "order"])
def test_linear_dual_scores_as_the_primal(l2: float, clock: str) -> None:
    """Listeners without plays make the users more than the tracks, which changes nothing else."""
    day = 86_400_000
    plays = random_plays(1, 400, 1_200, 9_000)
    tick = np.sort(np.random.default_rng(2).integers(0, 800 * day, len(plays)))
    few, many = (
        replace(listening(plays, users, 1_200), tick=tick, at=800 * day, clock=clock)
        for users in (420, 1_300)
    )
    dual, primal = (linear.fit(known, Retrieval(linear_l2=l2), 2, 0) for known in (few, many))
    assert isinstance(dual, linear.Dual)
    assert isinstance(primal, linear.Fitted)
    users, tracks = (each.ravel().astype(np.int32) for each in np.mgrid[:420, :1_200])
    expected = primal.score(users, tracks)
    assert np.nanmax(np.abs(expected)) > 0.1
    np.testing.assert_allclose(dual.score(users, tracks), expected, atol=1e-5)
    asked = np.arange(420, dtype=np.int32)
    for heard in ("include", "exclude", "only"):
        found, other = (each.retrieve(asked, 20, heard) for each in (dual, primal))
        np.testing.assert_array_equal(found.user, other.user)
        np.testing.assert_allclose(found.score, other.score, atol=1e-5)
        np.testing.assert_array_equal(found.score, dual.score(found.user, found.track))


def test_linear_takes_the_smaller_square_that_may_be_made() -> None:
    plays = random_plays(6, 30, 90, 900)
    kinds = {
        (users, most): type(linear.fit(listening(plays, users, 90), Retrieval(linear_tracks=most), 1, 0))
        for users in (30, 200)
        for most in (29, 30, 100)
    }
    assert {given for given, kind in kinds.items() if kind is linear.Dual} == {(30, 30), (30, 100)}


def test_linear_knows_the_tracks_with_most_users() -> None:
    """Track 3 has most plays, all of one user; of 1 and 2, with two users each, the smaller fits."""
    plays = [(3, 3)] * 9 + [(0, 0), (1, 0), (2, 0), (1, 2), (2, 2), (0, 1), (1, 1)]
    fitted = linear.fit(listening(plays, 4, 5), Retrieval(linear_tracks=2), 1, 0)
    assert fitted.catalogue.tolist() == [0, 1]
    scores = fitted.score(np.array([2, 2, 2, 3], np.int32), np.array([1, 2, 4, 1], np.int32))
    assert np.isnan(scores).tolist() == [False, True, True, True]  # user 3 heard nothing it knows


def test_als_confidence_is_one_and_alpha_for_each_play() -> None:
    """At its optimum each user's factors solve Hu et al.'s equation with c = 1 + alpha · plays."""
    plays = random_plays(2, 30, 25, 500)
    counts = matrix(plays, 30, 25)
    settings = Retrieval(als=Als(factors=4, regularization=0.5, alpha=3.0, iterations=80))
    fitted = als.fit(listening(plays, 30, 25), settings, 2, 3)
    items = fitted.track_factors.astype(np.float64)
    for user in range(30):
        confidence = 1 + 3.0 * counts[user]
        left = (items * confidence[:, None]).T @ items + 0.5 * np.eye(4)
        expected = np.linalg.solve(left, items.T @ (confidence * (counts[user] > 0)))
        np.testing.assert_allclose(fitted.user_factors[user], expected, atol=2e-3)


def test_als_is_the_same_for_the_same_seed_whatever_the_threads() -> None:
    known = listening(random_plays(4, 300, 200, 6_000), 300, 200)
    settings = Retrieval(als=Als(factors=16, iterations=5))
    one, two, three = (als.fit(known, settings, threads, 11) for threads in (1, 2, 3))
    np.testing.assert_array_equal(one.user_factors, two.user_factors)
    np.testing.assert_array_equal(one.track_factors, three.track_factors)
    other = als.fit(known, settings, 2, 12)
    assert not np.array_equal(one.track_factors, other.track_factors)


@pytest.mark.parametrize("kind", [als, linear])
def test_without_any_plays_there_are_no_candidates(kind: Kind) -> None:
    fitted = kind.fit(listening([], 3, 4), Retrieval(), 2, 0)
    users = np.arange(3, dtype=np.int32)
    assert len(fitted.retrieve(users, 5, "exclude").user) == 0
    assert np.isnan(fitted.score(users, users)).all()


def test_als_factors_of_those_without_plays_are_zero() -> None:
    fitted = als.fit(listening(random_plays(5, 10, 10, 60), 12, 14), Retrieval(als=Als(factors=4)), 1, 0)
    assert fitted.user_factors.shape == (12, 4)
    assert fitted.track_factors.shape == (14, 4)
    assert not fitted.user_factors[10:].any()
    assert not fitted.track_factors[10:].any()
    assert fitted.user_factors.dtype == fitted.track_factors.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2, 1, 1]),
        ({"weighting": "log"}, [np.log(3), np.log(2), np.log(2)]),
        ({"half_life_days": 10}, [2 / 4, 1 / 2, 1]),
        ({"weighting": "log", "half_life_days": 20}, [np.log(3) / 2, np.log(2) / 2**0.5, np.log(2)]),
        # ln(1 + (n - n_t + ½) / (n_t + ½)), twice of three plays in one list and 1 of 1 in the other
        (
            {"weighting": "bm25"},
            [
                np.log(1 + 0.5 / 2.5) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2)),
                np.log(1 + 1.5 / 1.5) * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / 2)),
                np.log(1 + 0.5 / 2.5) * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 1 / 2)),
            ],
        ),
    ],
)
def test_als_weighs_plays_and_their_age(changes: dict[str, Any], expected: list[float]) -> None:
    """User 0 played track 0 forty and twenty days ago and track 1 ten; user 1 track 0 just now."""
    days = np.array([0, 20, 30, 40]) * 86_400_000
    given = replace(
        listening([(0, 0), (0, 0), (0, 1), (1, 0)], 2, 2), tick=days, at=40 * 86_400_000, clock="time"
    )
    heard = topk.pairs(given.user, given.track, 2, 2)
    weights = als._weights(given, heard, Als(**changes))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32
    if "half_life_days" in changes:  # which has no meaning without a clock
        plain = {name: value for name, value in changes.items() if name != "half_life_days"}
        ordered = replace(given, clock="order")
        np.testing.assert_array_equal(
            als._weights(ordered, heard, Als(**changes)), als._weights(given, heard, Als(**plain))
        )
