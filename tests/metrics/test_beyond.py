"""Beyond accuracy: cases worked by hand, loops over pairs, and what unknown tracks do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics import beyond
from tasks.metrics.lists import accuracy

IDS = {"user": pl.Int32, "track": pl.Int32, "rank": pl.Int32}


def lists_of(lists: dict[int, list[int]]) -> pl.DataFrame:
    rows = [
        (user, track, place + 1) for user, tracks in lists.items() for place, track in enumerate(tracks)
    ]
    return pl.DataFrame(rows, IDS, orient="row")


def pairs_of(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, {"user": pl.Int32, "track": pl.Int32}, orient="row")


def as_dict(frame: pl.DataFrame) -> dict[int, float | None]:
    return dict(frame.iter_rows())


# four users had played: 10 by all, 11 by two, 12 by one, 13 by nobody
HEARD = pairs_of([(1, 10), (2, 10), (3, 10), (4, 10), (1, 11), (2, 11), (1, 12)])


def test_coverage_and_gini_by_hand() -> None:
    lists = lists_of({1: [10, 11, 12], 2: [10, 12, 11], 3: [10, 11, 13]})
    assert beyond.coverage(lists, 2, 8) == pytest.approx(3 / 8)  # 13 stands at rank 3
    assert beyond.coverage(lists, 3, 8) == pytest.approx(4 / 8)
    # exposures at 2: 10 three times, 11 twice, 12 once, five tracks never: mean |difference| / (2 mean)
    exposure = np.array([3, 2, 1, 0, 0, 0, 0, 0])
    expected = np.abs(exposure[:, None] - exposure[None]).mean() / (2 * exposure.mean())
    assert beyond.gini(lists, 2, 8) == pytest.approx(expected)
    assert beyond.gini(lists_of({1: [10, 11], 2: [12, 13]}), 2, 4) == pytest.approx(0.0)
    assert beyond.gini(lists_of({1: [10], 2: [10]}), 2, 4) == pytest.approx(3 / 4)  # all on one: 1 - 1/n


def test_an_empty_catalogue_or_no_lists() -> None:
    empty = lists_of({})
    assert math.isnan(beyond.gini(empty, 5, 10))
    assert beyond.coverage(empty, 5, 10) == 0.0
    assert math.isnan(beyond.coverage(empty, 5, 0))
    with pytest.raises(ValueError, match="2 tracks are recommended from a catalogue of 1"):
        beyond.gini(lists_of({1: [10, 11]}), 5, 1)


def test_novelty_by_hand() -> None:
    found = as_dict(beyond.novelty(lists_of({2: [10, 11], 1: [12, 13, 10]}), 2, HEARD))
    # shares 4/4 and 2/4; 1/4 and none, which counts as one listener
    assert found == pytest.approx({1: 2.0, 2: 0.5})
    assert as_dict(beyond.novelty(lists_of({2: [10]}), 2, HEARD.clear())) == {2: None}


def test_serendipity_by_hand_is_a_part_of_precision() -> None:
    lists = lists_of({1: [10, 11, 12], 2: [10, 12], 3: [11]})
    popular = lists_of({1: [10, 12, 11], 2: [10, 11], 3: [10, 11]})
    relevant = pairs_of([(1, 10), (1, 11), (1, 12), (2, 12), (4, 10), (3, 99)])
    # user 1: 11 alone, since popularity has it only at 3; user 2: 12; 3 and 4: nothing
    assert as_dict(beyond.serendipity(lists, relevant, popular, 2)) == {1: 0.5, 2: 0.5, 3: 0.0, 4: 0.0}
    precision = accuracy(lists, relevant, 2)
    assert precision["precision"].to_list() == [1.0, 0.5, 0.0, 0.0]
    nothing = beyond.serendipity(popular, relevant, popular, 2)
    assert set(nothing["serendipity"]) == {0.0}


def test_popularity_and_its_lift_by_hand() -> None:
    lists = lists_of({1: [10, 13], 2: [10, 11], 9: [10]})  # 9 had played nothing
    found = beyond.popularity(lists, 2, HEARD)
    assert found.rows() == [
        (1, pytest.approx(1 / 2), pytest.approx((1 + 1 / 2 + 1 / 4) / 3)),
        (2, pytest.approx(3 / 4), pytest.approx((1 + 1 / 2) / 2)),
    ]
    assert beyond.popularity_lift(found) == pytest.approx((1 / 2 + 3 / 4) / (7 / 12 + 3 / 4))
    assert math.isnan(beyond.popularity_lift(found.clear()))
    # who is recommended exactly what they had played is lifted by nothing
    own = lists_of({1: [10, 11, 12], 2: [10, 11], 3: [10], 4: [10]})
    assert beyond.popularity_lift(beyond.popularity(own, 3, HEARD)) == pytest.approx(1.0)


GENRES = pl.DataFrame(
    {
        "track": [10, 11, 12, 13, 14],
        "genres": [["rock", "pop"], ["pop"], ["jazz", "jazz", None], None, []],
    }
)


def test_genre_diversity_by_hand() -> None:
    lists = lists_of({1: [10, 11, 12], 2: [10, 11, 13, 14], 3: [13, 10, 99], 4: [10]})
    found = as_dict(beyond.genre_diversity(lists, 4, GENRES))
    # 10 and 11 share one of two genres; 13, 14 and 99 are unknown
    assert found == {1: pytest.approx((1 / 2 + 1 + 1) / 3), 2: pytest.approx(1 / 2), 3: None, 4: None}
    assert as_dict(beyond.genre_diversity(lists, 2, GENRES))[1] == pytest.approx(1 / 2)


def test_audio_diversity_by_hand() -> None:
    # standardised, x is -1, -1, 1, 1 and y -1, 1, 1, -1; z never changes and says nothing
    audio = pl.DataFrame(
        {
            "track": [10, 11, 12, 13, 14],
            "x": [0.0, 0.0, 2.0, 2.0, None],
            "y": [100.0, 300.0, 300.0, 100.0, 1e9],
            "z": [5, 5, 5, 5, 5],
        }
    )
    lists = lists_of({1: [10, 11, 12, 13], 2: [12, 10], 3: [10, 14], 4: [14, 99], 5: [11, 14, 12]})
    found = as_dict(beyond.audio_diversity(lists, 4, audio))
    assert found[1] == pytest.approx((4 * 1 + 2 * 2) / 6)  # four neighbours at 90°, two opposites
    assert found[2] == pytest.approx(2.0)
    assert found[5] == pytest.approx(1.0)
    assert (found[3], found[4]) == (None, None)


@st.composite
def described(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, list[str] | None]]:
    tracks = list(range(8))
    lists = {
        user: draw(st.lists(st.sampled_from(tracks), unique=True, min_size=1, max_size=6))
        for user in range(draw(st.integers(1, 4)))
    }
    names = st.none() | st.lists(st.integers(0, 150).map(str), max_size=90)  # more than one word of bits
    return lists, {track: draw(names) for track in tracks}


@given(described(), st.integers(1, 7))
def test_genre_diversity_is_the_loop_over_pairs(
    world: tuple[dict[int, list[int]], dict[int, list[str] | None]], k: int
) -> None:
    lists, genres = world
    table = pl.DataFrame(
        {"track": list(genres), "genres": list(genres.values())},
        schema_overrides={"genres": pl.List(str)},
    )
    found = as_dict(beyond.genre_diversity(lists_of(lists).sample(fraction=1, shuffle=True), k, table))
    for user, tracks in lists.items():
        sets = [set(genres[track] or []) for track in tracks[:k]]
        apart = [
            1 - len(one & other) / len(one | other)
            for one, other in itertools.combinations([each for each in sets if each], 2)
        ]
        assert found[user] == (pytest.approx(np.mean(apart), abs=1e-6) if apart else None)


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_audio_diversity_is_the_loop_over_pairs(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(3, [1, 20, 0.1], (30, 3))
    audio = pl.DataFrame(
        {"track": np.arange(30), "a": values[:, 0], "b": values[:, 1], "c": values[:, 2]}
    )
    lists = {user: random.permutation(30)[:10].tolist() for user in range(3)}
    found = as_dict(beyond.audio_diversity(lists_of(lists), k, audio))
    vectors = (values - values.mean(axis=0)) / values.std(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    for user, tracks in lists.items():
        apart = [1 - vectors[a] @ vectors[b] for a, b in itertools.combinations(tracks[:k], 2)]
        assert found[user] == (pytest.approx(np.mean(apart)) if apart else None)


def test_blocks_of_users_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    genres = pl.DataFrame(
        {
            "track": np.arange(40),
            "genres": [random.integers(0, 9, 3).astype(str).tolist() for _ in range(40)],
        }
    )
    lists = lists_of({user: random.permutation(40)[:8].tolist() for user in range(25)})
    whole = beyond.genre_diversity(lists, 8, genres)
    monkeypatch.setattr(beyond, "_BYTES", 8 * 8 * 8 * 4)  # four users at a time
    assert beyond.genre_diversity(lists, 8, genres).equals(whole)


def test_all_together_have_the_rows_of_accuracy() -> None:
    lists = lists_of({1: [10, 11], 2: [12, 13], 7: [10, 12]})
    relevant = pairs_of([(2, 12), (1, 11), (5, 10)])
    audio = pl.DataFrame({"track": [10, 11, 12, 13], "x": [0.0, 1.0, 3.0, 4.0]})
    found = beyond.per_user(
        lists, 2, relevant=relevant, popular=lists_of({}), heard=HEARD, genres=GENRES, audio=audio
    )
    assert found.columns == ["user", *beyond.PER_USER]
    assert found["user"].equals(accuracy(lists, relevant, 2)["user"])
    one = found.row(0, named=True)
    assert one["genre_diversity"] == pytest.approx(1 / 2)
    assert one["audio_diversity"] == pytest.approx(0.0)  # both below the mean of their one feature
    assert one["novelty"] == pytest.approx(1 / 2)
    assert one["serendipity"] == pytest.approx(1 / 2)
    assert one["list_popularity"] == pytest.approx(3 / 4)
    assert found.filter(user=5).row(0)[1:] == (None, None, None, 0.0, None, None)  # no list


def test_metadata_with_a_track_twice_and_faulty_lists_are_refused() -> None:
    lists = lists_of({1: [10, 11]})
    with pytest.raises(ValueError, match="tracks of genres must be distinct"):
        beyond.genre_diversity(lists, 2, pl.concat([GENRES, GENRES]))
    with pytest.raises(ValueError, match="tracks of audio must be distinct"):
        beyond.audio_diversity(lists, 2, pl.DataFrame({"track": [1, 1], "x": [0.0, 1.0]}))
    with pytest.raises(ValueError, match="heard pairs must be distinct"):
        beyond.novelty(lists, 2, pl.concat([HEARD, HEARD]))
    with pytest.raises(ValueError, match="tracks of a user's list must be distinct"):
        beyond.coverage(lists_of({1: [10, 10]}), 2, 5)


def test_tracks_without_any_metadata() -> None:
    lists = lists_of({1: [10, 11]})
    assert as_dict(beyond.genre_diversity(lists, 2, GENRES.clear())) == {1: None}
    empty = pl.DataFrame(schema={"track": pl.Int32, "x": pl.Float64})
    assert as_dict(beyond.audio_diversity(lists, 2, empty)) == {1: None}
    no_feature = pl.DataFrame({"track": [10, 11]})
    assert as_dict(beyond.audio_diversity(lists, 2, no_feature)) == {1: None}
