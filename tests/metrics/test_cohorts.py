"""Cohorts by hand, the pooling of small ones, and mistakes in order of confidence."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tasks.metrics.cohorts import cohorts, confident_mistakes, worst


def told(per_user: pl.DataFrame, attributes: pl.DataFrame, smallest: int = 10) -> pl.DataFrame:
    return cohorts(per_user, attributes, resamples=200, seed=1, smallest=smallest)


def people(users: int = 60) -> pl.DataFrame:
    return pl.DataFrame({"user": range(users), "ndcg": np.arange(users) / 100})


def test_means_intervals_and_order_by_hand() -> None:
    per_user = people(60)
    attributes = pl.DataFrame(
        {
            "user": range(60),
            "country": ["SE"] * 15 + ["DE"] * 25 + [None] * 12 + ["FR"] * 5 + ["NO"] * 3,
        }
    )
    found = told(per_user, attributes, smallest=8)
    assert found.columns == ["attribute", "cohort", "metric", "users", "value", "low", "high"]
    assert found.select("attribute", "cohort", "users").rows() == [
        ("all", "all", 60),
        ("country", "DE", 25),
        ("country", "SE", 15),
        ("country", "unknown", 12),
        ("country", "too few", 8),
    ]
    assert found["value"].to_list() == pytest.approx([0.295, 0.27, 0.07, 0.455, 0.555])
    assert ((found["low"] < found["value"]) & (found["value"] < found["high"])).all()


def test_a_pool_that_is_still_too_small_tells_nothing() -> None:
    attributes = pl.DataFrame({"user": range(60), "gender": ["f"] * 55 + ["m"] * 3 + ["x"] * 2})
    found = told(people(), attributes)
    assert found.row(-1) == ("gender", "too few", "ndcg", 5, None, None, None)
    assert found["cohort"].to_list() == ["all", "f", "too few"]


def test_age_bands() -> None:
    ages = [17, 18, 24, 25, 34, 44, 45, 54, 55, 74, None]
    per_user = people(11)
    found = told(per_user, pl.DataFrame({"user": range(11), "age": ages}), smallest=1)
    bands = found.filter(attribute="age").select("cohort", "users").rows()
    assert bands == [
        ("under 18", 1),
        ("18–24", 2),
        ("25–34", 2),
        ("35–44", 1),
        ("45–54", 2),
        ("55 and over", 2),
        ("unknown", 1),
    ]


def test_amounts_are_cut_at_quantiles_of_what_is_given() -> None:
    activity = [1] * 10 + [2] * 10 + [3] * 5 + [7] * 5 + [1_500_000] * 10
    found = told(people(40), pl.DataFrame({"user": range(40), "activity": activity}), smallest=1)
    bands = found.filter(attribute="activity").select("cohort", "users").rows()
    assert bands == [("1", 10), ("2", 10), ("3–7", 10), ("1500000", 10)]
    same = told(people(40), pl.DataFrame({"user": range(40), "tenure": [5] * 40}))
    assert same.filter(attribute="tenure").select("cohort", "users").rows() == [("5", 40)]
    none = told(people(40), pl.DataFrame({"user": range(40), "tenure": [None] * 40}))
    assert none.filter(attribute="tenure").select("cohort", "users").rows() == [("unknown", 40)]


def test_attributes_may_change_with_the_cutoff() -> None:
    per_user = pl.DataFrame(
        {
            "user": [*range(10), *range(10)],
            "cutoff": [1] * 10 + [2] * 10,
            "ndcg": [0.2] * 10 + [0.4] * 10,
        }
    )
    kind = ["new"] * 10 + ["old"] * 10
    attributes = per_user.select("user", "cutoff").with_columns(kind=pl.Series(kind))
    found = told(per_user, attributes.sample(fraction=1, shuffle=True, seed=3))
    assert found.select("cohort", "users").rows() == [("all", 10), ("new", 10), ("old", 10)]
    assert found["value"].to_list() == pytest.approx([0.3, 0.2, 0.4])
    fixed = told(per_user, pl.DataFrame({"user": range(10), "kind": ["a"] * 10}))
    assert fixed["value"].to_list() == pytest.approx([0.3, 0.3])


def test_users_without_attributes_are_unknown_and_attributes_come_once() -> None:
    found = told(people(20), pl.DataFrame({"user": range(10), "country": ["SE"] * 10}))
    assert found.select("cohort", "users").rows() == [("all", 20), ("SE", 10), ("unknown", 10)]
    with pytest.raises(ValueError, match="one row per user"):
        told(people(20), pl.DataFrame({"user": [1, 1], "country": ["SE", "DE"]}))


def test_an_attribute_may_be_called_like_a_metric() -> None:
    found = told(people(20), pl.DataFrame({"user": range(20), "ndcg": ["a"] * 20}))
    assert found.select("attribute", "cohort", "metric").rows()[1] == ("ndcg", "a", "ndcg")


def test_the_worst_cohorts_first() -> None:
    random = np.random.default_rng(0)
    kinds = ["good"] * 40 + ["bad"] * 40 + ["middling"] * 40 + ["rare"] * 2
    level = {"good": 0.8, "bad": 0.2, "middling": 0.5, "rare": 0.0}
    values = [level[kind] + random.normal(0, 0.05) for kind in kinds]
    per_user = pl.DataFrame({"user": range(122), "ndcg": values, "hit": [1.0] * 122})
    found = told(per_user, pl.DataFrame({"user": range(122), "kind": kinds}))
    bottom = worst(found, "ndcg", 2)
    assert bottom["cohort"].to_list() == ["bad", "middling"]
    assert bottom["below"].to_list() == [True, False]
    assert bottom["overall"].to_list() == pytest.approx([per_user["ndcg"].mean()] * 2)
    assert worst(found, "hit", 9)["below"].to_list() == [False] * 3


LISTS = pl.DataFrame(
    [
        (1, 10, 1, 0.9),
        (1, 11, 2, 0.8),
        (2, 10, 1, 0.95),
        (2, 12, 2, 0.3),
        (3, 10, 1, 0.8),
        (3, 9, 2, 0.8),
    ],
    {"user": pl.Int32, "track": pl.Int32, "rank": pl.Int32, "probability": pl.Float64},
    orient="row",
)
PLAYED = pl.DataFrame({"user": [1, 2], "track": [10, 12]}, schema={"user": pl.Int32, "track": pl.Int32})


def test_mistakes_in_order_of_confidence() -> None:
    found = confident_mistakes(LISTS.sample(fraction=1, shuffle=True, seed=1), PLAYED, 3)
    assert found.rows() == [
        (2, 10, 1, 0.95, False),
        (3, 10, 1, 0.8, True),  # 3 played nothing at all
        (1, 11, 2, 0.8, False),
    ]
    assert confident_mistakes(LISTS, PLAYED, 99).height == 4
    assert confident_mistakes(LISTS.clear(), PLAYED, 3).height == 0
    assert confident_mistakes(LISTS, PLAYED.clear(), 9).height == 6


def test_mistakes_need_probabilities_and_distinct_pairs() -> None:
    with pytest.raises(ValueError, match="no probability"):
        confident_mistakes(LISTS.with_columns(probability=None), PLAYED, 3)
    with pytest.raises(ValueError, match="must be distinct"):
        confident_mistakes(pl.concat([LISTS, LISTS.head(1)]), PLAYED, 3)
