"""The figures of a set of scored plays: drawn alike for a report and from a scored_samples.csv alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Store
from tasks.metrics import curves
from tasks.report import charts, outcomes, slices
from tasks.report.charts import Figure, figure
from tasks.report.content import display
from tasks.report.outcomes import Series
from tasks.report.words import Words
from tasks.warehouse import Warehouse

_NEEDS = {
    "model_comparison": "needs the models' metrics",
    "feature_importance": "needs a model that has feature importances",
    "roc": "needs both outcomes in the holdout",
    "precision_recall": "needs both outcomes in the holdout",
    "calibration": "needs scored plays",
    "score_distribution": "needs scored plays",
    "confusion": "needs scored plays",
    "over_time": "needs scored plays",
    "target_by_hour": "needs a clock",
    "target_by_artist": "needs the tracks table, with artists",
    "platform_mix": "needs the plays table, with platforms or places in the app",
}
Forecasts = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Holdout:
    """The scored plays: a Parquet with ``seq`` and ``predicted_probability``, and how to read it.

    ``models`` maps names to columns; ``candidate`` is the one whose decisions are shown, at
    ``threshold``. ``plays`` and ``tracks`` are canonical tables, where they are at hand.
    """

    scored: Path
    models: Mapping[str, str]
    candidate: str
    threshold: float
    words: Words
    timezone: str
    plays: Path | None = None
    tracks: Path | None = None


def draw(holdout: Holdout, store: Store) -> list[Figure]:
    """All figures that the scored plays allow, in reading order; a single class draws fewer."""
    needed = sorted({"target", "started_at", *holdout.models.values()})
    frame = pl.read_parquet(holdout.scored, columns=needed)
    target = frame["target"].to_numpy()
    forecasts = {name: frame[column].to_numpy() for name, column in holdout.models.items()}
    first, last = frame["started_at"].min(), frame["started_at"].max()
    span = (first, last) if isinstance(first, datetime) and isinstance(last, datetime) else None
    names = {name: display(name) for name in forecasts}
    colours = charts.model_colours(list(forecasts))
    series = [(names[name], colours[name]) for name in forecasts]
    found = [
        *_curves(holdout, target, forecasts, series),
        *_distribution(holdout, target, forecasts),
        *_confusion(holdout, target, forecasts),
    ]
    with Warehouse(store) as warehouse:
        warehouse.relation("scored", holdout.scored)
        found += slices.over_time(warehouse, holdout.words, holdout.timezone, span)
        found += slices.by_hour(warehouse, holdout.words, holdout.timezone)
        if holdout.tracks is not None:
            warehouse.relation("tracks", holdout.tracks)
            found += slices.by_artist(warehouse, holdout.words)
        if holdout.plays is not None:
            warehouse.relation("plays", holdout.plays)
            found += slices.by_platform(warehouse, holdout.words)
    return found


def _curves(
    holdout: Holdout, target: NDArray[np.bool_], forecasts: Forecasts, series: Series
) -> Iterator[Figure]:
    def shape(of: Callable[..., pl.DataFrame]) -> dict[str, pl.DataFrame]:
        with ThreadPoolExecutor(2) as pool:  # numpy sorts without the interpreter's lock
            told = pool.map(lambda each: of(target, each), forecasts.values())
            return dict(zip(forecasts, told, strict=True))

    told = (holdout.candidate, holdout.words, series)
    yield from outcomes.roc(shape(curves.roc), *told)
    share = float(target.mean())
    yield from outcomes.precision_recall(shape(curves.precision_recall), *told, share)
    yield from outcomes.calibration(shape(curves.calibration), *told, "tenth")


def _distribution(holdout: Holdout, target: NDArray[np.bool_], forecasts: Forecasts) -> Iterator[Figure]:
    score = forecasts[holdout.candidate]
    names = {True: holdout.words.positive, False: holdout.words.negative}
    frame = curves.score_histogram(target, score).with_columns(
        series=pl.col("target").replace_strict(names, return_dtype=pl.String)
    )
    colour = alt.Color(
        "series:N",
        sort=list(names.values()),
        scale=alt.Scale(domain=list(names.values()), range=[charts.POSITIVE, charts.NEGATIVE]),
    )
    drawn = alt.Chart(frame).mark_bar(opacity=0.55, binSpacing=0).encode(
        x=alt.X("low:Q", bin="binned", title="predicted probability",
                axis=alt.Axis(format="%", tickCount=5)),
        x2="high:Q",
        y=alt.Y("share:Q", stack=None, title="share of the outcome's plays",
                axis=alt.Axis(format="%", tickCount=5)),
        color=colour,
    )  # fmt: skip
    told = "only one outcome occurs"
    if target.any() and not target.all():
        told = (
            f"mean prediction {score[target].mean():.1%} where {names[True]}, "
            f"{score[~target].mean():.1%} where {names[False]}"
        )
    yield figure(
        "score_distribution", f"Predictions of {names[True]} against {names[False]} plays",
        f"How the probabilities by {display(holdout.candidate)} spread over plays of each outcome.",
        told, drawn.properties(width=charts.WIDTH, height=charts.HEIGHT),
    )  # fmt: skip


def _confusion(holdout: Holdout, target: NDArray[np.bool_], forecasts: Forecasts) -> Iterator[Figure]:
    called = forecasts[holdout.candidate] >= holdout.threshold
    cells = [
        (fact, call, int(((target == fact) & (called == call)).sum()))
        for fact in (True, False)
        for call in (True, False)
    ]
    yield outcomes.confusion(cells, holdout.candidate, holdout.words, holdout.threshold)


def missing(names: Sequence[str]) -> list[str]:
    """A line on why each figure could not be drawn."""
    return [f"{name}: {_NEEDS[name]}" for name in names]
