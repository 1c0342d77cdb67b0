"""Forests of bit masks against LightGBM's own predict: equal to the last bit, whatever the values."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from schemas.config import LightGBM, Models
from tasks.ranking import boosting, forest
from tasks.ranking.forest import Coded, Forest
from tasks.ranking.protocol import Column, Task

FEATURES = 4  # the last is a category
TINY = float(np.float32(1e-35))
# 0 and what LightGBM takes for it, what it does not, no number, and what no training row has
ODD = (0.0, -0.0, TINY, -TINY, 2e-35, -2e-35, np.nan, np.inf, -np.inf, 3e38, -3e38, 0.5, -0.5)
ODD_CATEGORIES = (-1.0, -0.5, 0.7, 12.0, 31.0, 32.0, 70.0, 1e6, 3e9, -3e9, np.nan, np.inf, -np.inf)

# A hand-written stump and a tree of three leaves that asks for a category: 1 or 33 go left.
TEXT = """tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=1

Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=1.5
decision_type={decision}
left_child=-1
right_child=-2
leaf_value=0.25 0.5
is_linear=0
shrinkage=1


Tree=1
num_leaves=3
num_cat=1
split_feature=1 0
threshold=0 -1
decision_type=1 2
left_child=1 -1
right_child=-2 -3
leaf_value=1 2 4
cat_boundaries=0 2
cat_threshold=2 2
is_linear=0
shrinkage=1


