"""Point values against answers worked by hand, and the fitted threshold against a plain search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics.binary import METRICS, Interval, best_threshold, bin_codes, calibration_error, point

TARGET = np.array([True, False, True, False, True])
PROBABILITY = np.array([0.9, 0.8, 0.6, 0.4, 0.2])


def test_every_metric_by_hand() -> None:
    found = point(TARGET, PROBABILITY, threshold=0.5, bins=5)
    assert tuple(found) == METRICS
    assert found["auc"] == pytest.approx(3 / 6)  # of 6 pairs: .9 beats both, .6 beats .4, .2 none
    assert found["pr_auc"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert found["log_loss"] == pytest.approx(-math.log(0.9 * 0.2 * 0.6 * 0.6 * 0.2) / 5)
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.16 + 0.16 + 0.64) / 5)
    assert found["ece"] == pytest.approx((0.1 + 0.8 + 0.4 + 0.4 + 0.8) / 5)  # a bin for each row
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)


def test_a_row_at_the_threshold_is_called_positive() -> None:
    assert point(TARGET, PROBABILITY, threshold=0.2, bins=2)["recall"] == 1.0


def test_calibration_error_by_hand_in_two_bins() -> None:
    target = np.array([False, False, True, True])
    # Lower bin: mean forecast .2, rate 0; upper bin: mean forecast .7, rate 1.
    assert calibration_error(target, np.array([0.1, 0.3, 0.6, 0.8]), 2) == pytest.approx(
        0.2 / 2 + 0.3 / 2
    )


def test_a_certain_wrong_forecast_costs_a_bounded_log_loss() -> None:
    found = point(np.array([True, False]), np.array([0.0, 0.0]), 0.5, 2)["log_loss"]
    assert found == pytest.approx(-math.log(1e-15) / 2)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_leaves_only_the_rankings_undefined(label: bool) -> None:
    found = point(np.full(5, label), PROBABILITY, threshold=0.5, bins=3)
    assert math.isnan(found.pop("auc"))
    assert math.isnan(found.pop("pr_auc"))
    assert all(math.isfinite(value) for value in found.values())
    assert found["accuracy"] == pytest.approx(3 / 5 if label else 2 / 5)
    assert found["recall"] == pytest.approx(3 / 5 if label else 0.0)


def test_calling_nothing_positive_is_zero_and_not_an_error() -> None:
    found = point(TARGET, PROBABILITY, threshold=0.95, bins=3)
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("target", "probability", "message"),
    [
        (np.array([1, 0]), np.array([0.5, 0.5]), "must be bool"),
        (np.array([True]), np.array([0.5, 0.5]), "equal, non-empty"),
        (np.array([], dtype=bool), np.array([]), "equal, non-empty"),
        (np.array([True, False]), np.array([0.5, np.nan]), "outside"),
        (np.array([True, False]), np.array([0.5, 1.01]), "outside"),
    ],
)
def test_what_is_no_forecast_is_refused(
    target: np.ndarray, probability: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        point(target, probability, 0.5, 5)


def test_bins_hold_equal_counts_and_equal_forecasts_share_one() -> None:
    codes, count = bin_codes(np.random.default_rng(0).random(1000), 10)
    assert count == 10
    assert np.bincount(codes).tolist() == [100] * 10
    # Fifths end at .1, .3, .3 and .3: the run of .3 is not cut.
    codes, count = bin_codes(np.array([0.3] * 6 + [0.1, 0.1, 0.9, 0.9]), 5)
    assert count == 3
    assert codes.tolist() == [1] * 6 + [0, 0, 2, 2]
    assert bin_codes(np.full(6, 0.4), 5)[1] == 1


forecasts = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=60)


@given(forecasts, st.integers(1, 20))
def test_no_bin_is_empty_and_codes_rise_with_the_forecast(
    rows: list[tuple[bool, int]], bins: int
) -> None:
    probability = np.array([score / 12 for _, score in rows])
    codes, count = bin_codes(probability, bins)
    assert count <= bins
    assert set(codes.tolist()) == set(range(count))
    order = np.argsort(probability)
    assert (np.diff(codes[order]) >= 0).all()
    assert (np.diff(codes[order])[np.diff(probability[order]) == 0] == 0).all()


@given(forecasts)
def test_no_other_threshold_has_a_higher_f1(rows: list[tuple[bool, int]]) -> None:
    target = np.array([label for label, _ in rows])
    probability = np.array([score / 12 for _, score in rows])

    def f1(threshold: float) -> float:
        called = probability >= threshold
        return float(2 * (called & target).sum() / max(called.sum() + target.sum(), 1))

    best = best_threshold(target, probability)
    tried = [0.0, *((np.arange(13) + 0.5) / 12), 1.0]
    assert f1(best) == max(f1(one) for one in [*tried, best])
    # Of equally good decisions the one that calls fewest; the order of the rows does not matter.
    called = (probability >= best).sum()
    fewer = [one for one in tried if (probability >= one).sum() < called]
    assert not target.any() or all(f1(one) < f1(best) for one in fewer)
    assert best_threshold(target[::-1], probability[::-1]) == best


def test_threshold_by_hand() -> None:
    target = np.array([True, True, False, False, False])
    assert best_threshold(target, np.array([0.9, 0.5, 0.3, 0.2, 0.1])) == pytest.approx(0.4)
    assert best_threshold(~target, np.array([0.9, 0.5, 0.3, 0.2, 0.1])) == 0.0  # call everything
    assert best_threshold(np.zeros(5, dtype=bool), PROBABILITY) == 0.5


def test_threshold_between_neighbouring_floats_splits_them() -> None:
    low, high = 0.5, np.nextafter(0.5, 1.0)
    found = best_threshold(np.array([True, False, False]), np.array([high, low, low]))
    assert low < found <= high


def test_an_interval_excludes_zero_only_when_it_can_tell() -> None:
    assert Interval(0.2, 0.1, 0.3).excludes_zero
    assert Interval(-0.2, -0.3, -0.1).excludes_zero
    assert not Interval(0.1, -0.1, 0.3).excludes_zero
    assert not Interval(0.0, 0.0, 0.0).excludes_zero
    assert not Interval(0.2, math.nan, math.nan).excludes_zero
