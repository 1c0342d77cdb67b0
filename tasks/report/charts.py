"""How every figure looks: palette, theme, and the few shapes that all figures are made of.

A shape takes a tiny frame and gives an Altair chart; ``svg`` renders it, offline and to the same
bytes for the same input, while the next is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from tasks.report import rendering

INK, MUTED, GRID, PAPER = "#1f2937", "#6b7280", "#e5e7eb", "#ffffff"
ACCENT, POSITIVE, NEGATIVE = "#4f46e5", "#0284c7", "#ea580c"
MODEL_COLOURS = {
    "base_rate": "#9ca3af",
    "heuristic": "#d97706",
    "logistic": "#0f9d8a",
    "lightgbm": ACCENT,
    "predicted_probability": ACCENT,
    "lambdamart": "#0284c7",
    "blend": "#be185d",
    "corrected": "#7c3aed",
}
OTHER_COLOURS = ("#be185d", "#0369a1", "#65a30d", "#7c3aed")
WIDTH, HEIGHT = 450, 270
NARROW = 310  # of charts with names at the left and numbers at the right
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
Z95 = 1.959964
_TEXT = {
    "labelFont": FONT, "titleFont": FONT, "labelColor": MUTED, "titleColor": INK,
    "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal",
}  # fmt: skip
_CONFIG: dict[str, Any] = {
    "background": PAPER,
    "font": FONT,
    "padding": 10,
    "view": {"stroke": None},
    "title": {
        "anchor": "start", "frame": "bounds", "font": FONT, "fontSize": 14, "fontWeight": 600,
        "color": INK, "subtitleFont": FONT, "subtitleFontSize": 11.5,
        "subtitleColor": MUTED, "subtitlePadding": 5, "offset": 12,
    },
    "axis": {
        **_TEXT, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "titlePadding": 8,
        "labelPadding": 5, "labelLimit": 230, "labelOverlap": True, "labelFlush": False, "tickSize": 4,
    },
    "legend": {
        **_TEXT, "labelColor": INK, "title": None, "orient": "top", "symbolType": "circle",
        "labelLimit": 220, "columnPadding": 14, "offset": 8, "symbolOpacity": 1, "symbolStrokeWidth": 3,
    },
    "text": {"font": FONT, "fontSize": 11, "color": INK},
    "line": {"strokeWidth": 2},
    "bar": {"color": ACCENT},
    "point": {"filled": True, "size": 42, "opacity": 1},
    "rule": {"color": MUTED},
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure: ``name`` is its file's stem, ``shows`` one line, ``notice`` the number in it."""

    name: str
    title: str
    shows: str
    notice: str
    drawing: Future[str]

    @property
    def svg(self) -> str:
        """The drawing, as soon as it is there."""
        return self.drawing.result()


def figure(name: str, title: str, shows: str, notice: str, chart: Any) -> Figure:
    """Begin to draw ``chart`` under ``title``; ``notice`` becomes its subtitle."""
    # its parts have been validated when they were made: again takes as long as all else here
    spec = chart.properties(title=alt.TitleParams(title, subtitle=notice)).to_dict(validate=False)
    return Figure(name, title, shows, notice, rendering.beside(svg, name, spec | {"config": _CONFIG}))


def svg(name: str, spec: dict[str, Any]) -> str:
    """The chart as SVG with text as text; ids are named after the figure, not after the process."""
    text = rendering.vega(spec)
    ids = dict.fromkeys(re.findall(r'\bid="([^"]+)"', text))
    for place, old in enumerate(ids):
        new = f"{name}-{place}"
        text = text.replace(f'id="{old}"', f'id="{new}"').replace(f"url(#{old})", f"url(#{new})")
    return text + "\n"


def wilson(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``rate``, ``low`` and ``high`` to ``rows`` and ``positives``.

    The 95 % score interval of Wilson (1927): it stays within [0, 1] and holds for few rows.
    """
    n, share = pl.col("rows"), pl.col("positives") / pl.col("rows")
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (share * (1 - share) / n + Z95**2 / (4 * n**2)).sqrt()
    return frame.with_columns(
        rate=share, low=(centre - half).clip(0, 1), high=(centre + half).clip(0, 1)
    )


def columns(frame: pl.DataFrame, x: str, y: str, x_title: str, y_title: str, form: str = "~s") -> Any:
    """Upright bars: ``x`` an ordered label in the frame's order, ``y`` a number."""
    return _sized(
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=2, size=min(46.0, 0.8 * WIDTH / max(frame.height, 1)))
        .encode(
            x=alt.X(f"{x}:N", sort=None, title=x_title, axis=alt.Axis(labelAngle=0, grid=False)),
            y=alt.Y(f"{y}:Q", title=y_title, axis=alt.Axis(format=form, tickCount=5, tickMinStep=1)),
        )
    )


def bars(frame: pl.DataFrame, label: str, value: str, title: str, form: str, texts: str) -> Any:
    """Lying bars, one a row, in the frame's order, with their number written beside them."""
    base = alt.Chart(frame).encode(y=_rows(label))
    most = _number(frame[value].max())
    ticks: dict[str, Any] = {"tickCount": 5}
    if form == "%" and most > 0.75:  # no tick beyond the whole
        ticks = {"values": [0, 0.25, 0.5, 0.75, 1]}
    x = alt.X(f"{value}:Q", title=title, axis=alt.Axis(format=form, **ticks))
    room = alt.Scale(domain=[0, most * 1.3 or 1.0])  # for the number beside the longest bar
    drawn = base.mark_bar(cornerRadiusEnd=2).encode(x=x.scale(room))
    beside = base.mark_text(align="left", dx=5, color=MUTED).encode(x=x, text=f"{texts}:N")
    return _tall(drawn + beside, frame)


