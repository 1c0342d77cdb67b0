"""Content: the words of what was played, worked out by hand; and plays that catalogues do not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from schemas.tables import AUDIO
from schemas.two_stage import Als, Retrieval
from tasks.retrieval import RETRIEVERS, content
from tasks.retrieval.audio import standardised
from tasks.retrieval.played import played
from tasks.retrieval.protocol import Codes, Listening

DAY = 86_400_000
NOW = 400 * DAY
SETTINGS = Retrieval(neighbours=30, als=Als(factors=4, iterations=3))
COLUMNS = {"artist": pl.String, "genres": pl.List(pl.String), **dict.fromkeys(AUDIO, pl.Float64)}


def listening(
    plays: list[tuple[int, int, float]], tracks: list[dict[str, Any]], users: int
) -> Listening:
    """Plays as (user, track, age in days)."""
    plays = sorted(plays, key=lambda play: -play[2])
    frame = pl.DataFrame([dict.fromkeys(COLUMNS) | row for row in tracks], schema=COLUMNS)
    return Listening(
        np.array([play[0] for play in plays], np.int32),
        np.array([play[1] for play in plays], np.int32),
        np.array([NOW - round(play[2] * DAY) for play in plays], np.int64),
        pl.DataFrame({"user_id": [f"u{code}" for code in range(users)]}),
        frame.insert_column(0, pl.Series("track_id", [f"t{code:04}" for code in range(len(tracks))])),
        NOW,
        "time",
    )


def codes(*values: int) -> Codes:
    return np.array(values, np.int32)


def test_scores_by_hand() -> None:
    """Artists by (sum / largest) ** FLAT, genres as a cosine; a track without either has none."""
    tracks = [
        {"artist": "Ann", "genres": ["pop"]},
        {"artist": "Ben", "genres": ["rock"]},
        {"artist": "ANN"},  # unheard, of the artist played most
        {"artist": "ben"},  # of the one played less
        {"artist": "Cy", "genres": ["pop", "rock"]},
        {"artist": "Cy", "genres": ["rock"]},
        {"artist": "Di", "genres": ["folk"]},
        {},
    ]
    # weights (1 + age) ** -½: 1 + 1 for Ann's, ½ for Ben's
    made = content.fit(listening([(0, 0, 0), (0, 0, 0), (0, 1, 3)], tracks, 2), SETTINGS, 1, 7)
    idf = {"pop": np.log1p(8 / 2), "rock": np.log1p(8 / 3)}
    taste = np.array([2.0, 0.5])  # each heard track has one genre: unit vectors
    taste /= np.hypot(*taste)
    both = np.array([idf["pop"], idf["rock"]]) / np.hypot(idf["pop"], idf["rock"])
    expected = {
        0: 1 + taste[0], 1: 0.25**0.25 + taste[1], 2: 1.0, 3: 0.25**0.25, 4: both @ taste, 5: taste[1],
    }  # fmt: skip
    everything = np.arange(8, dtype=np.int32)
    score = made.score(np.zeros(8, np.int32), everything)
    assert_allclose(score[:6], [expected[track] for track in range(6)], rtol=1e-6)
    assert np.isnan(score[6:]).all()
    found = made.retrieve(codes(0, 1), 8, "exclude")
    best = sorted((track for track in expected if track > 1), key=lambda track: -expected[track])
    assert found.user.tolist() == [0] * 4
    assert found.track.tolist() == best
    assert made.retrieve(codes(0), 8, "only").track.tolist() == [0, 1]


def test_two_tastes_are_not_averaged() -> None:
    """Who likes quiet and loud gets either before what lies between, though that is their mean."""
    rng = np.random.default_rng(0)
    level = np.repeat([0.1, 0.5, 0.9], 40)
    tracks = [
        {"energy": value + rng.normal(0, 0.01), "loudness": -30 + 30 * value + rng.normal(0, 0.3)}
        for value in level
    ]
    plays = [(0, track, 1) for track in (*range(10), *range(80, 90))]
    made = content.fit(listening(plays, tracks, 1), SETTINGS, 1, 7)
    found = made.retrieve(codes(0), 40, "exclude")
    assert {level[track] for track in found.track} == {0.1, 0.9}
    assert all((level[found.track[:20]] == value).any() for value in (0.1, 0.9))


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    frame = pl.DataFrame(
        {"energy": [0.1, 0.3, None], "tempo": [90.0, 90.0, None]} | {"key": [None, None, None]}
    )
    given = frame.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in AUDIO if name not in frame.columns
    )
    told = standardised(given)
    assert told.columns == list(AUDIO)
    assert told.schema == dict.fromkeys(AUDIO, pl.Float32)
    assert told["energy"].to_list() == pytest.approx([-1, 1, None])
    assert told["tempo"].to_list() == [0, 0, None]
    assert told["key"].null_count() == 3


def noise(unheard: int) -> tuple[Listening, Codes]:
    """The same plays of 40 tracks among ``unheard`` others, and the codes of the 40."""
    rng = np.random.default_rng(3)
    places = np.sort(rng.permutation(40 + unheard)[:40]).astype(np.int32)
    tracks: list[dict[str, Any]] = [{"artist": f"a{rng.integers(0, 9)}"} for _ in range(40 + unheard)]
    draw = np.random.default_rng(4)
    plays = [
        (int(draw.integers(0, 12)), int(places[min(int(draw.exponential(9)), 39)]), draw.uniform(0, 60))
        for _ in range(600)
    ]
    return listening(plays, tracks, 12), places


@pytest.mark.parametrize("name", ["popular", "again", "covisit", "item_knn", "als", "linear"])
def test_a_catalogue_changes_no_other_retriever(name: str) -> None:
    """Bit for bit, and no track without a play has a score."""
    (alone, few), (among, many) = noise(0), noise(500)
    users = np.arange(12, dtype=np.int32)
    before, after = (RETRIEVERS[name].fit(each, SETTINGS, 1, 7) for each in (alone, among))
    for heard in ("include", "exclude", "only"):
        one, other = (each.retrieve(users, 30, heard) for each in (before, after))  # type: ignore[arg-type]
        assert_array_equal(other.user, one.user)
        assert_array_equal(other.track, many[np.searchsorted(few, one.track)])
        assert_array_equal(other.score, one.score)
        assert_array_equal(other.rank, one.rank)
    user, track = (side.ravel().astype(np.int32) for side in np.mgrid[:12, :540])
    score = after.score(user, track).reshape(12, 540)
    unheard = np.setdiff1d(np.arange(540), many)
    assert not np.nan_to_num(score[:, unheard]).any()
    user, track = (side.ravel().astype(np.int32) for side in np.mgrid[:12, :40])
    assert_array_equal(score[:, many].ravel(), before.score(user, track))


def test_tracks_with_plays_are_renumbered_in_their_order() -> None:
    among, many = noise(100)
    own, tracks = played(among)
    assert_array_equal(tracks, np.unique(among.track))
    assert_array_equal(tracks[own.track], among.track)
    assert own.tracks["track_id"].equals(among.tracks["track_id"][tracks])
    assert set(tracks) <= set(many)
    nothing = listening([], [{"artist": "a"}], 1)
    assert played(nothing)[0] is nothing
