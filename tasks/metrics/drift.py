"""How far the values of a column have moved: the population stability index, without its bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.binary import Interval
from tasks.metrics.bootstrap import percentiles

SAMPLE = 500_000  # training rows that edges are taken from
LANES = 128  # resamples multiplied at a time
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """The bins of a column, learned from training rows alone.

    A number's bin i is (edges[i-1], edges[i]], open to both sides; a category has a bin for each of
    its frequent ``levels`` and one for all others. The last bin is for what is missing.
    """

    edges: tuple[float, ...]
    levels: tuple[str, ...] | None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.edges if self.levels is None else self.levels) + 2


@dataclass(frozen=True)
class Drift:
    """What has changed from training to the newest stretch.

    ``usual`` is the largest index that an earlier stretch had against all before it, ``excess`` how
    far ``psi`` lies above it; both None where training is too short for one. ``missing`` are the
    shares without a value before and now, ``missing_change`` their difference.
    """

    psi: Interval
    usual: Interval | None
    excess: Interval | None
    missing: tuple[float, float]
    missing_change: Interval


def learned(training: pl.Series, bins: int) -> Bins:
    """Bins of a column's training rows: of a number by quantiles, of a category its top levels.

    Equal values share a bin, so a number with many ties gets fewer.
    """
    if training.dtype in (pl.Categorical, pl.String):
        text = training.drop_nulls().cast(pl.String)
        top = text.value_counts().sort("count", text.name, descending=[True, False])[text.name]
        return Bins((), tuple(top.head(bins)))
    values = training.gather_every(-(-len(training) // SAMPLE) or 1).drop_nulls().to_numpy()
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return Bins((), None)
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
    return Bins(tuple(float(edge) for edge in edges[edges < values.max()]), None)


def codes(bins: Bins, column: pl.Series) -> NDArray[np.int64]:
    """The bin of each value: (n,) in 0..``bins.count``-1."""
    if bins.levels is not None:
        text = column.cast(pl.String)
        known = dict(zip(bins.levels, range(len(bins.levels)), strict=True))
        found = text.replace_strict(known, default=len(known), return_dtype=pl.Int64)
        missing = text.is_null().to_numpy()
        return np.where(missing, bins.count - 1, found.fill_null(0).to_numpy())
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    place = np.searchsorted(np.array(bins.edges), values, side="left")
    return np.where(np.isnan(values), bins.count - 1, place)


def counted(
    codes: NDArray[np.int64], count: int, periods: NDArray[np.int64], blocks: NDArray[np.int32]
) -> Counts:
    """Rows by block, period and bin: (blocks, periods, ``count``); all three codes are (n,)."""
    shape = (int(blocks.max()) + 1, int(periods.max()) + 1, count)
    flat = (blocks.astype(np.int64) * shape[1] + periods) * count + codes
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)


def stability(before: Counts, after: Counts) -> NDArray[np.float64]:
    """The population stability index of counts (bins, ...) against counts (bins, ...): (...).

    Sum over bins of (a - b) ln(a / b), a and b a bin's shares after and before: the symmetric
    divergence of Jeffreys (1946), named so in credit scoring (Lewis 1994, Siddiqi 2006). Half a row is
    added to each bin, so that an empty one costs much and not without end; bins empty on both
    sides are to be left out by the caller.
    """
    bins = before.shape[0]
    b = (before + 0.5) / (before.sum(axis=0) + 0.5 * bins)
    a = (after + 0.5) / (after.sum(axis=0) + 0.5 * bins)
    index: NDArray[np.float64] = ((a - b) * np.log(a / b)).sum(axis=0)
    return index


def drift(counts: Counts, weights: NDArray[np.uint8]) -> Drift:
    """Compare the last period with all before it, on the same resamples of blocks.

    ``counts`` (blocks, periods, bins) from ``counted``: in time order, the last period the newest
    stretch, those between the first and the last stretches of training of the same length.
    ``weights`` (blocks, resamples): how often each block is drawn.

    Chance alone makes the index positive: of n and m independent rows that are alike it is about
    (bins - 1)(1/n + 1/m) (Yurdakul, "Statistical properties of population stability index", Western
    Michigan University 2018), and more where the rows of a block hang together. What resampling adds
    to the index is that bias (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter
    10): it is taken off, once from the value and twice from the resamples; nothing falls below 0.
    """
    units, periods, bins = counts.shape
    flat = counts.reshape(units, periods * bins)
    point = flat.sum(axis=0).reshape(periods, bins, 1)
    drawn = np.concatenate(
        [
            flat.T @ weights[:, start : start + LANES].astype(np.float64)
            for start in range(0, weights.shape[1], LANES)
        ],
        axis=1,
    ).reshape(periods, bins, -1)
    value, replicates = _corrected(point, drawn, periods - 1)
    psi = _bounded(value, replicates, units)
    earlier = [_corrected(point, drawn, period) for period in range(1, periods - 1)]
    usual = excess = None
    if earlier:
        most, most_drawn = max(earlier, key=lambda each: each[0])
        usual = _bounded(most, most_drawn, units)
        excess = percentiles(value - most, replicates - most_drawn, units)
    before, now = _missing(point[:-1].sum(axis=0)), _missing(point[-1])
    change = _missing(drawn[-1]) - _missing(drawn[:-1].sum(axis=0))
    return Drift(
        psi,
        usual,
        excess,
        (float(before[0]), float(now[0])),
        percentiles(float(now[0] - before[0]), change, units),
    )


def _corrected(point: Counts, drawn: Counts, period: int) -> tuple[float, NDArray[np.float64]]:
    """The index of one period against all before it, and its resamples, both without bias."""
    before, after = point[:period].sum(axis=0), point[period]
    used = (before + after)[:, 0] > 0
    value = float(stability(before[used], after[used])[0])
    replicates = stability(drawn[:period].sum(axis=0)[used], drawn[period][used])
    bias = float(replicates.mean()) - value
    return value - bias, replicates - 2 * bias


def _bounded(value: float, replicates: NDArray[np.float64], units: int) -> Interval:
    """With bounds, and nothing below 0."""
    found = percentiles(value, replicates, units)
    return Interval(*(max(0.0, each) if np.isfinite(each) else each for each in vars(found).values()))


def _missing(counts: Counts) -> NDArray[np.float64]:
    """Share of the last bin."""
    share: NDArray[np.float64] = counts[-1] / np.maximum(counts.sum(axis=0), 1.0)
    return share
