"""One contract for every ranker: a planted signal is found, and nothing else makes a difference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import roc_auc_score

from schemas.config import LightGBM, Models
from tasks.ranking import RANKERS
from tasks.ranking.protocol import REST, Column, Ranker, Task

RATES = ("track_completion_rate", "artist_completion_rate")
COLUMNS = (
    *(Column(name, False) for name in (*RATES, "noise", "gap_minutes", "constant", "nothing")),
    Column("platform", True),
    Column("country", True),
)
SETTINGS = Models(
    lightgbm=LightGBM(
        max_trees=200, num_leaves=7, learning_rate=0.1, early_stopping=10, min_data_in_leaf=10
    )
)
AUC = {
    "base_rate": (0.5, 0.5), "heuristic": (0.7, 1), "logistic": (0.75, 1), "lightgbm": (0.75, 1),
    "lambdamart": (0.75, 1), "corrected": (0.75, 1),
    "blend": (0.5, 0.5),  # which reads what retrievers say, and here none does
}  # fmt: skip


def world(seed: int, rows: int) -> pl.DataFrame:
    """The rate of a track is half of the truth, a category and a missing number the rest."""
    rng = np.random.default_rng(seed)
    track = rng.uniform(0.05, 0.95, rows)
    platform = rng.choice(["ios", "web", "tv"], rows, p=[0.6, 0.39, 0.01])
    gap = rng.exponential(3, rows)
    missing = rng.random(rows) < 0.3
    odds = 4 * (track - 0.5) + np.where(platform == "web", 1.5, 0) + np.where(missing, -1.0, 0)
    frame = pl.DataFrame(
        {
            "track_completion_rate": track,
            "artist_completion_rate": np.clip(track + rng.normal(0, 0.1, rows), 0, 1),
            "noise": rng.normal(size=rows),
            "gap_minutes": gap,
            "constant": np.full(rows, 3.0),
            "nothing": pl.Series([None] * rows, dtype=pl.Float32),
            "platform": platform,
            "country": rng.choice(["DE", "SE"], rows),
            "target": rng.random(rows) < 1 / (1 + np.exp(-odds)),
            "list": np.arange(rows, dtype=np.int64) // 20,
        }
    )
    unknown = pl.Series(missing)
    return frame.with_columns(
        pl.when(~unknown).then("gap_minutes").alias("gap_minutes"),
        pl.when(pl.col("noise") > -1).then("country").alias("country"),
        pl.when(pl.col("noise") < 1.5).then("artist_completion_rate").alias("artist_completion_rate"),
    ).with_columns(pl.col(pl.Float64).cast(pl.Float32), pl.col(pl.String).cast(pl.Categorical))


TRAIN, VALIDATION, HOLDOUT = world(1, 2_000), world(2, 800), world(3, 1_000)
TASK = Task(COLUMNS, TRAIN, VALIDATION, SETTINGS, threads=1, group="list")


@pytest.fixture(scope="module", params=RANKERS)
def name(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


@pytest.fixture(scope="module")
def model(name: str) -> Ranker:
    return RANKERS[name].fit(TASK)


LIST_RANKERS = ("logistic", "lightgbm", "lambdamart", "corrected")


@pytest.mark.parametrize("ranker", LIST_RANKERS)
def test_lists_are_sorted_by_what_probabilities_grow_with(ranker: str) -> None:
    model: Any = RANKERS[ranker].fit(TASK)
    order = model.order(HOLDOUT)
    assert_array_equal(model.probability(order), model.score(HOLDOUT))
    assert (np.diff(model.probability(np.sort(order))) >= 0).all()
    assert len(np.unique(order)) >= len(np.unique(model.score(HOLDOUT)))


@pytest.mark.parametrize("ranker", [*LIST_RANKERS, "blend"])
def test_contributions_add_up_to_the_order(ranker: str) -> None:
    model: Any = RANKERS[ranker].fit(TASK)
    told = model.contributions(HOLDOUT)
    assert set(told.schema.values()) == {pl.Float64()}
    assert told.columns[-1] == REST
    np.testing.assert_allclose(told.sum_horizontal(), model.order(HOLDOUT), rtol=1e-9, atol=1e-9)
    assert model.contributions(HOLDOUT.clear()).shape == (0, told.width)
    if ranker != "blend":  # which reads none of these
        spread = told.drop(REST).select(pl.all().std()).row(0, named=True)
        assert max(spread, key=lambda name: spread[name]) == "track_completion_rate"
        assert spread["platform"] > spread["country"]


def test_the_contract_names_every_ranker() -> None:
    assert AUC.keys() == RANKERS.keys()


def test_a_planted_signal_is_found(name: str, model: Ranker) -> None:
    low, high = AUC[name]
    assert low <= roc_auc_score(HOLDOUT["target"], model.score(HOLDOUT)) <= high


def test_scores_are_probabilities(name: str, model: Ranker) -> None:
    score = model.score(HOLDOUT)
    assert score.shape == (HOLDOUT.height,)
    assert score.dtype == np.float64
    assert np.isfinite(score).all()
    assert ((score >= 0) & (score <= 1)).all()
    if name != "heuristic":  # a rule of thumb is not fitted
        assert score.mean() == pytest.approx(HOLDOUT["target"].mean(), abs=0.05)


def test_the_base_rate_is_the_training_rate() -> None:
    score = RANKERS["base_rate"].fit(TASK).score(HOLDOUT)
    assert set(score) == {TRAIN["target"].mean()}


def test_the_heuristic_is_the_weighted_rate() -> None:
    """.65 and .35; the other where one is unknown; the training rate where both are."""
    frame = pl.DataFrame(
        {
            "track_completion_rate": [0.8, 0.8, None, None],
            "artist_completion_rate": [0.4, None, 0.4, None],
        },
        schema=dict.fromkeys(RATES, pl.Float32),
    )
    score = RANKERS["heuristic"].fit(TASK).score(frame)
    assert score.tolist() == pytest.approx([0.66, 0.8, 0.4, TRAIN["target"].mean()], rel=1e-6)


def test_the_heuristic_takes_the_rates_of_the_target() -> None:
    """Repeat rates before completion rates; without either the training rate."""
    both = tuple(
        Column(f"{key}_{kind}_rate", False)
        for key in ("track", "artist")
        for kind in ("completion", "repeat")
    )
    frame = pl.DataFrame({"track_repeat_rate": [1.0], "artist_repeat_rate": [0.0]})
    assert RANKERS["heuristic"].fit(replace(TASK, columns=both)).score(frame) == pytest.approx(0.65)
    bare = RANKERS["heuristic"].fit(replace(TASK, columns=(Column("noise", False),)))
    assert bare.score(HOLDOUT)[0] == pytest.approx(TRAIN["target"].mean())


def test_the_same_seed_gives_the_same_numbers(name: str, model: Ranker) -> None:
    assert_array_equal(RANKERS[name].fit(TASK).score(HOLDOUT), model.score(HOLDOUT))


def test_a_saved_model_scores_the_same_and_needs_no_pickle(
    name: str, model: Ranker, tmp_path: Path
) -> None:
    model.save(tmp_path)
    assert_array_equal(RANKERS[name].load(tmp_path).score(HOLDOUT), model.score(HOLDOUT))
    for path in (each for each in tmp_path.rglob("*") if each.is_file()):
        assert path.suffix in (".json", ".txt")
        assert b"\x80" not in path.read_bytes()[:1]  # how a pickle begins
        path.read_text(encoding="utf-8")


def test_facts_are_json_and_survive(name: str, model: Ranker, tmp_path: Path) -> None:
    model.save(tmp_path)
    assert json.loads(json.dumps(model.facts)) == json.loads(
        json.dumps(RANKERS[name].load(tmp_path).facts)
    )


def test_rows_are_scored_each_on_its_own(name: str, model: Ranker) -> None:
    """In any order, and one at a time; to the last digits, which a matrix product may round."""
    score = model.score(HOLDOUT)
    order = np.random.default_rng(0).permutation(HOLDOUT.height)
    np.testing.assert_allclose(model.score(HOLDOUT[order]), score[order], rtol=1e-12)
    for row in (0, 7):
        np.testing.assert_allclose(model.score(HOLDOUT[row : row + 1]), score[row], rtol=1e-12)
    assert model.score(HOLDOUT.head(0)).shape == (0,)


def test_columns_are_found_by_name(name: str, model: Ranker) -> None:
    turned = HOLDOUT.select(reversed(HOLDOUT.columns)).with_columns(other=pl.lit("unused"))
    assert_array_equal(model.score(turned), model.score(HOLDOUT))
    assert_array_equal(model.score(HOLDOUT.drop("target")), model.score(HOLDOUT))


def test_texts_may_be_strings(name: str, model: Ranker) -> None:
    """A frame from elsewhere (MLflow's pandas) has no categoricals."""
    plain = HOLDOUT.with_columns(pl.col(pl.Categorical).cast(pl.String))
    assert_array_equal(model.score(plain), model.score(HOLDOUT))


def test_what_training_never_saw_is_scored(name: str, model: Ranker) -> None:
    """Unseen categories (all alike), none at all, and no number known."""
    row = HOLDOUT.head(1)
    unseen, other, none = (
        row.with_columns(platform=pl.lit(value, pl.String), country=pl.lit(value, pl.String))
        for value in ("fridge", "toaster", None)
    )
    blank = none.with_columns(pl.lit(None, pl.Float32).alias(c.name) for c in COLUMNS if not c.category)
    scores = [model.score(frame)[0] for frame in (unseen, other, none, blank)]
    assert np.isfinite(scores).all()
    assert scores[0] == scores[1]
    assert all(0 <= score <= 1 for score in scores)


def test_columns_without_information_change_nothing(name: str, model: Ranker) -> None:
    kept = tuple(column for column in COLUMNS if column.name not in ("constant", "nothing"))
    assert_array_equal(
        RANKERS[name].fit(replace(TASK, columns=kept)).score(HOLDOUT), model.score(HOLDOUT)
    )
    other = HOLDOUT.with_columns(constant=pl.lit(99.0), nothing=pl.lit(1.0, pl.Float32))
    assert_array_equal(model.score(other), model.score(HOLDOUT))


@pytest.mark.parametrize("kept", [("platform", "country"), ("noise", "track_completion_rate")])
def test_columns_of_one_kind_are_enough(name: str, kept: tuple[str, ...]) -> None:
    columns = tuple(column for column in COLUMNS if column.name in kept)
    score = RANKERS[name].fit(replace(TASK, columns=columns)).score(HOLDOUT)
    low = 0.6 if name in ("logistic", "lightgbm") else 0.5
    assert roc_auc_score(HOLDOUT["target"], score) >= low


def test_validation_targets_reach_training_only_by_size_and_calibration(name: str) -> None:
    """With shuffled validation targets the order of a fitted model's scores is still the signal's."""
    shuffled = VALIDATION.with_columns(pl.col("target").shuffle(seed=1))
    score = RANKERS[name].fit(replace(TASK, validation=shuffled)).score(HOLDOUT)
    assert np.isfinite(score).all()
    if name in ("base_rate", "heuristic", "logistic"):
        assert_array_equal(score, RANKERS[name].fit(TASK).score(HOLDOUT))


def test_a_refit_takes_over_size_and_calibration(name: str, model: Ranker) -> None:
    everything = pl.concat([TRAIN, VALIDATION])
    again = RANKERS[name].fit(replace(TASK, train=everything, validation=None, like=model))
    low, high = AUC[name]
    assert low <= roc_auc_score(HOLDOUT["target"], again.score(HOLDOUT)) <= high
    if name == "lightgbm":
        assert again.facts["trees"] == model.facts["trees"] < SETTINGS.lightgbm.max_trees
        assert again.calibration == model.calibration  # type: ignore[attr-defined]
    if "training_rows" in again.facts:
        assert again.facts["training_rows"] == everything.height


def test_lightgbm_without_early_stopping_grows_every_tree() -> None:
    lightgbm = SETTINGS.lightgbm.model_copy(update={"early_stopping": 0, "max_trees": 12})
    task: Any = replace(TASK, settings=SETTINGS.model_copy(update={"lightgbm": lightgbm}))
    assert RANKERS["lightgbm"].fit(task).facts["trees"] == 12


def test_lightgbm_importance_finds_the_planted_columns() -> None:
    model: Any = RANKERS["lightgbm"].fit(TASK)
    importance = model.importance()
    assert importance["feature"][0] == "track_completion_rate"
    assert importance["gain"].is_sorted(descending=True)
    assert {"constant", "nothing"}.isdisjoint(importance["feature"])


def test_logistic_regression_uses_the_newest_rows() -> None:
    settings = SETTINGS.model_copy(
        update={"logistic": SETTINGS.logistic.model_copy(update={"max_rows": 500})}
    )
    newest: Any = RANKERS["logistic"].fit(replace(TASK, settings=settings))
    alone: Any = RANKERS["logistic"].fit(replace(TASK, train=TRAIN.tail(500)))
    assert newest.rows == 500
    assert_array_equal(newest.score(HOLDOUT), alone.score(HOLDOUT))
