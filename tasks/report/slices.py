"""Figures of scored plays by hour, time, artist and platform: aggregated in SQL, tiny frames out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import altair as alt
import polars as pl

from tasks.report import charts
from tasks.report.charts import Figure, axis, figure
from tasks.report.text import short
from tasks.report.words import Words
from tasks.warehouse import Warehouse

TOP_ARTISTS = 15
TOP_PLATFORMS = 8
BLOCKS = 20  # row blocks that stand for time where there is no clock
FEW_DAYS, FEW_WEEKS = 21, 210  # spans in days up to which days, then weeks, are legible


def by_hour(warehouse: Warehouse, words: Words, timezone: str) -> Iterator[Figure]:
    """Target rate by hour of the day; needs the relation ``scored`` and a clock."""
    frame = charts.wilson(warehouse.frame("reports/target_by_hour", timezone=timezone).sort("hour"))
    if frame.is_empty():
        return
    average = float(frame["positives"].sum()) / float(frame["rows"].sum())
    solid = frame.filter(pl.col("rows") >= 30)
    top = (frame if solid.is_empty() else solid).sort("rate", "hour").row(-1, named=True)
    drawn = charts.band(
        frame,
        axis(
            "hour:Q",
            f"hour of the day ({timezone})",
            values=list(range(0, 24, 3)),
            format="02d",
            grid=False,
        ),
        words.rate,
        average,
    )
    yield figure(
        "target_by_hour", f"{words.rate.capitalize()} by hour of the day",
        f"The {words.rate} of the holdout's plays at each hour, with 95 % intervals.",
        f"highest at {top['hour']:02d}:00 with {top['rate']:.0%}; {average:.0%} overall (dashed)", drawn,
    )  # fmt: skip


def over_time(
    warehouse: Warehouse, words: Words, timezone: str, span: tuple[datetime, datetime] | None
) -> Iterator[Figure]:
    """What came true against what was predicted, and log loss, by day, week, month or row block.

    ``span`` is the first and last start; None for a source without a clock.
    """
    if span is None:
        unit, frame = "row block", warehouse.frame("reports/target_by_block", blocks=BLOCKS)
        x = blocks()
    else:
        unit, x = period(*span, timezone)
        frame = warehouse.frame("reports/target_over_time", period=unit, timezone=timezone)
    if frame.is_empty():
        return
    frame = charts.wilson(frame.sort("period"))
    names = [f"observed {words.rate}", "mean prediction"]
    melted = pl.concat(
        frame.select("period", y=column, series=pl.lit(name))
        for column, name in zip(("rate", "predicted"), names, strict=True)
    )
    colours = list(zip(names, (charts.POSITIVE, charts.ACCENT), strict=True))
    point = {"filled": True, "size": 24}
    percent = alt.Y(
        "y:Q", title="share", scale=alt.Scale(zero=False), axis=alt.Axis(format="%", tickCount=4)
    )
    share = charts.lines(melted, x, percent, colours, point=point).properties(height=150)
    loss = charts.lines(
        frame.select("period", y="log_loss", series=pl.lit("log loss")),
        x,
        alt.Y("y:Q", title="log loss (nats)", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
        [("log loss", charts.NEGATIVE)],
        point=point,
    ).properties(height=100)
    gap = frame.select(
        ((pl.col("predicted") - pl.col("rate")).abs() * pl.col("rows")).sum() / pl.col("rows").sum()
    )
    losses = frame["log_loss"].to_numpy()
    yield figure(
        "over_time", f"Does it hold over time? By {unit}",
        f"Observed {words.rate} and mean prediction (top), and log loss (bottom), by {unit}.",
        f"prediction and outcome differ by {gap.item():.1%} on average; "
        f"log loss {short(losses.min())} to {short(losses.max())}",
        alt.vconcat(share, loss, spacing=14).resolve_scale(color="independent"),
    )  # fmt: skip


def blocks() -> Any:
    """The axis of row blocks, which stand for time where there is no clock."""
    title = f"row block (1 to {BLOCKS}, in row order)"
    return axis("period:Q", title, grid=False, tickMinStep=1).scale(zero=False, nice=False)


def period(first: datetime, last: datetime, timezone: str) -> tuple[str, Any]:
    """The unit of time that suits a span (day, week or month), and its axis."""
    days = (last - first).days
    unit = "day" if days <= FEW_DAYS else "week" if days <= FEW_WEEKS else "month"
    form = "%b %Y" if unit == "month" else "%d %b"
    title = f"{unit} ({timezone})"
    return unit, axis("period:T", title, grid=False, labelAngle=0, tickCount=6, format=form)


def by_artist(warehouse: Warehouse, words: Words) -> Iterator[Figure]:
    """Target rate of the most played artists; needs ``scored`` and ``tracks``."""
    frame = charts.wilson(
        warehouse.frame("reports/target_by_artist", top=TOP_ARTISTS)
        .rename({"times": "rows"})
        .sort("rows", "label", descending=[True, False])
    )
    if frame.is_empty():
        return
    yield from _rates(
        frame, "target_by_artist", f"{words.rate.capitalize()} of the most played artists",
        f"The {words.rate} of the {frame.height} most played artists, with Wilson 95 % intervals.",
        words, "artist",
    )  # fmt: skip


def by_platform(warehouse: Warehouse, words: Words) -> Iterator[Figure]:
    """Share of plays and target rate by platform; needs ``scored`` and ``plays``."""
    frame = charts.wilson(
        warehouse.frame("reports/target_by_platform", top=TOP_PLATFORMS)
        .rename({"times": "rows"})
        .sort("place")
    )
    if frame.is_empty():
        return
    share = frame["rows"][0] / frame["rows"].sum()
    frame = frame.with_columns(
        label=pl.col("label").str.slice(0, 32),
        share=pl.col("rows") / pl.col("rows").sum(),
        text=pl.col("rows").map_elements(lambda rows: f"{rows:,}", return_dtype=pl.String),
    )
    mix = charts.bars(frame, "label", "share", "share of the holdout's plays", "%", "text")
    told = pl.col("rate").map_elements(lambda rate: f"{rate:.1%}", return_dtype=pl.String)
    rates = charts.intervals(frame.with_columns(text=told), "label", words.rate, "%")
    yield figure(
        "platform_mix", "Where plays come from, and how they end",
        f"Share of plays by platform or, without any, by place in the app, and their {words.rate}.",
        f"most plays come from {frame['label'][0]} ({share:.0%})",
        alt.vconcat(mix, rates, spacing=18),
    )  # fmt: skip


def _rates(
    frame: pl.DataFrame, name: str, title: str, shows: str, words: Words, what: str
) -> Iterator[Figure]:
    frame = frame.with_columns(
        label=pl.col("label").str.slice(0, 40),
        text=pl.col("rows").map_elements(lambda rows: f"{rows:,} plays", return_dtype=pl.String),
    )
    low, high = (
        frame.sort("rate", "label").row(0, named=True),
        frame.sort("rate", "label").row(-1, named=True),
    )
    notice = f"from {low['rate']:.0%} ({low['label']}) to {high['rate']:.0%} ({high['label']})"
    if frame.height == 1:
        notice = f"one {what}: {high['label']}, {high['rate']:.0%}"
    yield figure(name, title, shows, notice, charts.intervals(frame, "label", words.rate, "%"))