end of trees
"""


def coded(trees: Forest, matrix: np.ndarray[Any, Any], features: list[int]) -> Coded:
    codes = np.empty(matrix.shape, np.uint16)
    trees.code(np.asfortranarray(matrix, np.float32), features, codes)
    return Coded(np.array(features), codes)


def summed(trees: Forest, rows: Any) -> Any:
    matrix = np.array(rows, np.float32)
    return trees.sums(coded(trees, matrix, list(range(matrix.shape[1]))), (), 1)


@pytest.mark.parametrize(
    ("decision", "zero", "nothing"),
    [
        (0, 0.25, 0.25),  # nothing is missing: no number is 0, and 0 is up to 1.5
        (2, 0.25, 0.25),
        (4, 0.5, 0.5),  # 0 is missing, and what is missing goes right
        (6, 0.25, 0.25),
        (8, 0.25, 0.5),  # no number is missing
        (10, 0.25, 0.25),
    ],
)
def test_a_forest_by_hand(decision: int, zero: float, nothing: float) -> None:
    trees = forest.read(TEXT.format(decision=decision))
    rows = [(1.5, 0), (1.6, 1), (-2, 33), (0, 2), (np.nan, 2), (-1.0, 1.9), (2, np.nan), (2, -1)]
    assert_array_equal(
        summed(trees, rows),
        [0.25 + 2, 0.5 + 4, 0.25 + 1, zero + 2, nothing + 2, 0.25 + 1, 0.5 + 2, 0.5 + 2],
    )


def predicted(booster: lightgbm.Booster, matrix: np.ndarray[Any, Any]) -> Any:
    """From Arrow, as small frames are: as a matrix, what is nearly 0 would count as 0."""
    table = pl.DataFrame(matrix.astype(np.float32)).fill_nan(None).to_arrow()
    return np.asarray(booster.predict(table, raw_score=True))


def world(seed: int, rows: int, zeros: float, missing: float) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    matrix[rng.random(matrix.shape) < zeros] = 0
    matrix[rng.random(matrix.shape) < missing] = np.nan
    matrix[:, -1] = np.where(np.isnan(matrix[:, -1]), np.nan, rng.integers(0, 60, rows))
    return matrix


def grown(seed: int, trees: int = 4, **parameters: Any) -> lightgbm.Booster:
    """Fitted on an odd function of all features, of which the second misses nothing."""
    matrix = world(seed, 800, zeros=0.2, missing=0.2)
    matrix[:, 1] = np.nan_to_num(matrix[:, 1])
    whole = np.nan_to_num(matrix, nan=-0.7)
    target = np.sin(3 * whole[:, 0]) + whole[:, 1] * whole[:, 2] + (whole[:, 3] % 3 == 1)
    parameters = {
        "objective": "regression", "num_leaves": 31, "min_data_in_leaf": 2, "verbosity": -1,
        "num_threads": 1, "min_data_per_group": 2, "cat_smooth": 1.0, "max_cat_to_onehot": 2,
        "seed": seed, **parameters,
    }  # fmt: skip
    data = lightgbm.Dataset(matrix, target, categorical_feature=[FEATURES - 1], params={"verbosity": -1})
    return lightgbm.train(parameters, data, trees)


PARAMETERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero as missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "a leaf": {"min_data_in_leaf": 800},
    "stumps": {"num_leaves": 2, "trees": 70},  # in several blocks
    "a full word": {"num_leaves": 63},
    "two words": {"num_leaves": 64},
    "many words": {"num_leaves": 300, "trees": 9, "min_data_in_leaf": 1},
    "few bins": {"max_bin": 5},
    "many bins": {"max_bin": 2_000, "min_data_in_bin": 1, "num_leaves": 255, "min_data_in_leaf": 1},
    "one category each": {"max_cat_to_onehot": 100},
}


@cache
def known(name: str) -> tuple[lightgbm.Booster, Forest]:
    booster = grown(list(PARAMETERS).index(name), **PARAMETERS[name])
    return booster, forest.read(booster.model_to_string())


def values() -> st.SearchStrategy[list[list[float]]]:
    number = st.sampled_from(ODD) | st.floats(-4, 4, width=32) | st.floats(width=32)
    category = st.sampled_from(ODD_CATEGORIES) | st.integers(-2, 70).map(float)
    row = st.tuples(*[number] * (FEATURES - 1), category).map(list)
    return st.lists(row, min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(PARAMETERS)), values())
def test_any_values_by_lightgbm(name: str, rows: list[list[float]]) -> None:
    (booster, trees), matrix = known(name), np.array(rows, np.float32)
    assert_array_equal(summed(trees, matrix), predicted(booster, matrix))


@pytest.mark.parametrize("name", PARAMETERS)
def test_thresholds_and_their_neighbours(name: str) -> None:
    """Each side of every threshold there is."""
    booster, trees = known(name)
    matrix = world(20, 3_000, zeros=0.1, missing=0.1)
    rng = np.random.default_rng(0)
    for feature in range(FEATURES):
        edges = trees.edges[feature].values.astype(np.float32)
        if len(edges):
            above, below = (np.nextafter(edges, np.float32(way)) for way in (np.inf, -np.inf))
            matrix[::2, feature] = rng.choice([*edges, *above, *below], 1_500)
    assert_array_equal(summed(trees, matrix), predicted(booster, matrix))


@pytest.mark.parametrize("name", ["plain", "many words", "a leaf"])
@pytest.mark.parametrize("threads", [1, 3])
def test_sides_are_as_if_beside(name: str, threads: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(forest, "ROWS", 100)
    booster, trees = known(name)
    users, tracks = world(30, 7, 0.1, 0.1), world(31, 90, 0.1, 0.1)
    rng = np.random.default_rng(0)
    user, track = (rng.integers(0, size, 1_003).astype(np.int32) for size in (7, 90))
    pairs = world(32, 1_003, 0.1, 0.1)
    beside = np.column_stack([pairs[:, 0], users[user, 1], tracks[track, 2], tracks[track, 3]])
    expected = predicted(booster, beside)
    of_users, of_tracks = coded(trees, users[:, 1:2], [1]), coded(trees, tracks[:, 2:], [2, 3])
    own = coded(trees, pairs[:, :1], [0])
    assert_array_equal(trees.sums(own, [(of_users, user), (of_tracks, track)], threads), expected)
    nothing = Coded(np.empty(0, np.int64), np.empty((1_003, 0), np.uint16))
    bare = coded(trees, beside[:, :2], [0, 1])
    rows = np.arange(1_003, dtype=np.int32)
    assert_array_equal(trees.sums(nothing, [(bare, rows), (of_tracks, track)], threads), expected)


def test_only_the_best_trees_count() -> None:
    booster = grown(12, trees=10)
    booster.best_iteration = 3
    matrix = world(21, 500, 0.1, 0.1)
    found = summed(forest.read(booster.model_to_string()), matrix)
    assert_array_equal(found, predicted(booster, matrix))
    booster.best_iteration = 10
    assert (found != predicted(booster, matrix)).mean() > 0.9


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "regression", "linear_tree": True},
        {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    ],
)
def test_other_boosters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a forest"):
        forest.read(grown(1, **parameters).model_to_string())


def test_a_model_scores_large_tables_as_small_ones(tmp_path: Any, monkeypatch: Any) -> None:
    """By the forest and by LightGBM, beside and apart, fitted and loaded."""
    rng = np.random.default_rng(3)
    users = pl.DataFrame({"user_id": [f"u{n}" for n in range(40)], "mood": rng.normal(size=40)})
    tracks = pl.DataFrame(
        {
            "track_id": [f"t{n}" for n in range(60)],
            "kind": ["song", "noise", None] * 20,
            "taste": rng.normal(size=60),
        }
    )
    pairs = pl.DataFrame(
        {
            "user": np.sort(rng.integers(0, 40, 3_000)).astype(np.int32),
            "track": rng.integers(0, 60, 3_000).astype(np.int32),
            "affinity": rng.normal(size=3_000),
        }
    ).with_columns(affinity=pl.when(pl.col("affinity") < 1).then("affinity"))
    frame = pl.concat(
        [pairs, users.drop("user_id")[pairs["user"]], tracks.drop("track_id")[pairs["track"]]],
        how="horizontal",
    )
    target = (pl.col("affinity").fill_null(1) + pl.col("mood") > 0) & (pl.col("kind") == "song")
    frame = frame.with_columns(target=target.fill_null(False))
    columns = (*(Column(name, False) for name in ("taste", "affinity", "mood")), Column("kind", True))
    grown = LightGBM(max_trees=20, num_leaves=15, min_data_in_leaf=5, early_stopping=0)
    task = Task(columns, frame, None, Models(lightgbm=grown), threads=2)
    model: Any = boosting.fit(task)
    expected = model.order(frame)
    assert len(np.unique(expected)) > 100
    assert_array_equal(model.order_apart(pairs, users, tracks), expected)
    monkeypatch.setattr(boosting, "FEW", 0)
    monkeypatch.setattr(boosting, "CHUNK", 700)
    monkeypatch.setattr(boosting, "SHARE", 300)
    model.save(tmp_path)
    loaded: Any = boosting.load(tmp_path)
    for each in (replace(model), loaded):
        assert_array_equal(each.order(frame), expected)
        assert_array_equal(each.order_apart(pairs, users, tracks), expected)
        assert each.order(frame.clear()).shape == (0,)
        assert each.order_apart(pairs.clear(), users, tracks).shape == (0,)
    # of a single user nothing varies: the model reads no column of theirs
    alone: Any = boosting.fit(replace(task, columns=columns[:2]))
    for few in (0, 1_000_000):
        monkeypatch.setattr(boosting, "FEW", few)
        assert_array_equal(alone.order_apart(pairs, users, tracks), alone.order(frame))