def intervals(frame: pl.DataFrame, label: str, title: str, form: str, mark: float | None = None) -> Any:
    """Points with 95 % whiskers, one a row: ``rate``, ``low``, ``high``, and ``text`` at the right.

    A column ``colour`` colours the points; ``mark`` puts a dashed line at a value.
    """
    low, high = _number(frame["low"].min()), _number(frame["high"].max())
    if mark is not None:
        low, high = min(low, mark), max(high, mark)
    pad = (high - low) * 0.06 or 0.01
    scale = alt.Scale(domain=[low - pad, high + pad], nice=False, zero=False)
    colour: Any = alt.value(ACCENT)
    if "colour" in frame.columns:
        colour = alt.Color("colour:N", scale=None, legend=None)
    base = alt.Chart(frame).encode(y=_rows(label), color=colour)
    axis = alt.Axis(format=form, tickCount=5)
    whisker = base.mark_rule(strokeWidth=2, opacity=0.55).encode(
        x=alt.X("low:Q", title=title, scale=scale, axis=axis), x2="high:Q"
    )
    point = base.mark_point(filled=True, size=55).encode(x=alt.X("rate:Q", title=title, scale=scale))
    words = base.mark_text(align="left", color=MUTED).encode(
        text="text:N", x=alt.value(NARROW + 8), color=alt.value(MUTED)
    )
    drawn = whisker + point + words
    if mark is not None:
        at = alt.Chart(pl.DataFrame({"mark": [mark]})).mark_rule(strokeDash=[4, 4], color=MUTED)
        drawn = at.encode(x=alt.X("mark:Q", title=title, scale=scale, axis=axis)) + drawn
    return _tall(drawn, frame)


def band(frame: pl.DataFrame, x: Any, y_title: str, average: float, form: str = "%") -> Any:
    """A rate with its interval as a band along ``x``, and a dashed line at ``average``."""
    low, high = _number(frame["low"].min()), _number(frame["high"].max())
    pad = (high - low) * 0.08 or 0.01
    scale = alt.Scale(domain=[max(0.0, low - pad), min(1.0, high + pad)], nice=False)
    axis = alt.Axis(format=form, tickCount=5)
    base = alt.Chart(frame).encode(x=x)
    area = base.mark_area(opacity=0.18, color=ACCENT).encode(
        y=alt.Y("low:Q", title=y_title, scale=scale, axis=axis), y2="high:Q"
    )
    line = base.mark_line(color=ACCENT, point={"filled": True, "size": 28, "color": ACCENT}).encode(
        y=alt.Y("rate:Q", title=y_title, scale=scale)
    )
    rule = alt.Chart(pl.DataFrame({"average": [average]})).mark_rule(strokeDash=[4, 4], color=MUTED)
    return _sized(rule.encode(y=alt.Y("average:Q", scale=scale, title=y_title)) + area + line)


def lines(frame: pl.DataFrame, x: Any, y: Any, series: Sequence[tuple[str, str]], **mark: Any) -> Any:
    """One line per value of ``series`` (name, colour), a legend only where there is a choice."""
    names, colours = [name for name, _ in series], [colour for _, colour in series]
    legend = alt.Legend(columns=len(names), symbolType="stroke") if len(names) > 1 else None
    scale = alt.Scale(domain=names, range=colours)
    return _sized(
        alt.Chart(frame)
        .mark_line(**mark)
        .encode(
            x=x,
            y=y,
            color=alt.Color("series:N", sort=names, legend=legend, title=None, scale=scale),
        )
    )


def diagonal(end: float = 1.0) -> Any:
    """The dashed line of no skill, or of perfect calibration, up to ``end``."""
    corners = pl.DataFrame({"x": [0.0, end], "y": [0.0, end]})
    return (
        alt.Chart(corners)
        .mark_line(strokeDash=[4, 4], color=MUTED, strokeWidth=1)
        .encode(x="x:Q", y="y:Q")
    )


def heat(frame: pl.DataFrame, x: Any, y: Any, value: str, title: str, height: int) -> Any:
    """Cells coloured by ``value``, light to dark."""
    scale = alt.Scale(range=["#eef2ff", "#a5b4fc", "#6366f1", "#3730a3"], domainMin=0)
    legend = alt.Legend(title=title, orient="right", format="~s", gradientLength=height - 30)
    colour = alt.Color(f"{value}:Q", scale=scale, legend=legend)
    chart = alt.Chart(frame).mark_rect(stroke=PAPER, strokeWidth=1).encode(x=x, y=y, color=colour)
    return chart.properties(width=WIDTH - 20, height=height)


def axis(name: str, title: str, **options: Any) -> Any:
    """The x axis of a column ``name:kind``."""
    return alt.X(name, title=title, axis=alt.Axis(**options))


def model_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each model; those without one of their own take from a fixed row."""
    spare = iter(OTHER_COLOURS * (1 + len(names)))
    return {name: MODEL_COLOURS.get(name) or next(spare) for name in names}


def _rows(label: str) -> Any:
    return alt.Y(f"{label}:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False))


def _sized(chart: Any) -> Any:
    return chart.properties(width=WIDTH, height=HEIGHT)


def _tall(chart: Any, frame: pl.DataFrame) -> Any:
    return chart.properties(width=NARROW, height=alt.Step(24 if frame.height < 12 else 19))


def _number(value: Any) -> float:
    return 0.0 if value is None else float(value)
