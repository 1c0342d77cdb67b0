"""Whether probabilities are still right, and what setting them right would save.

Intervals are normal, from errors summed over whole blocks (Liang & Zeger 1986): rows of one
listener are not independent evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.binary import CLIP, Interval, checked

Z95 = 1.959963984540054
STEPS = 50  # of Newton's method, which needs about five


@dataclass(frozen=True)
class Calibration:
    """``large``: observed rate minus mean forecast. ``slope``: 1 where forecasts spread as they should,
    below 1 where they are too bold (Cox 1958). ``gain``: log loss saved on the later half of the
    rows by a line through the forecasts' log-odds that was fitted on the earlier half.
    """

    large: Interval
    slope: Interval
    gain: Interval


def calibration(
    target: NDArray[np.bool_], probability: NDArray[np.float64], blocks: NDArray[np.int32]
) -> Calibration:
    """Calibration of rows in time order; ``blocks`` (n,) codes from ``tasks.metrics.bootstrap``.

    The slope is NaN where a line cannot be fitted: one outcome only, or forecasts that are all equal.
    """
    target, probability = checked(target, probability)
    odds = _odds(probability)
    half = len(target) // 2
    line, _ = _line(target[:half], odds[:half], blocks[:half])
    saved = np.full(len(target) - half, np.nan)
    if np.isfinite(line).all():
        told = 1 / (1 + np.exp(-(line[0] + line[1] * odds[half:])))
        saved = _loss(target[half:], probability[half:]) - _loss(target[half:], told)
    (_, slope), errors = _line(target, odds, blocks)
    wide = Z95 * float(errors[1])
    return Calibration(
        _mean(target - probability, blocks),
        Interval(float(slope), float(slope) - wide, float(slope) + wide),
        _mean(saved, blocks[half:]),
    )


def difference(now: Interval, then: Interval) -> Interval:
    """``now`` minus ``then`` of two separate samples, from their own intervals.

    Zou & Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 2008: each bound from the two distances that point to it.
    """
    value = now.value - then.value
    low = value - float(np.hypot(now.value - now.low, then.high - then.value))
    high = value + float(np.hypot(now.high - now.value, then.value - then.low))
    return Interval(value, low, high)


def entropy(share: float) -> float:
    """Log loss, in nats, of saying ``share`` of rows of which just that share are true."""
    known = min(max(share, CLIP), 1 - CLIP)
    return float(-known * np.log(known) - (1 - known) * np.log(1 - known))


def _odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)  # a forecast of 0 or 1 would carry the whole line
    found: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return found


def _loss(target: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probability, CLIP, 1 - CLIP)
    loss: NDArray[np.float64] = -np.log(np.where(target, clipped, 1 - clipped))
    return loss


def _mean(values: NDArray[np.float64], blocks: NDArray[np.int32]) -> Interval:
    mean = float(values.mean())
    sums = np.bincount(blocks, weights=values - mean)
    units = int(np.count_nonzero(np.bincount(blocks)))
    if units < 2:
        return Interval(mean, float("nan"), float("nan"))
    wide = Z95 * float(np.sqrt((sums**2).sum() * units / (units - 1))) / len(values)
    return Interval(mean, mean - wide, mean + wide)


def _line(
    target: NDArray[np.bool_], odds: NDArray[np.float64], blocks: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Constant and slope of a logistic regression on the log-odds, and their standard errors."""
    unknown = np.full(2, np.nan)
    if len(target) < 3 or target.all() or not target.any() or np.ptp(odds) < 1e-9:
        return unknown, unknown
    rows = np.column_stack([np.ones(len(odds)), odds])
    line = np.array([0.0, 1.0])
    for _ in range(STEPS):
        told = 1 / (1 + np.exp(-np.clip(rows @ line, -35, 35)))
        curvature = (rows * (told * (1 - told))[:, None]).T @ rows
        if np.linalg.cond(curvature) > 1e12:  # outcomes that a threshold separates have no best line
            return unknown, unknown
        step = np.linalg.solve(curvature, rows.T @ (target - told))
        line = line + step
        if np.abs(step).max() < 1e-10:
            break
    residual = target - 1 / (1 + np.exp(-np.clip(rows @ line, -35, 35)))
    sums = np.column_stack([np.bincount(blocks, weights=residual * each) for each in rows.T])
    units = int(np.count_nonzero(np.bincount(blocks)))
    if units < 2:
        return line, unknown
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ (sums.T @ sums) @ inverse * units / (units - 1)
    return line, np.sqrt(np.diag(covariance))
