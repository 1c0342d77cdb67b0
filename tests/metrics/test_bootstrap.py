"""The bootstrap against resamples made by hand, scikit-learn's weights, and its promised coverage."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tasks.metrics.binary import METRICS, Interval, bin_codes, point
from tasks.metrics.bootstrap import Resampled, achieved_share, blocks, resample
from tasks.metrics.kernels import LANES, ranking_sums, weighted_sums


def one_model(
    target: np.ndarray,
    probability: np.ndarray,
    units: np.ndarray,
    *,
    resamples: int = 200,
    seed: int = 3,
) -> Resampled:
    return resample(
        target, {"m": probability}, {"m": 0.5}, units, resamples=resamples, bins=4, seed=seed
    )


def clustered(
    seed: int, users: int = 60, rows: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Rows whose score shifts by user; its pooled AUC is known: normal scores a unit apart."""
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(users, dtype=np.int32), rows)
    target = random.random(len(unit)) < 0.5
    score = target + random.normal(0, 0.8, users)[unit] + random.normal(0, 0.6, len(unit))
    auc = 0.5 * (1 + math.erf(1 / math.sqrt(2 * (0.8**2 + 0.6**2)) / math.sqrt(2)))
    return target, 1 / (1 + np.exp(-score)), unit, auc


# --- the compiled loops -----------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=50),
    st.integers(0, 10_000),
)
def test_weighted_ranking_equals_scikit_learn(rows: list[tuple[bool, int, int]], seed: int) -> None:
    target = np.array([row[0] for row in rows])
    score = np.array([row[1] / 6 for row in rows])
    block = np.array([row[2] for row in rows])
    weights = np.random.default_rng(seed).poisson(1.0, (5, LANES)).astype(np.uint8)
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    out = np.empty((2, LANES))
    ranking_sums((block[order] << 2) | (last << 1) | target[order], weights, out)
    for lane in range(LANES):
        weight = weights[block, lane].astype(float)
        if weight[target].sum() == 0 or weight[~target].sum() == 0:
            assert np.isnan(out[:, lane]).all()
            continue
        assert out[0, lane] == pytest.approx(
            roc_auc_score(target, score, sample_weight=weight), abs=1e-12
        )
        precision = average_precision_score(target, score, sample_weight=weight)
        assert out[1, lane] == pytest.approx(precision, abs=1e-12)


def test_weighted_sums_is_a_matrix_product() -> None:
    random = np.random.default_rng(0)
    sums, weights = random.normal(size=(37, 5)), random.poisson(1, (37, LANES)).astype(np.uint8)
    out = np.full((5, LANES), np.nan)
    weighted_sums(sums, weights, out)
    np.testing.assert_allclose(out, sums.T @ weights)


# --- resamples against resamples made by hand -------------------------------------------------


def test_every_resample_is_a_drawing_of_whole_blocks() -> None:
    """With three blocks there are ten possible resamples: each replicate must be one of them."""
    random = np.random.default_rng(5)
    unit = np.repeat(np.arange(3, dtype=np.int32), [7, 11, 5])
    probability = np.round(random.random(len(unit)), 1)
    target = random.random(len(unit)) < probability
    codes, _ = bin_codes(probability, 4)
    possible = []
    for drawn in itertools.combinations_with_replacement(range(3), 3):
        rows = np.concatenate([np.flatnonzero(unit == block) for block in drawn])
        values = point(target[rows], probability[rows], 0.5, 4)
        gaps = np.bincount(codes[rows], weights=(probability - target)[rows])  # the bins stay fixed
        values["ece"] = float(np.abs(gaps).sum() / len(rows))
        possible.append([values[metric] for metric in METRICS])
    replicates = one_model(target, probability, unit).replicates["m"].T
    assert replicates.shape == (200, len(METRICS))
    near = np.isclose(
        replicates[:, None, :], np.array(possible)[None], rtol=1e-9, atol=1e-12, equal_nan=True
    )
    matched = near.all(axis=2)
    assert (matched.sum(axis=1) >= 1).all()
    shares = matched.mean(axis=0)
    assert shares[4] == pytest.approx(6 / 27, abs=0.09)  # each block once: 3! of 3**3 orders
    assert shares[0] == pytest.approx(1 / 27, abs=0.04)  # the first block three times


