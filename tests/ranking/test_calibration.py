"""Calibration with known answers: kept only where it helps later rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ranking.calibration import EDGE, NONE, Calibration, calibrate

ROWS = 4_000


def drawn(seed: int, distort: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Told probabilities and outcomes; the true log odds are ``distort`` × the told ones + shift."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1.5, ROWS)
    true = 1 / (1 + np.exp(-(distort * odds + shift)))
    return 1 / (1 + np.exp(-odds)), rng.random(ROWS) < true


def test_true_probabilities_are_left_alone_or_hardly_moved() -> None:
    told, target = drawn(1)
    found, losses = calibrate(told, target)
    assert losses[found.kind] == min(losses.values())
    assert np.abs(found.apply(told) - told).mean() < 0.02


def test_overconfidence_is_mended() -> None:
    """Log odds twice too large and shifted: the sigmoid's slope is .5, its intercept .7."""
    told, target = drawn(2, distort=0.5, shift=0.7)
    found, losses = calibrate(told, target)
    assert found.kind == "sigmoid"
    assert losses["sigmoid"] < losses["none"] - 0.02
    assert found.x[0] == pytest.approx(0.5, abs=0.08)
    assert found.y[0] == pytest.approx(0.7, abs=0.1)


def test_a_step_takes_an_isotonic_map() -> None:
    rng = np.random.default_rng(3)
    told = rng.random(ROWS)
    target = rng.random(ROWS) < np.where(told < 0.3, 0.05, np.where(told < 0.9, 0.5, 0.6))
    found, _ = calibrate(told, target)
    assert found.kind == "isotonic"
    assert found.apply(np.array([0.1, 0.6, 0.95])) == pytest.approx([0.05, 0.5, 0.6], abs=0.08)


def test_what_helped_the_first_half_only_is_not_kept() -> None:
    """The first half is distorted, the second is not: a map fitted on the first must not stay."""
    first, second = drawn(4, distort=0.3, shift=1.5), drawn(5)
    told, target = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    found, losses = calibrate(told, target)
    assert found == NONE
    assert losses["none"] < min(losses["sigmoid"], losses["isotonic"])


@pytest.mark.parametrize("half", [slice(0, ROWS // 2), slice(ROWS // 2, ROWS)])
@pytest.mark.parametrize("only", [True, False])
def test_a_single_class_in_either_half_means_none(half: slice, only: bool) -> None:
    told, target = drawn(6, distort=0.5, shift=0.7)
    target[half] = only
    assert calibrate(told, target)[0] == NONE


def test_known_maps() -> None:
    told = np.array([0.0, 0.2, 0.5, 1.0])
    assert NONE.apply(told) == pytest.approx([EDGE, 0.2, 0.5, 1 - EDGE])
    assert Calibration("sigmoid", (1.0,), (0.0,)).apply(told) == pytest.approx(
        [EDGE, 0.2, 0.5, 1 - EDGE]
    )
    shifted = Calibration("sigmoid", (0.0,), (float(np.log(3)),))
    assert shifted.apply(told) == pytest.approx([0.75] * 4)
    steps = Calibration("isotonic", (0.2, 0.6), (0.1, 0.3))
    assert steps.apply(told) == pytest.approx([0.1, 0.1, 0.25, 0.3])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-1.5, 2.0), st.floats(-2, 2))
def test_maps_are_monotone_inside_the_edges_and_survive_json(
    seed: int, distort: float, shift: float
) -> None:
    told, target = drawn(seed, distort, shift)
    found, _ = calibrate(told[:400], target[:400])
    grid = np.linspace(0, 1, 101)
    mapped = found.apply(grid)
    assert ((mapped >= EDGE) & (mapped <= 1 - EDGE)).all()
    if found.kind == "isotonic":
        assert (np.diff(mapped) >= 0).all()
    again = Calibration.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert (again.apply(grid) == mapped).all()
