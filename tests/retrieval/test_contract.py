"""One contract for every retriever: a world whose answer is known, and nothing else matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from schemas.tables import AUDIO
from schemas.two_stage import Als, Retrieval
from tasks.retrieval import RETRIEVERS
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Retriever

MINUTE, DAY = 60_000, 86_400_000
NOW = 20_000 * DAY
SIDE = 40  # users and tracks of the checkerboard
STRANGER = SIDE  # a user without plays
UNPLAYED = SIDE  # a track that only the catalogue has
SETTINGS = Retrieval(neighbours=30, linear_l2=5.0, als=Als(factors=2, iterations=15))


def listening(
    user: Codes, track: Codes, tick: np.ndarray, users: int, tracks: int, clock: str = "time"
) -> Listening:
    """Plays put in time order; even users live in one city, odd ones in another."""
    order = np.lexsort((user, tick))
    people = pl.DataFrame(
        {
            "user_id": [f"u{code}" for code in range(users)],
            "city": [("13", "22")[code % 2] for code in range(users)],
            "age": [None] * users,
        },
        schema={"user_id": pl.String, "city": pl.String, "age": pl.Int64},
    )
    code = pl.int_range(tracks, eager=True)
    nothing = {"artist": pl.String, "genres": pl.List(pl.String), **dict.fromkeys(AUDIO, pl.Float64)}
    catalogue = pl.DataFrame({"track_id": [f"t{each}" for each in code]}).with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in nothing.items()
    )
    # the two colours sound like day and night; of a track that nobody plays nothing is known
    sound = pl.DataFrame({"there": code.is_in(pl.Series(track, dtype=pl.Int64).implode()), "code": code})
    catalogue = catalogue.with_columns(
        sound.select(energy=pl.when("there").then(0.2 + 0.6 * (pl.col("code") % 2))).to_series()
    )
    return Listening(
        np.asarray(user)[order].astype(np.int32),
        np.asarray(track)[order].astype(np.int32),
        np.asarray(tick)[order].astype(np.int64),
        people,
        catalogue,
        NOW if clock == "time" else len(order),
        clock,
        tagged(np.unique(track)),
    )


def tagged(track: Codes) -> pl.DataFrame:
    """Listeners tell the two colours apart, and a few of each."""
    rows = [(each, tag) for each in track.tolist() for tag in (each % 2, 2 + each % 10)]
    return pl.DataFrame(rows, {"track": pl.Int32, "tag": pl.Int32}, orient="row")


def checkerboard() -> Listening:
    """User u plays every track of u's colour but u's own: the hidden diagonal.

    One more user plays nothing, one more track is never played.
    """
    user, track = np.divmod(np.arange(SIDE * SIDE), SIDE)
    played = (user % 2 == track % 2) & (user != track)
    user, track = user[played], track[played]
    # a colour's tracks are one session, two minutes apart, on a day of the user's own
    tick = NOW - (1 + user) * DAY + track * MINUTE
    return listening(user, track, tick, SIDE + 1, SIDE + 1)


def noise(seed: int = 3, clock: str = "time") -> Listening:
    """Uneven users and tracks with repeated plays, in sessions; the last user and track have none."""
    rng = np.random.default_rng(seed)
    user = np.minimum(rng.exponential(12, 3_000), 58).astype(np.int32)
    track = np.minimum(rng.exponential(25, 3_000), 118).astype(np.int32)
    tick = NOW - 1 - rng.integers(0, 60 * DAY, 3_000) // (20 * MINUTE) * (20 * MINUTE)
    given = listening(user, track, tick, 60, 120, clock)
    return given if clock == "time" else replace(given, tick=np.arange(3_000, dtype=np.int64))


def fitted(name: str, given: Listening, threads: int = 2, seed: int = 7) -> Retriever:
    return RETRIEVERS[name].fit(given, SETTINGS, threads, seed)


def codes(*values: int) -> Codes:
    return np.array(values, np.int32)


def rows(found: Candidates, user: int) -> list[int]:
    return [int(track) for track in found.track[found.user == user]]


def pairs(given: Listening) -> set[tuple[int, int]]:
    return set(zip(given.user.tolist(), given.track.tolist(), strict=True))


def check(found: Candidates, users: Codes, k: int) -> None:
    """What holds of every answer."""
    assert found.user.dtype == found.track.dtype == found.rank.dtype == np.int32
    assert found.score.dtype == np.float32
    assert len(found.user) == len(found.track) == len(found.score) == len(found.rank)
    assert np.isfinite(found.score).all()
    place = {int(user): at for at, user in enumerate(users)}
    order = [place[int(user)] for user in found.user]
    assert order == sorted(order)
    for user in np.unique(found.user):
        mine = found.user == user
        size = int(mine.sum())
        assert size <= k
        assert_array_equal(found.rank[mine], np.arange(1, size + 1))
        track, score = found.track[mine], found.score[mine]
        assert len(np.unique(track)) == size
        assert_array_equal(np.lexsort((track, -score)), np.arange(size))


@pytest.fixture(scope="module", params=sorted(RETRIEVERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def board(name: str) -> Retriever:
    return fitted(name, checkerboard())


@pytest.fixture(scope="module")
def noisy(name: str) -> Retriever:
    return fitted(name, noise())


def test_the_hidden_diagonal_is_found(name: str, board: Retriever) -> None:
    users = np.arange(SIDE, dtype=np.int32)
    found = board.retrieve(users, 1, "exclude")
    if name == "again":  # it only knows what was played
        assert not len(found.user)
    else:
        assert_array_equal(found.user, users)
        assert_array_equal(found.track, users)


def test_a_users_own_colour_comes_first(name: str, board: Retriever) -> None:
    for user in (0, 7):
        found = board.retrieve(codes(user), SIDE // 2 - 1, "include")
        assert len(found.track) == SIDE // 2 - 1
        assert {int(track) % 2 for track in found.track} == {user % 2}


@pytest.mark.parametrize("k", [1, 7, 1_000])
@pytest.mark.parametrize("heard", ["include", "exclude", "only"])
def test_answers_are_ordered_and_respect_what_was_heard(noisy: Retriever, heard: Heard, k: int) -> None:
    users = np.arange(60, dtype=np.int32)[::-1].copy()
    found = noisy.retrieve(users, k, heard)
    check(found, users, k)
    known = pairs(noise())
    played = [pair in known for pair in zip(found.user.tolist(), found.track.tolist(), strict=True)]
    if heard == "exclude":
        assert not any(played)
    elif heard == "only":
        assert len(played)
        assert all(played)


@pytest.mark.parametrize("heard", ["exclude", "only"])
def test_what_heard_leaves_is_the_same_list_without_the_rest(noisy: Retriever, heard: Heard) -> None:
    """No retriever may cut to k first and drop the heard tracks then."""
    users = np.arange(60, dtype=np.int32)
    everything = noisy.retrieve(users, 1_000, "include")
    known = pairs(noise())
    both = zip(everything.user.tolist(), everything.track.tolist(), strict=True)
    left = np.array([(pair in known) == (heard == "only") for pair in both])
    cut = noisy.retrieve(users, 5, heard)
    for user in users:
        mine = left & (everything.user == user)
        assert rows(cut, int(user)) == everything.track[mine][:5].tolist()


def test_users_in_any_order_and_batch_give_the_same_rows(noisy: Retriever) -> None:
    users = np.random.default_rng(1).permutation(60).astype(np.int32)
    at_once = noisy.retrieve(users, 10, "exclude")
    for part in (users[:1], users[17:40], users[40:][::-1].copy()):
        alone = noisy.retrieve(part, 10, "exclude")
        for user in part:
            mine, here = at_once.user == user, alone.user == user
            assert_array_equal(at_once.track[mine], alone.track[here])
            assert_array_equal(at_once.score[mine], alone.score[here])
            assert_array_equal(at_once.rank[mine], alone.rank[here])


def test_the_same_seed_gives_the_same_answer(name: str, noisy: Retriever) -> None:
    users = np.arange(60, dtype=np.int32)
    here, there = (each.retrieve(users, 20, "include") for each in (noisy, fitted(name, noise())))
    assert_array_equal(here.user, there.user)
    assert_array_equal(here.track, there.track)
    assert_array_equal(here.score, there.score)


def test_threads_change_no_more_than_rounding(name: str, noisy: Retriever) -> None:
    user, track = (side.ravel().astype(np.int32) for side in np.mgrid[:60, :120])
    alone = fitted(name, noise(), threads=1)
    assert_allclose(noisy.score(user, track), alone.score(user, track), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("heard", ["include", "exclude", "only"])
def test_a_retrieved_pair_has_the_same_score_when_asked_for(noisy: Retriever, heard: Heard) -> None:
    found = noisy.retrieve(np.arange(60, dtype=np.int32), 15, heard)
    shuffled = np.random.default_rng(5).permutation(len(found.user))
    score = noisy.score(found.user[shuffled], found.track[shuffled])
    assert score.dtype == np.float32
    assert_array_equal(score, found.score[shuffled])


def test_no_pair_that_was_not_retrieved_scores_above_the_last_that_was(noisy: Retriever) -> None:
    track = np.arange(120, dtype=np.int32)
    for user in range(0, 59, 7):
        found = noisy.retrieve(codes(user), 10, "include")
        others = np.setdiff1d(track, found.track).astype(np.int32)
        score = noisy.score(np.full(len(others), user, np.int32), others)
        assert not len(score) or not (score > found.score.min(initial=np.inf)).any()


def test_no_pairs_have_no_scores(noisy: Retriever) -> None:
    score = noisy.score(codes(), codes())
    assert score.dtype == np.float32
    assert not len(score)


def test_a_user_without_plays_gets_only_what_is_popular(name: str, board: Retriever) -> None:
    found = board.retrieve(codes(STRANGER), 5, "include")
    check(found, codes(STRANGER), 5)
    # the stranger lives where the even users do
    assert rows(found, STRANGER) == ([0, 2, 4, 6, 8] if name == "popular" else [])
    assert not len(board.retrieve(codes(STRANGER), 5, "only").user)
    if name != "popular":
        score = board.score(codes(STRANGER, STRANGER), codes(0, 1))
        assert not np.nan_to_num(score).any()


def test_a_track_without_plays_is_nobodys_candidate(board: Retriever) -> None:
    found = board.retrieve(np.arange(SIDE + 1, dtype=np.int32), 1_000, "include")
    assert UNPLAYED not in found.track


def test_one_track_and_one_play_are_enough(name: str) -> None:
    given = listening(codes(0), codes(0), np.array([NOW - DAY]), 2, 1)
    retriever = fitted(name, given)
    for heard in ("include", "exclude", "only"):
        found = retriever.retrieve(codes(0, 1), 10, heard)
        check(found, codes(0, 1), 10)
        assert set(found.track.tolist()) <= {0}
        if heard == "exclude":
            assert rows(found, 0) == []
        if name in ("again", "popular") and heard != "exclude":
            assert rows(found, 0) == [0]


def test_one_user_with_one_play_beside_others(name: str) -> None:
    given = checkerboard()
    newcomer = replace(
        given,
        user=np.append(given.user, STRANGER).astype(np.int32),
        track=np.append(given.track, 7).astype(np.int32),
        tick=np.append(given.tick, NOW - 1),
    )
    found = fitted(name, newcomer).retrieve(codes(STRANGER), 10, "exclude")
    check(found, codes(STRANGER), 10)
    assert 7 not in found.track
    # popular follows the city, all others the one play
    assert {int(track) % 2 for track in found.track} <= {0 if name == "popular" else 1}
    assert len(found.track) == (0 if name == "again" else 10)


@pytest.mark.parametrize("clock", ["time", "order"])
def test_without_any_play_nothing_is_retrieved(name: str, clock: str) -> None:
    nothing = listening(codes(), codes(), np.zeros(0, np.int64), 3, 4, clock)
    retriever = fitted(name, nothing)
    for heard in ("include", "exclude", "only"):
        found = retriever.retrieve(codes(2, 0), 5, heard)
        check(found, codes(2, 0), 5)
        assert not len(found.user)
    assert not np.nan_to_num(retriever.score(codes(0, 2), codes(3, 0))).any()
    assert not len(retriever.retrieve(codes(), 5, "include").user)


def test_no_clock_is_needed(name: str) -> None:
    retriever = fitted(name, noise(clock="order"))
    users = np.arange(60, dtype=np.int32)
    found = retriever.retrieve(users, 10, "include")
    check(found, users, 10)
    assert len(np.unique(found.user)) >= 50
    assert_array_equal(retriever.score(found.user, found.track), found.score)


def test_nothing_after_the_fit_is_remembered_of_a_question(noisy: Retriever) -> None:
    users = np.arange(60, dtype=np.int32)
    before = noisy.retrieve(users, 10, "exclude")
    noisy.retrieve(users[::-1].copy(), 3, "only")
    noisy.score(users, users)
    after = noisy.retrieve(users, 10, "exclude")
    assert_array_equal(before.track, after.track)
    assert_allclose(before.score, after.score, rtol=0)