def test_one_block_gives_values_and_no_bounds() -> None:
    target, probability, unit, _ = clustered(1, users=1, rows=50)
    found = one_model(target, probability, unit)
    np.testing.assert_allclose(
        found.replicates["m"],
        np.array([[found.points["m"][metric]] for metric in METRICS]) * np.ones(200),
        rtol=1e-12,
    )
    interval = found.interval("m", "log_loss")
    assert interval.value == pytest.approx(point(target, probability, 0.5, 4)["log_loss"])
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_a_window_with_one_class_has_no_ranking_but_all_else() -> None:
    _, probability, unit, _ = clustered(1)
    found = one_model(np.zeros(len(unit), dtype=bool), probability, unit).intervals("m")
    assert all(
        math.isnan(bound) for bound in (found["auc"].value, found["auc"].low, found["pr_auc"].high)
    )
    assert found["brier"].low < found["brier"].value < found["brier"].high
    assert found["recall"] == Interval(0.0, 0.0, 0.0)


# --- what an interval promises ----------------------------------------------------------------


def test_coverage_on_clustered_rows() -> None:
    """Nominal 95 %: by user the truth is inside about that often, by row far less."""
    by_user = {"auc": 0, "brier": 0}
    by_row = 0
    worlds = 100
    for seed in range(worlds):
        target, probability, unit, auc = clustered(seed)
        found = one_model(target, probability, unit, seed=seed).interval("m", "auc")
        by_user["auc"] += found.low <= auc <= found.high
        rows = np.arange(len(unit), dtype=np.int32)
        found = one_model(target, probability, rows, seed=seed).interval("m", "auc")
        by_row += found.low <= auc <= found.high
        # A constant forecast of .4 where users' rates are uniform: Brier is .5 × .16 + .5 × .36.
        random = np.random.default_rng(seed)
        labels = random.random(len(unit)) < random.random(60)[unit]
        found = one_model(labels, np.full(len(unit), 0.4), unit, seed=seed).interval("m", "brier")
        by_user["brier"] += found.low <= 0.26 <= found.high
    assert 0.90 <= by_user["auc"] / worlds <= 0.99
    assert 0.90 <= by_user["brier"] / worlds <= 0.99
    assert by_row / worlds < 0.85


def test_a_perfect_forecast_may_have_no_calibration_error() -> None:
    """Resampling adds its own noise to an absolute value: plain percentiles would exclude the truth."""
    for seed in range(10):
        random = np.random.default_rng(seed)
        probability = random.random(4000)
        unit = np.repeat(np.arange(400, dtype=np.int32), 10)
        found = one_model(random.random(4000) < probability, probability, unit).interval("m", "ece")
        assert 0.0 <= found.low < 0.005
        assert found.low <= found.value <= found.high < 0.06


def test_calibration_error_of_a_shifted_forecast_is_covered() -> None:
    inside = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        truth = random.random(4000) * 0.6
        unit = np.repeat(np.arange(400, dtype=np.int32), 10)
        found = one_model(random.random(4000) < truth, truth + 0.2, unit).interval("m", "ece")
        inside += found.low <= 0.2 <= found.high
    assert inside >= 36


# --- differences ------------------------------------------------------------------------------


def two_models(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(80, dtype=np.int32), 25)
    truth = random.beta(2, 3, len(unit))
    models = {
        "truth": truth,
        "twin": truth.copy(),
        "noisy": np.clip(truth + random.normal(0, 0.15, len(unit)), 0.01, 0.99),
        "base": np.full(len(unit), 0.4),
    }
    return random.random(len(unit)) < truth, models, unit


def resample_all(seed: int = 3) -> Resampled:
    target, models, unit = two_models()
    return resample(target, models, dict.fromkeys(models, 0.4), unit, resamples=300, bins=6, seed=seed)


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    found = resample_all()
    for metric in METRICS:
        assert found.difference("noisy", "noisy", metric) == Interval(0.0, 0.0, 0.0)
        assert found.difference("truth", "twin", metric) == Interval(0.0, 0.0, 0.0)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    found = resample_all()
    difference = found.difference("noisy", "truth", "log_loss")
    apart = found.interval("noisy", "log_loss"), found.interval("truth", "log_loss")
    assert difference.value == pytest.approx(apart[0].value - apart[1].value)
    assert difference.excludes_zero
    assert difference.low > 0
    independent = math.hypot(*(one.high - one.low for one in apart))
    assert difference.high - difference.low < 0.8 * independent
    turned = found.difference("truth", "noisy", "log_loss")
    assert (turned.low, turned.high) == pytest.approx((-difference.high, -difference.low))


