"""Counts worked out by hand, and whole answers against dense matrices."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from schemas.two_stage import Retrieval
from tasks.retrieval import again, covisit, item_knn, popular, sparse
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening

MINUTE, DAY = 60_000, 86_400_000
NOW = 20_000 * DAY
SETTINGS = Retrieval()


def listening(
    plays: list[tuple[int, int, int]],
    tracks: int,
    users: int | pl.DataFrame,
    at: int = NOW,
    clock: str = "time",
) -> Listening:
    """``plays`` are (user, track, tick) in time order."""
    user, track, tick = np.array(plays, np.int64).reshape(-1, 3).T
    people = users if isinstance(users, pl.DataFrame) else pl.DataFrame({"user_id": range(users)})
    catalogue = pl.DataFrame({"track_id": range(tracks)})
    return Listening(user.astype(np.int32), track.astype(np.int32), tick, people, catalogue, at, clock)


def codes(*values: int) -> Codes:
    return np.array(values, np.int32)


def table(found: Candidates) -> list[tuple[int, int]]:
    return list(zip(found.user.tolist(), found.track.tolist(), strict=True))


# again


def test_again_adds_up_recency_and_rate() -> None:
    plays = [(0, 2, NOW - 15 * DAY), (0, 1, NOW - 8 * DAY), (0, 1, NOW - 3 * DAY), (1, 0, NOW - DAY)]
    retriever = again.fit(listening(plays, 3, 2), SETTINGS, 1, 0)
    found = retriever.retrieve(codes(0, 1), 5, "include")
    assert table(found) == [(0, 1), (0, 2), (1, 0)]
    assert_allclose(found.score, [1 / 3 + 1 / 2, 1 / 4, 1 / sqrt(2)], rtol=1e-6)
    assert np.isnan(retriever.score(codes(0), codes(0))).all()


def test_again_counts_rows_where_there_is_no_clock() -> None:
    plays = [(0, 1, 2), (0, 0, 7), (0, 1, 9)]
    found = again.fit(listening(plays, 2, 1, at=10, clock="order"), SETTINGS, 1, 0).retrieve(
        codes(0), 5, "only"
    )
    assert table(found) == [(0, 1), (0, 0)]
    assert_allclose(found.score, [1 / 3 + 1 / sqrt(2), 1 / 2], rtol=1e-6)


def test_again_forgets_nothing_in_twenty_years() -> None:
    found = again.fit(listening([(0, 0, NOW - 7_300 * DAY)], 1, 1), SETTINGS, 1, 0).retrieve(
        codes(0), 1, "include"
    )
    assert table(found) == [(0, 0)]


# covisit


def evening() -> list[tuple[int, int, int]]:
    """User 0 plays 0 1 2, rests more than half an hour, plays 3 0; user 1 plays 1 and later 3."""
    start = NOW - DAY
    return [
        (0, 0, start),
        (0, 1, start + 10 * MINUTE),
        (0, 2, start + 40 * MINUTE),
        (1, 1, start + 45 * MINUTE),
        (0, 3, start + 70 * MINUTE + 1),
        (0, 0, start + 80 * MINUTE),
        (1, 3, start + 120 * MINUTE),
    ]


def test_covisit_counts_company_in_a_session_by_distance() -> None:
    retriever = covisit.fit(listening(evening(), 4, 3), SETTINGS, 1, 0)
    two, one = sqrt(2 + 5), sqrt(1 + 5)  # tracks 0, 1 and 3 have two plays, track 2 has one
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 1 / two / two
    expected[0, 2] = expected[2, 0] = 0.5 / two / one
    expected[1, 2] = expected[2, 1] = 1 / two / one
    expected[0, 3] = expected[3, 0] = 1 / two / two
    company = retriever.company
    dense = np.zeros((4, 4))
    dense[company.rows, company.columns] = company.values
    assert_allclose(dense, expected, rtol=1e-6)
    # user 1's newest play asks loudest
    found = retriever.retrieve(codes(1, 2), 3, "exclude")
    older = 2 ** (-1 / 20)
    assert table(found) == [(1, 0), (1, 2)]
    assert_allclose(
        found.score, [expected[3, 0] + older * expected[1, 0], older * expected[1, 2]], rtol=1e-6
    )


def test_covisit_without_a_clock_has_no_sessions_but_neighbours_in_the_list() -> None:
    plays = [(user, track, row) for row, (user, track, _) in enumerate(evening())]
    given = listening(plays, 4, 2, at=len(plays), clock="order")
    company = covisit.fit(given, SETTINGS, 1, 0).company
    near = dict(zip(zip(company.rows, company.columns, strict=True), company.values, strict=True))
    # 2 and 3 are next to each other in user 0's list
    assert_allclose(near[2, 3], 1 / sqrt(7) / sqrt(6), rtol=1e-6)
    # 1 and 3: two apart for user 0, next to each other for user 1
    assert_allclose(near[1, 3], 1.5 / 7, rtol=1e-6)


def test_covisit_reaches_ten_plays_and_never_another_user() -> None:
    plays = [(0, track, track) for track in range(12)] + [(1, 12, 12)]
    company = covisit.fit(listening(plays, 13, 2, at=13, clock="order"), SETTINGS, 1, 0).company
    assert set(company.columns[company.rows == 0].tolist()) == set(range(1, 11))
    assert not len(company.columns[company.rows == 12])


# item_knn


def shelf() -> Listening:
    """User 0: track 0 twice, 1 once. User 1: 0 and 2 once. User 2 has no plays and counts nowhere."""
    plays = [(0, 0, NOW - 5), (0, 0, NOW - 4), (0, 1, NOW - 3), (1, 0, NOW - 2), (1, 2, NOW - 1)]
    return listening(plays, 3, 3)


def weights() -> dict[tuple[int, int], float]:
    """BM25 by hand: 2 users with 3 and 2 plays, 2.5 on average."""
    common, rare = log(1 + 0.5 / 2.5), log(1 + 1.5 / 1.5)
    long, short = 1.2 * (0.25 + 0.75 * 3 / 2.5), 1.2 * (0.25 + 0.75 * 2 / 2.5)
    return {
        (0, 0): common * 2 * 2.2 / (2 + long),
        (0, 1): rare * 2.2 / (1 + long),
        (1, 0): common * 2.2 / (1 + short),
        (1, 2): rare * 2.2 / (1 + short),
    }


def test_item_knn_weighs_by_bm25_and_adds_up_similarities() -> None:
    by_hand = weights()
    retriever = item_knn.fit(shelf(), SETTINGS, 1, 0)
    found = retriever.weights
    assert dict.fromkeys(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == (
        dict.fromkeys(by_hand)
    )
    assert_allclose(found.values, list(by_hand.values()), rtol=1e-6)
    likes = by_hand[0, 0] * by_hand[0, 1]  # of tracks 0 and 1: only user 0 plays both
    other = by_hand[1, 0] * by_hand[1, 2]  # of tracks 0 and 2
    new = retriever.retrieve(codes(0, 1, 2), 5, "exclude")
    assert table(new) == [(0, 2), (1, 1)]
    assert_allclose(new.score, [by_hand[0, 0] * other, by_hand[1, 0] * likes], rtol=1e-6)
    own = retriever.retrieve(codes(0), 5, "only")
    assert_allclose(
        dict(zip(own.track.tolist(), own.score.tolist(), strict=True))[0],
        by_hand[0, 1] * likes,
        rtol=1e-6,
    )


def test_item_knn_keeps_the_nearest_neighbours_only() -> None:
    retriever = item_knn.fit(shelf(), Retrieval(neighbours=1), 1, 0)
    similar = retriever.similar
    assert list(zip(similar.rows, similar.columns, strict=True)) == [(0, 1), (1, 0), (2, 0)]
    assert not len(retriever.retrieve(codes(0), 5, "exclude").user)


@pytest.mark.parametrize("heard", ["include", "exclude", "only"])
def test_item_knn_is_the_dense_product_cut_to_k(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "ROWS", 7)  # many blocks
    rng = np.random.default_rng(4)
    user = np.minimum(rng.exponential(9, 2_000), 39).astype(int)
    track = np.minimum(rng.exponential(20, 2_000), 89).astype(int)
    plays = [(*pair, NOW - 2_000 + row) for row, pair in enumerate(zip(user, track, strict=True))]
    retriever = item_knn.fit(listening(plays, 90, 40), Retrieval(neighbours=15), 2, 0)
    dense = np.zeros((40, 90))
    dense[retriever.weights.rows, retriever.weights.columns] = retriever.weights.values
    near = (dense.T @ dense).astype(np.float32)
    np.fill_diagonal(near, 0)
    for row in near:
        row[np.lexsort((np.arange(90), -row))[15:]] = 0
    scores = dense @ near.astype(np.float64)
    if heard != "include":
        scores[(dense > 0) == (heard == "exclude")] = 0
    found = retriever.retrieve(np.arange(40, dtype=np.int32), 12, heard)
    for row in range(40):
        mine = found.user == row
        best = np.sort(scores[row])[::-1][:12]
        assert_allclose(found.score[mine], best[best > 0], rtol=1e-5)
        assert_allclose(found.score[mine], scores[row, found.track[mine]], rtol=1e-5)


# popular


def people(*rows: tuple[str | None, int | None]) -> pl.DataFrame:
    schema = {"city": pl.String, "age": pl.Int64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def test_popular_is_not_moved_by_a_song_on_repeat() -> None:
    loop = [(0, 0, NOW - DAY + row) for row in range(50)]
    given = listening([*loop, (1, 1, NOW - 5), (2, 1, NOW - 4)], 3, 3)
    retriever = popular.fit(given, SETTINGS, 1, 0)
    found = retriever.retrieve(codes(2, 0), 5, "include")
    assert table(found) == [(2, 1), (2, 0), (0, 1), (0, 0)]
    assert_allclose(found.score[:2], [2 / 3, 1 / 3], rtol=1e-6)
    assert np.isnan(retriever.score(codes(0), codes(2))).all()


def test_popular_counts_a_listeners_days_where_there_is_a_clock() -> None:
    days = [(0, 0, NOW - day * DAY) for day in (3, 2, 1)]
    loop = [(0, 1, NOW - 500 + row) for row in range(10)]
    timed = popular.fit(listening(days + loop, 2, 1), SETTINGS, 1, 0)
    assert_allclose(timed.retrieve(codes(0), 2, "include").score, [3 / 4, 1 / 4], rtol=1e-6)
    plays = [(user, track, row) for row, (user, track, _) in enumerate(days + loop)]
    untimed = popular.fit(listening(plays, 2, 1, at=len(plays), clock="order"), SETTINGS, 1, 0)
    assert_allclose(untimed.retrieve(codes(0), 2, "include").score, [1 / 2, 1 / 2], rtol=1e-6)


def test_popular_is_of_the_newest_days_but_all_that_was_heard_is_known() -> None:
    plays = [(0, 0, NOW - 90 * DAY - 1), (0, 2, NOW - 90 * DAY - 1), (1, 1, NOW - 90 * DAY)]
    plays += [(1, 2, NOW - DAY), (2, 2, NOW - DAY)]
    retriever = popular.fit(listening(plays, 3, 3), SETTINGS, 1, 0)
    assert table(retriever.retrieve(codes(0), 5, "include")) == [(0, 2), (0, 1)]
    assert table(retriever.retrieve(codes(0), 5, "exclude")) == [(0, 1)]
    assert table(retriever.retrieve(codes(0), 5, "only")) == [(0, 2)]


def test_popular_mixes_a_groups_share_with_everyones() -> None:
    users = people(*[("5", None)] * 100, *[("13", None)] * 300, (None, None), ("7", None))
    plays = [(user, int(user >= 100), NOW - 1) for user in range(400)]
    retriever = popular.fit(listening(plays, 2, users), SETTINGS, 1, 0)
    found = retriever.retrieve(codes(0, 399, 400, 401), 2, "include")
    # in city 5: (100 listens + 1000 · 0.25) / 1100; those of nowhere and of a new city get the whole
    expected = [750 / 1100, 350 / 1100, 1050 / 1300, 250 / 1300, 0.75, 0.25, 0.75, 0.25]
    assert found.track.tolist() == [1, 0] * 4
    assert_allclose(found.score, expected, rtol=1e-6)
    # one listen less, and city 5 is no group of its own
    fewer = popular.fit(listening(plays[1:], 2, users), SETTINGS, 1, 0)
    assert_allclose(fewer.score(codes(0), codes(0)), [99 / 399], rtol=1e-6)


def test_popular_takes_the_most_particular_group_that_is_known_and_large() -> None:
    rows: list[tuple[str | None, int | None]] = [("5", 20)] * 100  # play track 0
    rows += [("5", 40)] * 60  # play track 1
    rows += [("13", 20)] * 100  # play track 2
    asked: list[tuple[str | None, int | None]] = [
        ("5", 24),  # as old as the first
        ("5", 25),  # in a band of their own: all of city 5
        ("5", None),
        (None, 18),  # all aged 18 to 24
        (None, None),
    ]
    track = [0] * 100 + [1] * 60 + [2] * 100
    plays = [(user, played, NOW - 1) for user, played in enumerate(track)]
    retriever = popular.fit(listening(plays, 3, people(*rows, *asked)), SETTINGS, 1, 0)
    score = retriever.score(np.arange(260, 265, dtype=np.int32), codes(0, 0, 0, 0, 0))
    share = 1000 * 100 / 260
    expected = [
        (100 + share) / 1100,
        (100 + share) / 1160,
        (100 + share) / 1160,
        (100 + share) / 1200,
        100 / 260,
    ]
    assert_allclose(score, expected, rtol=1e-6)


def test_popular_prefers_countries_to_cities() -> None:
    users = people(*[("5", None)] * 100, *[("6", None)] * 100)
    users = users.with_columns(country=pl.lit("DE"))
    plays = [(user, user // 100, NOW - 1) for user in range(200)]
    retriever = popular.fit(listening(plays, 2, users), SETTINGS, 1, 0)
    assert_allclose(retriever.score(codes(0), codes(0)), [0.5], rtol=1e-6)


# what they share


def test_collected_sums_duplicates_in_order() -> None:
    made = sparse.collected(
        codes(2, 0, 2, 0), codes(1, 3, 1, 0), np.array([0.5, 2.0, 0.25, 1.0]), height=4, width=5
    )
    assert_array_equal(made.starts, [0, 2, 2, 3, 3])
    assert_array_equal(made.columns, [0, 3, 1])
    assert_array_equal(made.values, np.array([1, 2, 0.75], np.float32))
    turned = sparse.transposed(made)
    assert_array_equal(turned.starts, [0, 1, 2, 2, 3, 3])
    assert_array_equal(turned.columns, [0, 2, 0])
    assert_array_equal(turned.values, np.array([1, 0.75, 2], np.float32))
