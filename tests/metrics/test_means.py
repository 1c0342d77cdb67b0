"""Means over users: resamples made by hand, pairing, the promised coverage, and what few users allow."""

from __future__ import annotations

import itertools
import math

import numpy as np
import polars as pl
import pytest

from tasks.metrics.binary import Interval
from tasks.metrics.means import Means, resampled_means


def frame(values: list[float | None], users: list[int] | None = None, **more: object) -> pl.DataFrame:
    columns = {"user": users or list(range(len(values))), "ndcg": values, **more}
    return pl.DataFrame(columns, schema_overrides={"ndcg": pl.Float64})


def means(per_user: dict[str, pl.DataFrame], seed: int = 1, min_users: int = 2) -> Means:
    return resampled_means(per_user, resamples=200, seed=seed, min_users=min_users)


def test_every_resample_draws_whole_users_with_all_their_cutoffs() -> None:
    """With three users there are ten possible resamples: each replicate must be one of them."""
    users = [4, 4, 4, 8, 8, 2]
    values = np.array([0.1, 0.2, 0.6, 0.9, 0.3, 0.55])
    found = means({"m": frame(values.tolist(), users, cutoff=[1, 2, 3, 1, 2, 2])})
    possible = []
    for drawn in itertools.combinations_with_replacement([2, 4, 8], 3):
        rows = np.concatenate([np.flatnonzero(np.array(users) == user) for user in drawn])
        possible.append(values[rows].mean())
    replicates = found.replicates["m"]["ndcg"]
    assert replicates.shape == (200,)
    near = np.isclose(replicates[:, None], np.array(possible)[None], rtol=1e-12)
    assert near.any(axis=1).all()
    assert near[:, 4].mean() == pytest.approx(6 / 27, abs=0.09)  # each once: 3! of 3**3 orders
    assert near[:, 0].mean() == pytest.approx(1 / 27, abs=0.04)  # the first three times
    assert found.values["m"]["ndcg"] == pytest.approx(values.mean())
    assert (found.unit, found.units, found.rows) == ("user", 3, 6)
    interval = found.interval("m", "ndcg")
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(replicates, [0.025, 0.975])))


def test_few_users_with_several_cutoffs_are_resampled_by_row() -> None:
    several = frame([0.1, 0.2, 0.6, 0.9], [1, 1, 1, 2], cutoff=["a", "b", "c", "a"])
    assert (means({"m": several}, min_users=30).unit, means({"m": several}, min_users=30).units) == (
        "user-cutoff",
        4,
    )
    found = means({"m": several.filter(user=1)}, min_users=30)
    assert (found.unit, found.units) == ("user-cutoff", 3)
    assert found.interval("m", "ndcg").low < 0.3 < found.interval("m", "ndcg").high
    # the same cutoff for all is no second row: the users are what there is
    assert means({"m": frame([0.1, 0.4])}, min_users=30).unit == "user"


def test_one_row_has_a_value_and_no_bounds() -> None:
    interval = means({"m": frame([0.4])}).interval("m", "ndcg")
    assert interval.value == pytest.approx(0.4)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_differences_are_paired() -> None:
    random = np.random.default_rng(0)
    hard = random.random(300)
    systems = {
        "a": frame((hard + 0.02 + random.normal(0, 0.01, 300)).tolist()),
        "b": frame((hard + random.normal(0, 0.01, 300)).tolist()),
    }
    found = means(systems)
    assert found.difference("a", "a", "ndcg") == Interval(0.0, 0.0, 0.0)
    gain = found.difference("a", "b", "ndcg")
    assert gain.value == pytest.approx(0.02, abs=0.003)
    assert gain.excludes_zero
    assert (
        gain.high - gain.low < 0.01 < found.interval("a", "ndcg").high - found.interval("a", "ndcg").low
    )
    back = found.difference("b", "a", "ndcg")
    assert (-back.high, -back.low) == pytest.approx((gain.low, gain.high))


