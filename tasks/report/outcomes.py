"""Figures of probabilities against what came true: drawn alike for plays and for candidates of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from tasks.report import charts
from tasks.report.charts import Figure, axis, figure
from tasks.report.content import display
from tasks.report.text import short
from tasks.report.words import Words

Series = Sequence[tuple[str, str]]  # names as displayed, and their colours
Counts = Sequence[tuple[bool, bool, int]]  # was positive, was called positive, how many
Curves = Mapping[str, pl.DataFrame]  # model → frame of ``tasks.metrics.curves``
RARE = 0.5  # highest share up to which a calibration's axes do not go to 100 %
PERCENT: dict[str, Any] = {"format": "%", "tickCount": 5}


def roc(found: Curves, candidate: str, words: Words, series: Series) -> Iterator[Figure]:
    """Frames of ``curves.roc``; nothing where ``candidate``'s is empty."""
    mine = found[candidate]
    if mine.is_empty():
        return
    area = np.trapezoid(mine["true_positive_rate"].to_numpy(), mine["false_positive_rate"].to_numpy())
    drawn = charts.diagonal() + charts.lines(
        _stack(found),
        axis("false_positive_rate:Q", f"share of {words.negative} {words.things} called otherwise",
             **PERCENT),
        alt.Y("true_positive_rate:Q", title=f"share of {words.positive} {words.things} found",
              axis=alt.Axis(**PERCENT)),
        series,
    )  # fmt: skip
    yield figure(
        "roc", "ROC: telling the outcomes apart",
        f"Share of the {words.positive} {words.things} found against false alarms, at every threshold.",
        f"{display(candidate)}: area {short(float(area))}; guessing has .5 (dashed)", drawn,
    )  # fmt: skip


def precision_recall(
    found: Curves, candidate: str, words: Words, series: Series, share: float
) -> Iterator[Figure]:
    """Frames of ``curves.precision_recall``; ``share`` of all is positive."""
    if found[candidate].is_empty():
        return
    drawn = charts.lines(
        _stack(found),
        axis("recall:Q", f"recall: share of {words.positive} {words.things} found", **PERCENT),
        alt.Y("precision:Q", title=f"precision: share that was {words.positive}",
              axis=alt.Axis(**PERCENT), scale=alt.Scale(zero=False)),
        series,
    )  # fmt: skip
    yield figure(
        "precision_recall", "Precision against recall",
        f"How many of the {words.things} called {words.positive} were, against how many are found.",
        f"calling every {words.things[:-1]} {words.positive} has precision "
        + (f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"), drawn,
    )  # fmt: skip


def calibration(
    found: Curves, candidate: str, words: Words, series: Series, part: str
) -> Iterator[Figure]:
    """Frames of ``curves.calibration``; ``part`` names one of their bins.

    Where all of it is rare, the axes end at the data.
    """
    mine = found[candidate]
    if mine.is_empty():
        return
    off = np.abs(mine["mean_probability"].to_numpy() - mine["observed_rate"].to_numpy()).max()
    frame = _stack(found)
    x = axis("mean_probability:Q", f"predicted probability, mean of a {part} of the {words.things}",
             **PERCENT)  # fmt: skip
    y = alt.Y("observed_rate:Q", title=f"observed {words.rate}", axis=alt.Axis(**PERCENT))
    most = max(float(frame[name].max() or 0) for name in ("mean_probability", "observed_rate", "high"))  # type: ignore[arg-type]
    whole, title = charts.diagonal(), "Calibration: does 70% mean 70%?"
    if most < RARE:
        whole, title = charts.diagonal(most), "Calibration: does it happen as often as predicted?"
        percent: dict[str, Any] = {"format": ".2~%", "tickCount": 5}
        scale = alt.Scale(domain=[0, most], nice=False)
        x, y = (each.scale(scale).axis(alt.Axis(**percent)) for each in (x, y))
    colour = alt.Color(
        "series:N", scale=alt.Scale(domain=[n for n, _ in series], range=[c for _, c in series])
    )
    whiskers = alt.Chart(frame).mark_rule(opacity=0.5, strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
    )  # fmt: skip
    point = {"filled": True, "size": 34}
    yield figure(
        "calibration", title,
        f"Predicted probability against observed {words.rate} in {part}s of the {words.things}, with "
        "Wilson 95 % intervals; on the dashed line, predictions mean what they say.",
        f"{display(candidate)} is off by {off:.1%} in its worst {part}",
        whole + whiskers + charts.lines(frame, x, y, series, point=point, strokeWidth=1.2),
    )  # fmt: skip


def confusion(counts: Counts, candidate: str, words: Words, threshold: float) -> Figure:
    """``counts`` are (was positive, called positive at ``threshold``, how many), positives first."""
    every = sum(rows for _, _, rows in counts)
    right = sum(rows for fact, call, rows in counts if fact == call) / max(every, 1)
    return figure(
        "confusion", f"Decisions at the threshold {threshold:.2f}",
        f"What {display(candidate)} called the {words.things}, and what they were; "
        "per cent of each row.",
        f"{right:.1%} of {every:,} decisions are right",
        cells(counts, words, (f"called {words.positive}", f"called {words.negative}"))
        .properties(width=charts.WIDTH - 90, height=200),
    )  # fmt: skip


def cells(counts: Counts, words: Words, calls: tuple[str, str]) -> Any:
    """Two by two cells with their counts; ``calls`` say what True and False of the call are."""
    names = {True: words.positive, False: words.negative}
    called = dict(zip((True, False), calls, strict=True))
    total = {fact: sum(rows for was, _, rows in counts if was == fact) for fact in names}
    frame = pl.DataFrame(
        {
            "fact": [f"was {names[fact]}" for fact, _, _ in counts],
            "call": [called[call] for _, call, _ in counts],
            "rows": [rows for _, _, rows in counts],
            "share": [rows / max(total[fact], 1) for fact, _, rows in counts],
            "text": [f"{rows:,}" for _, _, rows in counts],
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
    return base.mark_rect(stroke=charts.PAPER, strokeWidth=3).encode(color=share) + count + row


def _stack(found: Curves) -> pl.DataFrame:
    return pl.concat(frame.with_columns(series=pl.lit(display(name))) for name, frame in found.items())
