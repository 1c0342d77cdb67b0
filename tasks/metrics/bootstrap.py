"""Intervals by resampling whole listeners: rows of one listener are not independent evidence."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.metrics.binary import CLIP, METRICS, Interval, bin_codes, checked, point

ROWS_PER_BLOCK = 100  # without a clock: about a day's or two days' listening
_COUNTS = 6  # rows, positives, log loss, squared error, true positives, called positive; then the bins


@dataclass(frozen=True)
class Resampled:
    """Every metric of every model, on the rows as they are and on the same resamples of them.

    ``points`` model → metric → value; ``replicates`` model → (len(METRICS), resamples) float64 in
    the order of ``METRICS``; column r of every model was computed with the same weights, so
    differences are paired. ``blocks`` is the number of independent units that were resampled.
    """

    points: Mapping[str, Mapping[str, float]]
    replicates: Mapping[str, NDArray[np.float64]]
    blocks: int

    def interval(self, model: str, metric: str) -> Interval:
        """The value of one metric of one model with its 95 % interval."""
        found = _interval(self.points[model][metric], self._of(model, metric), metric, self.blocks)
        # Only the reflected bound of ece can leave its range; no metric can be negative. NaN stays.
        return replace(found, low=max(found.low, 0.0))

    def intervals(self, model: str) -> dict[str, Interval]:
        """All metrics of one model, in the order of ``METRICS``."""
        return {metric: self.interval(model, metric) for metric in METRICS}

    def difference(self, model: str, other: str, metric: str) -> Interval:
        """``model`` minus ``other`` on the same rows with its paired 95 % interval."""
        value = self.points[model][metric] - self.points[other][metric]
        replicates = self._of(model, metric) - self._of(other, metric)
        return _interval(value, replicates, metric, self.blocks)

    def _of(self, model: str, metric: str) -> NDArray[np.float64]:
        row: NDArray[np.float64] = self.replicates[model][METRICS.index(metric)]
        return row


def blocks(
    users: NDArray[Any], days: NDArray[Any] | None, min_users: int
) -> tuple[NDArray[np.int32], str]:
    """The resampling unit of each row as codes 0..units-1, and the unit's name.

    ``users`` (n,) integers or strings; ``days`` (n,) whole days (datetime64[D] or integers) or None
    when the data has no clock. The unit is the ``user``; with fewer than ``min_users`` different
    users the ``user-day``; without a clock then ``user-rows``: ``ROWS_PER_BLOCK`` consecutive rows
    of a user, which takes the rows to be in the order they were played. Codes depend on the values
    and not on the order in which users appear. Raises ValueError for different lengths.
    """
    user = _dense(users)
    if len(user) and int(user.max()) + 1 >= min_users:
        return user.astype(np.int32), "user"
    if days is not None:
        if len(days) != len(user):
            raise ValueError(f"{len(user)} users but {len(days)} days")
        day = _dense(days)
        return _dense(user * (int(day.max(initial=0)) + 1) + day).astype(np.int32), "user-day"
    order = np.argsort(user, kind="stable")
    grouped = user[order]
    place = np.empty_like(user)
    place[order] = np.arange(len(user)) - np.searchsorted(grouped, grouped, side="left")
    return _dense(user * (len(user) // ROWS_PER_BLOCK + 1) + place // ROWS_PER_BLOCK).astype(
        np.int32
    ), "user-rows"


def resample(
    target: NDArray[np.bool_],
    probabilities: Mapping[str, NDArray[np.float64]],
    thresholds: Mapping[str, float],
    blocks: NDArray[np.int32],
    *,
    resamples: int,
    bins: int,
    seed: int,
) -> Resampled:
    """Score every model on the rows and on ``resamples`` bootstrap resamples of whole blocks.

    ``target`` (n,) bool; ``probabilities`` model → (n,) float in [0, 1]; ``thresholds`` model → its
    decision threshold; ``blocks`` (n,) codes 0..units-1 from ``blocks()``; ``bins`` as in ``point``.
    A resample draws as many blocks as there are, with replacement (multinomial counts; Efron 1979;
    for clustered data Davison & Hinkley 1997, 3.8), the same for all models. Bins for ``ece`` and
    thresholds stay those of the point values. The same seed gives the same numbers, whatever the
    number of processors. Raises ValueError as ``checked`` does, and for blocks of another length.
    """
    # Compiled code and scikit-learn load only here.
    from tasks.metrics.kernels import LANES

    if len(blocks) != len(target):
        raise ValueError(f"{len(target)} rows but {len(blocks)} block codes")
    units = int(blocks.max()) + 1
    names = list(probabilities)

    def ready(name: str) -> tuple[dict[str, float], _Prepared]:
        rows = checked(target, probabilities[name])
        threshold = thresholds[name]
        return point(*rows, threshold, bins), _Prepared.of(*rows, threshold, blocks, units, bins)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorting and the kernels leave Python's lock
        points, models = zip(*pool.map(ready, names), strict=True)
        batches = pool.map(
            lambda batch: _batch(models, units, seed, batch), range(-(-resamples // LANES))
        )
        stacked = np.concatenate(list(batches), axis=2)[:, :, :resamples]
    return Resampled(
        points=dict(zip(names, points, strict=True)),
        replicates=dict(zip(names, stacked, strict=True)),
        blocks=units,
    )


def achieved_share(resampled: Resampled, model: str, truth: str, baseline: str) -> Interval:
    """How much of the achievable lift in AUC a model reaches, with its paired 95 % interval.

    (AUC of ``model`` - AUC of ``baseline``) / (AUC of ``truth`` - AUC of ``baseline``), all three
    names of models in ``resampled``; ``truth`` holds the probabilities that made the data. NaN where
    the truth is not better than the baseline.
    """
    value = _share(*(np.array([resampled.points[name]["auc"]]) for name in (model, truth, baseline)))
    replicates = _share(*(resampled.replicates[name][0] for name in (model, truth, baseline)))
    return _interval(float(value[0]), replicates, "share", resampled.blocks)


def _share(
    model: NDArray[np.float64], truth: NDArray[np.float64], baseline: NDArray[np.float64]
) -> NDArray[np.float64]:
    lift = truth - baseline
    share = np.full(lift.shape, np.nan)
    np.divide(model - baseline, lift, out=share, where=lift > 0)
    return share


def percentiles(value: float, replicates: NDArray[np.float64], units: int) -> Interval:
    """The percentile interval; resamples where the metric is undefined are left out.

    One block resampled is always itself: its interval would have no width and mean nothing, so
    the bounds are NaN, as they are where the value itself is undefined.
    """
    known = replicates[np.isfinite(replicates)]
    if units < 2 or not np.isfinite(value) or len(known) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = (float(bound) for bound in np.quantile(known, (0.025, 0.975)))
    return Interval(value, low, high)


def _interval(value: float, replicates: NDArray[np.float64], metric: str, units: int) -> Interval:
    """The percentile interval, but for ``ece``.

    ``ece`` is a sum of absolute values, which the noise of a resample raises once more, so that its
    percentiles can all lie above its value. Its interval is therefore the hull of the percentiles
    and of their reflection at the value (the basic bootstrap interval, Davison & Hinkley 1997,
    5.2): wider than either, and never without the value.
    """
    found = percentiles(value, replicates, units)
    if metric != "ece":
        return found
    low, high = min(found.low, 2 * value - found.high), max(found.high, 2 * value - found.low)
    return Interval(value, low, high)


def drawn(units: int, seed: int, batch: int) -> NDArray[np.uint8]:
    """How often each block is in each of one batch of resamples: (units, ``LANES``).

    A resample draws ``units`` blocks with replacement. The same seed and batch draw the same.
    """
    from tasks.metrics.kernels import LANES

    random = np.random.default_rng([seed, batch])
    # One byte is enough: a block drawn 256 times in as many draws as blocks does not happen.
    weights = np.empty((units, LANES), dtype=np.uint8)
    for lane in range(LANES):
        weights[:, lane] = np.bincount(random.integers(0, units, units), minlength=units)
    return weights


@dataclass(frozen=True)
class _Prepared:
    """One model, made ready once: its ranking and its sums per block."""

    codes: NDArray[np.int64]  # (rows,) by falling forecast, see kernels.ranking_sums
    sums: NDArray[np.float64]  # (units, _COUNTS + bins)

    @classmethod
    def of(
        cls,
        target: NDArray[np.bool_],
        probability: NDArray[np.float64],
        threshold: float,
        blocks: NDArray[np.int32],
        units: int,
        bins: int,
    ) -> _Prepared:
        order = np.argsort(-probability, kind="stable")
        score = probability[order]
        last = np.append(score[1:] != score[:-1], True)
        codes = (blocks[order].astype(np.int64) << 2) | (last.astype(np.int64) << 1) | target[order]

        clipped = np.clip(probability, CLIP, 1.0 - CLIP)
        called = probability >= threshold
        columns = [
            np.ones(len(target)),
            target,
            -np.log(np.where(target, clipped, 1.0 - clipped)),
            (probability - target) ** 2,
            called & target,
            called,
        ]
        bin_of, count = bin_codes(probability, bins)
        sums = np.empty((units, _COUNTS + count))
        for column, values in enumerate(columns):
            sums[:, column] = np.bincount(blocks, weights=values, minlength=units)
        gap = probability - target
        for one in range(count):
            rows = np.flatnonzero(bin_of == one)
            sums[:, _COUNTS + one] = np.bincount(blocks[rows], weights=gap[rows], minlength=units)
        return cls(codes, sums)


def _batch(models: Sequence[_Prepared], units: int, seed: int, batch: int) -> NDArray[np.float64]:
    """All metrics of all models on one batch of resamples: (models, len(METRICS), LANES)."""
    from tasks.metrics.kernels import LANES, ranking_sums, weighted_sums

    weights = drawn(units, seed, batch)
    results = np.empty((len(models), len(METRICS), LANES))
    for place, model in enumerate(models):
        ranking = np.empty((2, LANES))
        ranking_sums(model.codes, weights, ranking)
        sums = np.empty((model.sums.shape[1], LANES))
        weighted_sums(model.sums, weights, sums)
        rows, positives, loss, squared, hits, called = sums[:_COUNTS]
        results[place] = [
            ranking[0],
            ranking[1],
            loss / rows,
            squared / rows,
            np.abs(sums[_COUNTS:]).sum(axis=0) / rows,
            (rows - positives - called + 2 * hits) / rows,
            _ratio(hits, called),
            _ratio(hits, positives),
            _ratio(2 * hits, called + positives),
        ]
    return results


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """part / whole, 0 where there is nothing to count, as ``point`` has it."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _dense(values: NDArray[Any]) -> NDArray[np.int64]:
    """Values numbered 0, 1, … in their sorted order."""
    import polars as pl

    series = pl.Series(values.tolist() if values.dtype.kind in "OUT" else values)
    if series.null_count():
        raise ValueError(f"{series.null_count()} rows have no user or day")
    codes: NDArray[np.int64] = series.rank("dense").to_numpy().astype(np.int64) - 1
    return codes
