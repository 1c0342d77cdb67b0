"""Whom the lists serve worse: metrics by cohort of users, and the most confident mistakes."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.binary import bin_codes
from tasks.metrics.lists import distinct, found, pair, played
from tasks.metrics.means import KEY, resampled_means

AGE = "age"
AGES = (18, 25, 35, 45, 55)  # the years at which a band begins
AMOUNTS = ("activity", "tenure")  # numbers that are cut into bands of equally many rows
BANDS = 4
UNKNOWN, FEW, ALL = "unknown", "too few", "all"
_COHORTS = {
    "attribute": pl.String,
    "cohort": pl.String,
    "metric": pl.String,
    "users": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def cohorts(
    per_user: pl.DataFrame,
    attributes: pl.DataFrame,
    *,
    resamples: int,
    seed: int,
    smallest: int = 10,
) -> pl.DataFrame:
    """The mean of every metric in every cohort, with its 95 % interval by user.

    ``per_user`` is one system's frame as for ``means.resampled_means`` (a column of differences
    between two systems works as well); ``attributes`` has ``user``, ``cutoff`` if its values change
    with it, and any of: ``age`` (years, in bands from ``AGES``), ``activity`` (plays before the
    cutoff), ``tenure`` (days since the first play; both in ``BANDS`` bands with quantiles of the
    evaluated rows as bounds), and others, such as gender, country or main genre, taken as they are.

    One row per attribute, cohort and metric: ``attribute``, ``cohort``, ``metric``, ``users``,
    ``value``, ``low``, ``high``. First attribute ``all`` with everyone; then bands rising, other
    values by falling size, ``unknown`` for users without a value. Cohorts of fewer than
    ``smallest`` users are pooled as ``too few``; if they together are still fewer, their values are
    null: so few say more of single people than of a kind. A user whose band changes between
    cutoffs is in several cohorts. With dozens of cohorts a few intervals exclude the overall value
    by chance alone.

    Raises ValueError when a key comes twice in ``attributes``, or as ``resampled_means`` does.
    """
    keys = [key for key in KEY if key in attributes.columns and key in per_user.columns]
    if attributes.select(keys).is_duplicated().any():
        raise ValueError(f"attributes must have one row per {' and '.join(keys)}")
    metrics = [column for column in per_user.columns if column not in KEY]
    known = per_user.drop(metrics).join(attributes, on=keys, how="left", maintain_order="left")
    rows = [(ALL, ALL, *told) for told in _means(per_user, metrics, resamples, seed)]
    for name in attributes.columns:
        if name in KEY:
            continue
        labelled = known.select("user").with_columns(_labels(known[name]))
        size = labelled.group_by("cohort", "place").agg(users=pl.col("user").n_unique())
        few = pl.col("users") < smallest
        pooled = labelled.join(size, on=["cohort", "place"], how="left", maintain_order="left").select(
            cohort=pl.when(few).then(pl.lit(FEW)).otherwise("cohort")
        )["cohort"]
        kept = size.filter(~few).sort("place", "users", "cohort", descending=[False, True, False])

        for cohort in [*kept["cohort"], *([FEW] if size.select(few.any()).item() else [])]:
            part = per_user.filter(pooled == cohort)
            users = part["user"].n_unique()
            told = (
                _means(part, metrics, resamples, seed)
                if users >= smallest
                else [(metric, users, None, None, None) for metric in metrics]
            )
            rows += [(name, cohort, *each) for each in told]
    return pl.DataFrame(rows, _COHORTS, orient="row")


def worst(cohorts: pl.DataFrame, metric: str, n: int) -> pl.DataFrame:
    """The ``n`` cohorts with the lowest mean of ``metric``, lowest first, of those that have one.

    The columns of ``cohorts`` and ``overall``, everyone's mean, and Boolean ``below``: the whole
    interval lies below it. The pool ``too few`` is no cohort.
    """
    of_metric = cohorts.filter(pl.col("metric") == metric)
    everyone = of_metric.filter(pl.col("attribute") == ALL)["value"].item()
    return (
        of_metric.filter(
            pl.col("attribute") != ALL, pl.col("cohort") != FEW, pl.col("value").is_not_nan()
        )
        .sort("value", "attribute", "cohort")
        .head(n)
        .with_columns(overall=pl.lit(everyone), below=pl.col("high").fill_nan(None) < everyone)
        .with_columns(pl.col("below").fill_null(False))
    )


def confident_mistakes(lists: pl.DataFrame, relevant: pl.DataFrame, n: int) -> pl.DataFrame:
    """The ``n`` recommendations of highest probability that were not played, highest first.

    ``lists`` has ``user``, ``track``, ``rank`` and ``probability``; its columns come back, whatever
    else it has, and Boolean ``absent``: the user has no relevant track at all, so that every
    recommendation to them was bound to fail. Of equal probabilities first the smaller rank, user
    and track. Raises ValueError for a missing probability or value, or a pair twice.
    """
    if lists["probability"].null_count() or lists["probability"].is_nan().any():
        raise ValueError("a recommendation has no probability")
    distinct(np.sort(pair(lists)), "tracks of a user's list")
    wrong = np.ones(lists.height, dtype=np.bool_)
    wrong[found(lists, played(relevant))] = False
    return (
        lists.filter(wrong)
        .sort("probability", "rank", "user", "track", descending=[True, False, False, False])
        .head(n)
        .with_columns(absent=~pl.col("user").is_in(relevant["user"].cast(lists["user"].dtype).implode()))
    )


def _means(
    part: pl.DataFrame, metrics: list[str], resamples: int, seed: int
) -> list[tuple[str, int, float, float, float]]:
    """Metric, users, value, low and high of each metric of some of the rows."""
    # A cohort is of users, however few they are: rows of one user are not others of its kind.
    found = resampled_means({ALL: part}, resamples=resamples, seed=seed, min_users=1)
    intervals = [(metric, found.interval(ALL, metric)) for metric in metrics]
    return [(metric, found.units, each.value, each.low, each.high) for metric, each in intervals]


def _labels(values: pl.Series) -> pl.DataFrame:
    """``cohort``, the name of each row's cohort, and ``place``, its place in the order of bands."""
    if values.name != AGE and values.name not in AMOUNTS:
        text = values.cast(pl.String)
        return pl.DataFrame({"cohort": text.fill_null(UNKNOWN), "place": text.is_null().cast(pl.Int64)})
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = np.isfinite(numbers)
    names = [f"under {AGES[0]}", *(f"{low}–{high - 1}" for low, high in itertools.pairwise(AGES))]
    names += [f"{AGES[-1]} and over"]
    place = np.searchsorted(AGES, numbers, side="right")
    if values.name in AMOUNTS and known.any():
        place[known], count = bin_codes(numbers[known], BANDS)
        names = [_range(numbers[known][place[known] == band]) for band in range(count)]
    place[~known] = len(names)
    return pl.DataFrame({"cohort": np.array([*names, UNKNOWN])[place], "place": place})


def _range(values: NDArray[np.float64]) -> str:
    low, high = (np.format_float_positional(each, trim="-") for each in (values.min(), values.max()))
    return low if low == high else f"{low}–{high}"
