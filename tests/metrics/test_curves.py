"""Curves by hand, and thinned curves against the areas scikit-learn finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from tasks.metrics import curves

TARGET = np.array([True, False, True, False])
PROBABILITY = np.array([0.9, 0.7, 0.7, 0.1])


def forecast(rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    probability = random.beta(2, 3, rows)
    return random.random(rows) < probability, probability


def test_roc_by_hand() -> None:
    assert curves.roc(TARGET, PROBABILITY).rows() == [
        (0.0, 0.0, math.inf),
        (0.0, 0.5, 0.9),
        (0.5, 1.0, 0.7),
        (1.0, 1.0, 0.1),
    ]


def test_precision_recall_by_hand() -> None:
    assert curves.precision_recall(TARGET, PROBABILITY).rows() == [
        (0.5, 1.0, 0.9),
        (1.0, 2 / 3, 0.7),
        (1.0, 0.5, 0.1),
    ]


def test_a_thinned_roc_keeps_its_area_and_its_ends() -> None:
    target, probability = forecast()
    curve = curves.roc(target, probability, points=150)
    assert curve.height <= 150
    assert curve.row(0)[:2] == (0.0, 0.0)
    assert curve.row(-1)[:2] == (1.0, 1.0)
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(roc_auc_score(target, probability), abs=1e-3)
    threshold = curve["threshold"][70]
    assert curve["true_positive_rate"][70] == (probability[target] >= threshold).mean()
    assert curve["false_positive_rate"][70] == (probability[~target] >= threshold).mean()


def test_a_thinned_precision_recall_curve_lies_on_the_whole_one() -> None:
    target, probability = forecast()
    curve = curves.precision_recall(target, probability, points=150)
    assert curve.height <= 150
    precision, recall, _ = precision_recall_curve(target, probability)
    whole = set(zip(recall.round(12), precision.round(12), strict=True))
    assert set(zip(curve["recall"].round(12), curve["precision"].round(12), strict=True)) <= whole
    area = np.trapezoid(curve["precision"], curve["recall"])
    assert area == pytest.approx(average_precision_score(target, probability), abs=0.01)


@pytest.mark.parametrize("label", [True, False])
def test_one_class_has_no_curve(label: bool) -> None:
    target = np.full(4, label)
    assert curves.roc(target, PROBABILITY).is_empty()
    assert curves.precision_recall(target, PROBABILITY).is_empty()


def test_calibration_by_hand() -> None:
    target = np.array([False] * 9 + [True] + [True] * 10)
    curve = curves.calibration(target, np.repeat([0.2, 0.8], 10), bins=2)
    assert curve["mean_probability"].to_list() == pytest.approx([0.2, 0.8])
    assert curve["observed_rate"].to_list() == pytest.approx([0.1, 1.0])
    assert curve["rows"].to_list() == [10, 10]
    # Wilson's interval for 1 of 10 and 10 of 10, as published tables give it.
    assert curve["low"].to_list() == pytest.approx([0.0179, 0.7225], abs=1e-4)
    assert curve["high"].to_list() == pytest.approx([0.4042, 1.0], abs=1e-4)


def test_histogram_counts_every_row_once() -> None:
    target = np.array([True, False, True, True])
    frame = curves.score_histogram(target, np.array([1.0, 0.0, 0.24, 0.25]), bins=4)
    assert frame["target"].to_list() == [False] * 4 + [True] * 4
    assert frame["rows"].to_list() == [1, 0, 0, 0, 1, 1, 0, 1]
    assert frame["share"].to_list() == pytest.approx([1, 0, 0, 0, 1 / 3, 1 / 3, 0, 1 / 3])
    assert (frame["low"][1], frame["high"][1]) == (0.25, 0.5)
    assert curves.score_histogram(~target & target, PROBABILITY, bins=4)["share"].sum() == 1.0