def test_rows_and_columns_may_come_in_any_order() -> None:
    random = np.random.default_rng(3)
    table = pl.DataFrame(
        {
            "user": [f"u{user}" for user in range(50)] * 2,
            "cutoff": [1] * 50 + [2] * 50,
            "ndcg": random.random(100),
            "hit": random.integers(0, 2, 100),
        }
    )
    other = table.sample(fraction=1, shuffle=True, seed=1).select("hit", "ndcg", "cutoff", "user")
    found = means({"one": table, "two": other})
    for metric in ("ndcg", "hit"):
        assert found.difference("one", "two", metric) == Interval(0.0, 0.0, 0.0)
    order = ["system", "metric"]
    turned = means({"one": other, "two": table})
    assert found.table().sort(order).equals(turned.table().sort(order))
    assert not found.table().equals(means({"one": table, "two": other}, seed=2).table())


def test_an_unknown_value_is_left_out_of_its_own_mean_only() -> None:
    systems = {
        "a": pl.DataFrame(
            {"user": range(4), "x": [1.0, None, 3.0, math.nan], "y": [1.0, 2.0, 3.0, 6.0]}
        ),
        "b": pl.DataFrame({"user": range(4), "x": [None] * 4, "y": [0.0, 0.0, 0.0, 0.0]}),
    }
    found = means(systems)
    assert found.values["a"] == pytest.approx({"x": 2.0, "y": 3.0})
    drawn = found.replicates["a"]["x"]
    assert set(np.round(drawn[np.isfinite(drawn)], 9)) <= {1.0, 1.5, 5 / 3, 2.0, 7 / 3, 2.5, 3.0} | {
        round(5 / 3, 9),
        round(7 / 3, 9),
    }
    assert np.isfinite(found.interval("a", "x").low)
    assert math.isnan(found.values["b"]["x"])
    assert math.isnan(found.difference("a", "b", "x").value)
    assert found.interval("b", "y") == Interval(0.0, 0.0, 0.0)


def test_tables_and_ratio() -> None:
    systems = {
        "a": frame([0.2, 0.4, 0.6], lift=[2.0, 4.0, 6.0]),
        "b": frame([0.1, 0.1, 0.1], lift=[1.0, 1.0, 1.0]),
    }
    found = means(systems)
    assert found.table().select("system", "metric").rows() == [
        ("a", "ndcg"),
        ("a", "lift"),
        ("b", "ndcg"),
        ("b", "lift"),
    ]
    against = found.against("b")
    assert against.select("system", "metric").rows() == [("a", "ndcg"), ("a", "lift")]
    assert against["value"].to_list() == pytest.approx([0.3, 3.0])
    ratio = found.ratio("a", "lift", "ndcg")  # ten times in every resample
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((10.0, 10.0, 10.0))


def test_coverage_of_users_seen_at_several_cutoffs() -> None:
    """Nominal 95 %: by user the truth is inside about that often, by row far less."""
    by_user = by_row = 0
    worlds = 150
    for seed in range(worlds):
        random = np.random.default_rng(seed)
        user = np.repeat(np.arange(50), 6)
        values = 0.5 + random.normal(0, 0.2, 50)[user] + random.normal(0, 0.1, len(user))
        table = frame(values.tolist(), user.tolist(), cutoff=np.tile(np.arange(6), 50))
        found = means({"m": table}, seed=seed).interval("m", "ndcg")
        by_user += found.low <= 0.5 <= found.high
        found = means({"m": table}, seed=seed, min_users=51).interval("m", "ndcg")
        by_row += found.low <= 0.5 <= found.high
    assert 0.89 <= by_user / worlds <= 0.99
    assert by_row / worlds < 0.75


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({}, "no system"),
        ({"a": frame([])}, "must be there"),
        ({"a": frame([0.1, 0.2], [1, 1])}, "distinct by user"),
        ({"a": frame([0.1, 0.2], [1, 1], cutoff=[3, 3])}, "distinct by user and cutoff"),
        ({"a": frame([0.1, 0.2]), "b": frame([0.1])}, "b has other users or cutoffs than a"),
        ({"a": frame([0.1]), "b": frame([0.1], [7])}, "b has other users"),
        ({"a": frame([0.1]), "b": frame([0.1], hit=[1.0])}, "b has columns"),
        ({"a": pl.DataFrame({"user": [1, None], "ndcg": [0.1, 0.2]})}, "without user or cutoff"),
    ],
)
def test_what_cannot_be_compared_is_refused(systems: dict[str, pl.DataFrame], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        means(systems)
