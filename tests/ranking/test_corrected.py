"""Trees that start from the blend learn what it leaves open, and a part of that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from schemas.config import LightGBM, Models
from tasks.ranking import blend, corrected
from tasks.ranking.protocol import REST, Apart, Column, Task

COLUMNS = (
    *(Column(name, False) for name in ("a_standard", "user_plays", "track_year", "user_age")),
    Column("heard", False),
)
TREES = LightGBM(max_trees=60, num_leaves=4, min_data_in_leaf=20, early_stopping=10)


def world(seed: int, count: int) -> pl.DataFrame:
    """Of each list's 20 candidates one is played: by what a retriever says, and if it is new enough.

    The blend can know the first alone, and trees both.
    """
    rng = np.random.default_rng(seed)
    rows = count * 20
    says, year = rng.normal(size=rows), rng.integers(1970, 2020, rows)
    order = 1.5 * says + 1.5 * (year > 1995)
    chosen = (order + rng.gumbel(size=rows)).reshape(count, 20).argmax(axis=1)
    return pl.DataFrame(
        {
            "list": np.repeat(np.arange(count), 20),
            "heard": np.zeros(rows, bool),
            "target": (np.arange(20) == chosen[:, None]).ravel(),
            "a_standard": says.astype(np.float32),
            "user_plays": np.repeat(rng.uniform(1, 5, count), 20).astype(np.float32),
            "track_year": year.astype(np.float32),
            "user_age": np.repeat(rng.integers(18, 60, count), 20).astype(np.float32),
        }
    )


TRAIN, VALIDATION, LATER = world(1, 300), world(2, 150), world(3, 300)


def task(share: float) -> Task:
    settings = Models(lightgbm=TREES, correction=share)
    return Task(COLUMNS, TRAIN, VALIDATION, settings, 1, group="list")


def fitted(share: float) -> corrected.Corrected:
    model = corrected.fit(task(share))
    assert isinstance(model, corrected.Corrected)
    return model


@pytest.fixture(scope="module")
def half() -> corrected.Corrected:
    return fitted(0.5)


def quality(order: np.ndarray) -> float:
    return float(roc_auc_score(LATER["target"], order))


def test_it_knows_more_than_the_blend(half: corrected.Corrected) -> None:
    alone = blend.fit(task(0.5))
    assert isinstance(alone, blend.Blend)
    assert quality(half.order(LATER)) > quality(alone.order(LATER)) + 0.02
    # what trees add says nothing of the retriever: the blend has told that
    gain = half.trees.importance().row(0, named=True)
    assert gain["feature"] == "track_year"


def test_without_corrections_it_is_the_blend() -> None:
    none = fitted(0.0)
    order = blend.fit(task(0.0)).order(LATER)  # type: ignore[attr-defined]
    np.testing.assert_allclose(none.order(LATER), none.slope * order + none.constant)
    assert none.slope > 0


def test_a_share_of_the_trees_counts(half: corrected.Corrected) -> None:
    none, whole = fitted(0.0).order(LATER), fitted(1.0).order(LATER)
    np.testing.assert_allclose(half.order(LATER), (none + whole) / 2)


def test_probabilities_are_calibrated_on_validation(half: corrected.Corrected) -> None:
    assert half.score(VALIDATION).mean() == pytest.approx(1 / 20, rel=0.1)
    assert half.score(LATER).mean() == pytest.approx(1 / 20, rel=0.15)


def test_contributions_of_one_column_in_both_parts_add_up(half: corrected.Corrected) -> None:
    told = half.contributions(LATER)
    assert told.columns == ["a_standard", "heard", "user_plays", "track_year", "user_age", REST]
    np.testing.assert_allclose(told.sum_horizontal(), half.order(LATER), atol=1e-9)
    spread = told.drop(REST).select(pl.all().std()).row(0, named=True)
    assert sorted(spread, key=lambda name: spread[name])[-2:] == ["track_year", "a_standard"]


def test_a_refit_takes_over_trees_and_calibration(half: corrected.Corrected) -> None:
    refit = corrected.fit(replace(task(0.5), train=LATER, validation=None, like=half))
    assert isinstance(refit, corrected.Corrected)
    assert refit.trees.facts["trees"] == half.trees.facts["trees"]
    assert refit.calibration == half.calibration
    assert refit.blend.weights != half.blend.weights


def test_order_of_sides_that_lie_apart(half: corrected.Corrected, tmp_path: Path) -> None:
    assert isinstance(half, Apart)
    users = LATER.unique("list", keep="first", maintain_order=True).select("user_plays", "user_age")
    tracks = pl.DataFrame({"track_year": np.arange(1970, 2020, dtype=np.float32)})
    pairs = LATER.select(
        pl.col("list").cast(pl.Int32).alias("user"),
        (pl.col("track_year") - 1970).cast(pl.Int32).alias("track"),
        "heard",
        "a_standard",
    )
    np.testing.assert_allclose(half.order_apart(pairs, users, tracks), half.order(LATER), rtol=1e-12)
    half.save(tmp_path)
    again = corrected.load(tmp_path)
    np.testing.assert_array_equal(again.score(LATER), half.score(LATER))