def test_achieved_share_of_the_truth_is_one_and_of_the_baseline_zero() -> None:
    found = resample_all()
    assert achieved_share(found, "truth", "truth", "base") == Interval(1.0, 1.0, 1.0)
    assert achieved_share(found, "base", "truth", "base") == Interval(0.0, 0.0, 0.0)
    noisy = achieved_share(found, "noisy", "truth", "base")
    lift = found.points["noisy"]["auc"] - 0.5, found.points["truth"]["auc"] - 0.5
    assert noisy.value == pytest.approx(lift[0] / lift[1])
    assert 0.5 < noisy.low < noisy.value < noisy.high < 1.0
    assert math.isnan(achieved_share(found, "noisy", "base", "base").value)


# --- the same numbers again -------------------------------------------------------------------


def test_a_seed_decides_the_numbers_and_the_processors_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    first = resample_all().replicates
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    again = resample_all().replicates
    other = resample_all(seed=4).replicates
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert not np.array_equal(first["noisy"], other["noisy"])


def test_more_resamples_keep_the_first_ones() -> None:
    target, probability, unit, _ = clustered(2)
    few = one_model(target, probability, unit, resamples=100).replicates["m"]
    many = one_model(target, probability, unit, resamples=130).replicates["m"]
    assert few.shape[1] == 100
    np.testing.assert_array_equal(few, many[:, :100])


def test_the_order_of_rows_does_not_matter() -> None:
    target, probability, unit, _ = clustered(2)
    turned = np.random.default_rng(0).permutation(len(unit))
    np.testing.assert_allclose(
        one_model(target, probability, unit).replicates["m"],
        one_model(target[turned], probability[turned], unit[turned]).replicates["m"],
        rtol=1e-12,
    )


# --- what is resampled ------------------------------------------------------------------------


def test_many_users_are_resampled_as_users() -> None:
    codes, unit = blocks(np.array(["b", "a", "c", "a"]), None, min_users=3)
    assert (codes.tolist(), unit, codes.dtype) == ([1, 0, 2, 0], "user", np.int32)
    assert blocks(np.array([70, -1, 9, -1]), None, min_users=3)[0].tolist() == [2, 0, 1, 0]


def test_few_users_are_resampled_by_day() -> None:
    users = np.array(["me", "me", "you", "me", "me"], dtype=object)
    days = np.array(
        ["2024-03-01", "2024-03-02", "2024-03-01", "2024-03-01", "2024-05-01"], "datetime64[D]"
    )
    codes, unit = blocks(users, days, min_users=30)
    assert unit == "user-day"
    assert codes.tolist() == [0, 1, 3, 0, 2]


def test_few_users_without_a_clock_are_resampled_by_runs_of_rows() -> None:
    users = np.tile(np.array([1, 2]), 150)
    codes, unit = blocks(users, None, min_users=30)
    assert unit == "user-rows"
    assert codes[users == 1].tolist() == [0] * 100 + [1] * 50
    assert codes[users == 2].tolist() == [2] * 100 + [3] * 50


def test_columns_that_do_not_fit_are_refused() -> None:
    target, probability, unit, _ = clustered(0)
    with pytest.raises(ValueError, match="block codes"):
        one_model(target, probability, unit[1:])
    with pytest.raises(ValueError, match="2 users but 1 days"):
        blocks(np.array([1, 2]), np.array([5]), min_users=30)
    with pytest.raises(ValueError, match="no user"):
        blocks(np.array(["a", None], dtype=object), None, min_users=1)


def test_importing_loads_no_compiler() -> None:
    code = (
        "import sys, tasks.metrics.bootstrap, tasks.metrics.curves; "
        "assert not {'numba', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
