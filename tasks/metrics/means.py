"""Means of metrics that each user has one of, compared by resampling whole users."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.binary import Interval
from tasks.metrics.bootstrap import drawn, percentiles

KEY = ("user", "cutoff")
_TIDY = {
    "system": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


@dataclass(frozen=True)
class Means:
    """The mean of every metric of every system, on the rows as they are and on the same resamples.

    ``values`` and ``replicates`` go system → metric → value or (resamples,) float64; resample r has
    the same users for every system, so differences are paired. ``unit`` names what was resampled
    (``user`` or ``user-cutoff``), ``units`` how many there are, and ``rows`` what was averaged.
    """

    values: Mapping[str, Mapping[str, float]]
    replicates: Mapping[str, Mapping[str, NDArray[np.float64]]]
    unit: str
    units: int
    rows: int

    def interval(self, system: str, metric: str) -> Interval:
        """The mean of one metric of one system with its 95 % interval."""
        return percentiles(self.values[system][metric], self.replicates[system][metric], self.units)

    def difference(self, system: str, other: str, metric: str) -> Interval:
        """The mean of ``system`` minus that of ``other`` with its paired 95 % interval.

        Where a metric is unknown for some rows, each mean is over the rows where it is known.
        """
        return percentiles(
            self.values[system][metric] - self.values[other][metric],
            self.replicates[system][metric] - self.replicates[other][metric],
            self.units,
        )

    def ratio(self, system: str, metric: str, base: str) -> Interval:
        """The mean of ``metric`` divided by the mean of ``base``, of one system; NaN at 0 / 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.divide(self.values[system][metric], self.values[system][base])
            replicates = self.replicates[system][metric] / self.replicates[system][base]
        return percentiles(float(value), replicates, self.units)

    def table(self) -> pl.DataFrame:
        """One row per system and metric: ``system``, ``metric``, ``value``, ``low``, ``high``."""
        rows = [
            (system, metric, each.value, each.low, each.high)
            for system, metrics in self.values.items()
            for metric in metrics
            for each in [self.interval(system, metric)]
        ]
        return pl.DataFrame(rows, _TIDY, orient="row")

    def against(self, baseline: str) -> pl.DataFrame:
        """The same columns as ``table``, of every other system minus ``baseline``, paired."""
        rows = [
            (system, metric, each.value, each.low, each.high)
            for system, metrics in self.values.items()
            if system != baseline
            for metric in metrics
            for each in [self.difference(system, baseline, metric)]
        ]
        return pl.DataFrame(rows, _TIDY, orient="row")


def resampled_means(
    per_user: Mapping[str, pl.DataFrame], *, resamples: int, seed: int, min_users: int = 30
) -> Means:
    """Average every metric over users, and over ``resamples`` bootstrap resamples of whole users.

    ``per_user`` has a frame per system, all with the same rows and metrics in any order: ``user``
    (integer or string), ``cutoff`` (any type, optional: then a user has a row per cutoff at which
    they were evaluated) and one numeric column per metric, null or NaN where it is unknown. A mean
    is over rows where the metric is known; NaN where it never is.

    A resample draws as many users as there are, with replacement and with all their rows, the same
    for every system (Efron 1979; for clustered data Davison & Hinkley 1997, 3.8). Fewer than
    ``min_users`` users are too few to resample: then (user, cutoff) rows are drawn, the ``unit`` is
    ``user-cutoff``, and the interval says nothing of users other than these; without several
    cutoffs the unit stays the user. With one unit there is no interval: its bounds are NaN. The
    same seed gives the same numbers, whatever the number of processors.

    Raises ValueError when there is no system or no row, a key is missing or comes twice, or the
    systems differ in their rows or metrics.
    """
    # Compiled code loads only here.
    from tasks.metrics.kernels import LANES, weighted_sums

    aligned, metrics = _aligned(per_user)
    first = next(iter(aligned.values()))
    code = first["user"].rle_id().to_numpy().astype(np.int64)
    unit, units = "user", int(code[-1]) + 1
    if units < min_users and len(code) > units:
        code, unit, units = np.arange(len(code)), "user-cutoff", len(code)

    # A column per system and metric: its sum per unit; and per pattern of known rows their number.
    columns: list[NDArray[Any]] = []
    patterns: dict[bytes, int] = {}
    where: dict[tuple[str, str], tuple[int, int]] = {}
    for system, frame in aligned.items():
        for metric in metrics:
            row = frame[metric].to_numpy()
            known = np.isfinite(row)
            mark = known.tobytes()
            if mark not in patterns:
                patterns[mark] = len(columns)
                columns.append(np.bincount(code, weights=known, minlength=units))
            where[system, metric] = len(columns), patterns[mark]
            columns.append(np.bincount(code, weights=np.where(known, row, 0.0), minlength=units))
    sums = np.stack(columns, axis=1)

    def batch(number: int) -> NDArray[np.float64]:
        out = np.empty((sums.shape[1], LANES))
        weighted_sums(sums, drawn(units, seed, number), out)
        return out

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy's drawing and the kernel leave the lock
        batches = list(pool.map(batch, range(-(-resamples // LANES))))
    totals = np.column_stack([sums.sum(axis=0), *batches])[:, : resamples + 1]
    values: dict[str, dict[str, float]] = {system: {} for system in aligned}
    replicates: dict[str, dict[str, NDArray[np.float64]]] = {system: {} for system in aligned}
    for (system, metric), (top, bottom) in where.items():
        mean = np.full(resamples + 1, np.nan)
        np.divide(totals[top], totals[bottom], out=mean, where=totals[bottom] > 0)
        values[system][metric], replicates[system][metric] = float(mean[0]), mean[1:]
    return Means(values, replicates, unit, units, len(code))


def _aligned(per_user: Mapping[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """The frames in one order of rows, metrics as Float64 with NaN where unknown; the metrics."""
    if not per_user:
        raise ValueError("there is no system to average")
    first, *_ = per_user.values()
    metrics = [column for column in first.columns if column not in KEY]
    keys = [column for column in KEY if column in first.columns]
    aligned: dict[str, pl.DataFrame] = {}
    for system, frame in per_user.items():
        if sorted(frame.columns) != sorted(first.columns):
            raise ValueError(f"{system} has columns {frame.columns}, others {first.columns}")
        if any(frame[key].null_count() for key in keys):
            raise ValueError(f"{system} has a row without user or cutoff")
        aligned[system] = frame.select(
            *keys, pl.col(metrics).cast(pl.Float64).fill_null(float("nan"))
        ).sort(keys)
    order = next(iter(aligned.values())).select(keys)
    if order.height == 0 or order.is_duplicated().any():
        raise ValueError(f"rows must be there and distinct by {' and '.join(keys)}")
    for system, frame in aligned.items():
        if not frame.select(keys).equals(order):
            raise ValueError(f"{system} has other users or cutoffs than {next(iter(aligned))}")
    return aligned, metrics
