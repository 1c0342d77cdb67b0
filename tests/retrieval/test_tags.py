"""Tags worked out by hand, and what keeps a few of them from saying much."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose

from schemas.two_stage import Retrieval
from tasks.retrieval import tags
from tasks.retrieval.protocol import Codes, Listening

DAY = 86_400_000
NOW = 20_000 * DAY
SETTINGS = Retrieval()
# tag 0 is on tracks 0, 1 and 3, tag 1 on 1 and 2; the first listener gave it to track 1 twice
GIVEN = [(0, 0), (1, 0), (1, 1), (1, 1), (2, 1), (3, 0)]


def listening(
    plays: list[tuple[int, int, int]], given: list[tuple[int, int]] | None = GIVEN, clock: str = "time"
) -> Listening:
    """``plays`` are (user, track, tick) in time order, ``given`` (track, tag); 2 users, 5 tracks."""
    user, track, tick = np.array(plays, np.int64).reshape(-1, 3).T
    schema = {"track": pl.Int32, "tag": pl.Int32}
    return Listening(
        user.astype(np.int32),
        track.astype(np.int32),
        tick,
        pl.DataFrame({"user_id": ["a", "b"]}),
        pl.DataFrame({"track_id": [str(code) for code in range(5)]}),
        NOW,
        clock,
        None if given is None else pl.DataFrame(given, schema, orient="row"),
    )


def codes(*values: int) -> Codes:
    return np.array(values, np.int32)


def test_a_known_answer() -> None:
    """User a plays track 1 today and track 2 a half-life ago; four tracks have tags."""
    half = NOW - tags.HALF_LIFE * DAY
    model = tags.fit(listening([(0, 2, half), (0, 1, NOW)]), SETTINGS, 1, 0)
    rare, common = log(1 + 2.5 / 2.5), log(1 + 1.5 / 3.5)
    first = np.array([log(2) * common, log(3) * rare])  # of track 1
    profile = first / np.linalg.norm(first) + [0, 0.5]
    profile /= np.linalg.norm(profile)
    own = {
        0: profile[0] * log(2) * common / (log(2) * common + tags.PRIOR),
        1: profile @ first / (np.linalg.norm(first) + tags.PRIOR),
        2: profile[1] * log(2) * rare / (log(2) * rare + tags.PRIOR),
    }
    own[3] = own[0]
    found = model.retrieve(codes(0, 1), 9, "include")
    assert found.user.tolist() == [0, 0, 0, 0]
    assert found.track.tolist() == [1, 2, 0, 3]  # of 0 and 3 the smaller
    assert_allclose(found.score, [own[track] for track in found.track], rtol=1e-6)
    assert model.retrieve(codes(0), 9, "exclude").track.tolist() == [0, 3]
    assert model.retrieve(codes(0), 9, "only").track.tolist() == [1, 2]
    assert np.isnan(model.score(codes(0, 1), codes(4, 0))).all()


def test_without_a_clock_all_tracks_of_a_user_ask_alike() -> None:
    plays = [(0, 0, 1), (0, 2, 900), (1, 2, 1_000), (1, 0, 1_001)]
    model = tags.fit(listening(plays, clock="order"), SETTINGS, 1, 0)
    both, track = codes(0, 0, 0, 1, 1, 1), codes(0, 1, 2, 0, 1, 2)
    scores = model.score(both, track)
    assert_allclose(scores[:3], scores[3:])


def test_a_tag_that_many_gave_says_more_than_one_that_one_gave() -> None:
    """The cosine of the two is the same."""
    given = [(0, 0), *[(1, 0)] * 20, (2, 0), (3, 1)]
    found = tags.fit(listening([(0, 0, NOW)], given), SETTINGS, 1, 0).retrieve(codes(0), 9, "exclude")
    assert found.track.tolist() == [1, 2]
    assert found.score[0] > 2 * found.score[1]


def test_a_profile_keeps_its_strongest_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "KEPT", 1)
    model = tags.fit(listening([(0, 1, NOW)]), SETTINGS, 1, 0)
    assert model.profiles.columns.tolist() == [1]  # given twice, and rarer
    assert_allclose(model.profiles.values, 1)
    assert model.retrieve(codes(0), 9, "exclude").track.tolist() == [2]


@pytest.mark.parametrize("given", [None, []])
def test_without_tags_there_is_nothing(given: list[tuple[int, int]] | None) -> None:
    model = tags.fit(listening([(0, 1, NOW), (1, 2, NOW)], given), SETTINGS, 2, 0)
    for heard in ("include", "exclude", "only"):
        assert not len(model.retrieve(codes(0, 1), 5, heard).user)
    assert np.isnan(model.score(codes(0, 1), codes(1, 1))).all()


def test_plays_before_all_time_still_count() -> None:
    """However old: a user whose only play is decades away has the same order, by the same numbers."""
    old = tags.fit(listening([(0, 1, 0)]), SETTINGS, 1, 0)
    new = tags.fit(listening([(0, 1, NOW)]), SETTINGS, 1, 0)
    assert_allclose(old.score(codes(0, 0), codes(0, 2)), new.score(codes(0, 0), codes(0, 2)), rtol=1e-5)


def test_the_length_of_a_profile_is_one() -> None:
    rng = np.random.default_rng(3)
    given = list(zip(rng.integers(0, 5, 60).tolist(), rng.integers(0, 9, 60).tolist(), strict=True))
    plays = [(int(user), int(track), NOW - 1) for user, track in rng.integers(0, (2, 5), (12, 2))]
    base = listening(plays, given)
    model = tags.fit(base, SETTINGS, 1, 0)
    for start, stop in zip(model.profiles.starts[:-1], model.profiles.starts[1:], strict=True):
        assert sqrt(sum(model.profiles.values[start:stop].astype(float) ** 2)) == pytest.approx(1)
    turned = replace(base, tags=base.tags.reverse() if base.tags is not None else None)
    again = tags.fit(turned, SETTINGS, 2, 0)
    user, track = (side.ravel().astype(np.int32) for side in np.mgrid[:2, :5])
    np.testing.assert_array_equal(again.score(user, track), model.score(user, track))
