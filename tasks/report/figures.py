"""The figures of a set of scored plays: drawn alike for a report and from a scored_samples.csv alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Store
from tasks.metrics import curves
from tasks.report import charts, slices
from tasks.report.charts import Figure, axis, figure
from tasks.report.content import display
from tasks.report.text import short
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
        *_roc(holdout, target, forecasts, series),
        *_precision_recall(holdout, target, forecasts, series),
        *_calibration(holdout, target, forecasts, series),
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


def _roc(
    holdout: Holdout, target: NDArray[np.bool_], forecasts: Forecasts, series: list[tuple[str, str]]
) -> Iterator[Figure]:
    found = {name: curves.roc(target, each) for name, each in forecasts.items()}
    mine = found[holdout.candidate]
    if mine.is_empty():
        return
    area = np.trapezoid(mine["true_positive_rate"].to_numpy(), mine["false_positive_rate"].to_numpy())
    drawn = charts.diagonal() + charts.lines(
        _stack(found),
        axis("false_positive_rate:Q", f"share of {holdout.words.negative} plays called otherwise",
             format="%", tickCount=5),
        alt.Y("true_positive_rate:Q", title=f"share of {holdout.words.positive} plays found",
              axis=alt.Axis(format="%", tickCount=5)),
        series,
    )  # fmt: skip
    yield figure(
        "roc", "ROC: telling the outcomes apart",
        f"Share of the {holdout.words.positive} plays found against false alarms, at every threshold.",
        f"{display(holdout.candidate)}: area {short(float(area))}; guessing has .5 (dashed)", drawn,
    )  # fmt: skip


def _precision_recall(
    holdout: Holdout, target: NDArray[np.bool_], forecasts: Forecasts, series: list[tuple[str, str]]
) -> Iterator[Figure]:
    found = {name: curves.precision_recall(target, each) for name, each in forecasts.items()}
    if found[holdout.candidate].is_empty():
        return
    drawn = charts.lines(
        _stack(found),
        axis("recall:Q", f"recall: share of {holdout.words.positive} plays found",
             format="%", tickCount=5),
        alt.Y("precision:Q", title=f"precision: share that was {holdout.words.positive}",
              axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(zero=False)),
        series,
    )  # fmt: skip
    yield figure(
        "precision_recall", "Precision against recall",
        f"How many of the plays called {holdout.words.positive} were, against how many are found.",
        f"calling every play {holdout.words.positive} has precision {target.mean():.1%}", drawn,
    )  # fmt: skip


def _calibration(
    holdout: Holdout, target: NDArray[np.bool_], forecasts: Forecasts, series: list[tuple[str, str]]
) -> Iterator[Figure]:
    found = {name: curves.calibration(target, each) for name, each in forecasts.items()}
    mine = found[holdout.candidate]
    off = np.abs(mine["mean_probability"].to_numpy() - mine["observed_rate"].to_numpy()).max()
    frame = _stack(found)
    x = axis(
        "mean_probability:Q",
        "predicted probability, mean of a tenth of the plays",
        format="%",
        tickCount=5,
    )
    y = alt.Y(
        "observed_rate:Q", title=f"observed {holdout.words.rate}", axis=alt.Axis(format="%", tickCount=5)
    )
    colour = alt.Color(
        "series:N", scale=alt.Scale(domain=[n for n, _ in series], range=[c for _, c in series])
    )
    whiskers = alt.Chart(frame).mark_rule(opacity=0.5, strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
    )  # fmt: skip
    point = {"filled": True, "size": 34}
    yield figure(
        "calibration", "Calibration: does 70% mean 70%?",
        f"Predicted probability against observed {holdout.words.rate} in tenths of the plays, with "
        "Wilson 95 % intervals; on the dashed line, predictions mean what they say.",
        f"{display(holdout.candidate)} is off by {off:.1%} in its worst tenth",
        charts.diagonal() + whiskers + charts.lines(frame, x, y, series, point=point, strokeWidth=1.2),
    )  # fmt: skip


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
    words = {True: holdout.words.positive, False: holdout.words.negative}
    cells = [
        (fact, call, int(((target == fact) & (called == call)).sum()))
        for fact in words
        for call in words
    ]
    frame = pl.DataFrame(
        {
            "fact": [f"was {words[fact]}" for fact, _, _ in cells],
            "call": [f"called {words[call]}" for _, call, _ in cells],
            "rows": [rows for _, _, rows in cells],
            "share": [rows / max(int((target == fact).sum()), 1) for fact, _, rows in cells],
            "text": [f"{rows:,}" for _, _, rows in cells],
        }
    )
    place: dict[str, Any] = {
        "x": alt.X(
            "call:N",
            sort=None,
            title=None,
            axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False),
        ),
        "y": alt.Y("fact:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False)),
    }
    share = alt.Color(
        "share:Q", scale=alt.Scale(domain=[0, 1], range=["#eef2ff", "#3730a3"]), legend=None
    )
    base = alt.Chart(frame).encode(**place)
    tone = alt.condition("datum.share > 0.45", alt.value("#ffffff"), alt.value("#312e81"))
    count = base.mark_text(fontSize=20, fontWeight=600, dy=-6).encode(text="text:N", color=tone)
    row = base.mark_text(fontSize=11, dy=14).encode(text=alt.Text("share:Q", format=".0%"), color=tone)
    right = (called == target).mean()
    yield figure(
        "confusion", f"Decisions at the threshold {holdout.threshold:.2f}",
        f"What {display(holdout.candidate)} called the plays, and what they were; per cent of each row.",
        f"{right:.1%} of {len(target):,} decisions are right",
        (base.mark_rect(stroke=charts.PAPER, strokeWidth=3).encode(color=share) + count + row)
        .properties(width=charts.WIDTH - 90, height=200),
    )  # fmt: skip


def _stack(found: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frame.with_columns(series=pl.lit(display(name))) for name, frame in found.items())


def missing(names: Sequence[str]) -> list[str]:
    """A line on why each figure could not be drawn."""
    return [f"{name}: {_NEEDS[name]}" for name in names]
