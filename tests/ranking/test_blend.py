"""The conditional logit: weights that are known, lists that count the same, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas.config import Models
from tasks.ranking import blend
from tasks.ranking.protocol import Column, Task

COLUMNS = tuple(Column(name, False) for name in ("a_standard", "b_standard", "user_plays", "a_score"))


def lists(seed: int, count: int, size: int = 20) -> pl.DataFrame:
    """One choice a list, by odds exp(a + (user_plays - 3) b / 2) of unheard, exp(1 + b) of heard."""
    rng = np.random.default_rng(seed)
    rows = count * size
    a, b = rng.normal(size=(2, rows))
    heard = np.tile(np.arange(size) < size // 4, count)
    plays = np.repeat(rng.uniform(1, 5, count), size)
    order = np.where(heard, 1 + b, a + (plays - 3) / 2 * b)
    chosen = (order + rng.gumbel(size=rows)).reshape(count, size).argmax(axis=1)
    return pl.DataFrame(
        {
            "list": np.repeat(np.arange(count), size),
            "heard": heard,
            "target": (np.arange(size) == chosen[:, None]).ravel(),
            "a_standard": a.astype(np.float32),
            "b_standard": b.astype(np.float32),
            "user_plays": plays.astype(np.float32),
            "a_score": rng.normal(size=rows).astype(np.float32),
        }
    )


def task(train: pl.DataFrame, validation: pl.DataFrame | None = None) -> Task:
    return Task(COLUMNS, train, validation, Models(), 1, group="list")


def fitted(given: Task) -> blend.Blend:
    model = blend.fit(given)
    assert isinstance(model, blend.Blend)
    return model


def test_finds_the_weights_that_made_the_choices() -> None:
    model = fitted(task(lists(1, 6_000)))
    expected = {
        "heard b_standard": 1.0,
        "unheard a_standard": 1.0,
        "heard": 1.0,
        "unheard b_standard x user_plays": 0.5,
    }
    assert model.facts["weights"] == pytest.approx(dict.fromkeys(model.names, 0.0) | expected, abs=0.1)


def test_validation_is_fitted_on_too_and_calibrates() -> None:
    train, validation = lists(2, 500), lists(3, 500)
    model = fitted(task(train, validation))
    assert model.lists == 1_000
    both = fitted(task(pl.concat([train, validation.with_columns(pl.col("list") + 500)])))
    assert model.weights == pytest.approx(both.weights)
    rate = model.score(validation).mean()
    assert rate == pytest.approx(validation["target"].mean(), rel=0.05)
    again = fitted(replace(task(train), like=model))
    assert again.calibration == model.calibration


def test_a_lists_rows_and_hits_do_not_make_it_louder() -> None:
    """The same choice written three times in one list, as three hits, is still one choice."""
    train = lists(4, 300)
    first = pl.col("list") < 150
    thrice = pl.concat([train.filter(first)] * 3).sort("list", maintain_order=True)
    louder = pl.concat([thrice, train.filter(~first)])
    assert fitted(task(louder)).weights == pytest.approx(fitted(task(train)).weights, abs=1e-3)


def test_lists_without_hits_teach_nothing() -> None:
    train = lists(5, 200)
    silent = lists(6, 50).with_columns(pl.col("list") + 200, target=pl.lit(False))
    more = fitted(task(pl.concat([train, silent])))
    assert more.lists == 200
    assert more.weights == fitted(task(train)).weights
    none = fitted(task(silent))
    assert not any(none.weights)


def test_a_missing_score_says_nothing_and_other_columns_are_not_read(tmp_path: Path) -> None:
    model = fitted(task(lists(7, 200)))
    frame = lists(8, 10)
    zero = frame.with_columns(a_standard=pl.lit(0.0, pl.Float32))
    null = frame.with_columns(a_standard=pl.lit(None, pl.Float32)).drop("a_score")
    np.testing.assert_array_equal(model.order(null), model.order(zero))
    model.save(tmp_path)
    np.testing.assert_array_equal(blend.load(tmp_path).score(frame), model.score(frame))


def test_contributions_are_told_by_retriever() -> None:
    model = fitted(task(lists(6, 300)))
    frame = lists(7, 30)
    told = model.contributions(frame)
    assert told.columns == ["a_standard", "b_standard", "heard", "rest"]
    np.testing.assert_allclose(told.sum_horizontal(), model.order(frame), atol=1e-12)
    silent = frame.with_columns(a_standard=pl.lit(None, pl.Float32))
    assert model.contributions(silent)["a_standard"].abs().max() == 0.0
