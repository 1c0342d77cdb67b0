"""The figures of `monitor`: drift by feature, and forecasts against facts since training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from tasks.metrics import curves
from tasks.report import charts
from tasks.report.charts import Figure, axis, figure
from tasks.report.text import count
from tasks.report.words import Words

NAMES = ("monitor_drift", "monitor_calibration")
MOST = 20  # features drawn
COLOURS = {"strong": charts.NEGATIVE, "slight": "#d97706", "calendar": "#9ca3af", "none": charts.ACCENT}


def draw(facts: Mapping[str, Any], scored: Path | None, words: Words) -> list[Figure]:
    """Those that can be drawn, in reading order."""
    return [
        *_drift(facts["features"], facts["strong"]),
        *(_calibration(scored, words) if scored else ()),
    ]


def _drift(rows: list[dict[str, Any]], mark: float) -> Iterator[Figure]:
    told = [row for row in rows if row["psi"]["low"] is not None and np.isfinite(row["psi"]["low"])]
    told = sorted(told, key=lambda row: (-row["gain"], -row["psi"]["value"]))[:MOST]
    if not told:
        return
    frame = pl.DataFrame(
        {
            "label": [row["feature"] for row in told],
            "rate": [row["psi"]["value"] for row in told],
            "low": [row["psi"]["low"] for row in told],
            "high": [row["psi"]["high"] for row in told],
            "colour": [COLOURS[row["drift"]] for row in told],
            "text": [f"usual {row['usual']['value']:.2f}" if row["usual"] else "" for row in told],
        }
    )
    strong = sum(row["drift"] == "strong" for row in rows)
    yield figure(
        "monitor_drift", "Drift of the features that the model rests on",
        "Population stability index since training with 95 % intervals, the largest gains first; dashed "
        f"is {mark:g}, from which much has changed. Orange is unusual too, grey the calendar's.",
        f"{count(strong, 'feature')} of {len(rows)} drifted strongly",
        charts.intervals(frame, "label", "population stability index", ".2f", mark),
    )  # fmt: skip


def _calibration(scored: Path, words: Words) -> Iterator[Figure]:
    frame = pl.read_parquet(scored)
    told = curves.calibration(frame["target"].to_numpy(), frame["predicted_probability"].to_numpy())
    percent: dict[str, Any] = {"format": "%", "tickCount": 5}
    base = alt.Chart(told).encode(
        x=axis("mean_probability:Q", "predicted probability, mean of a tenth of the plays", **percent)
    )
    whisker = base.mark_rule(color=charts.ACCENT, opacity=0.5, strokeWidth=2).encode(
        y=alt.Y("low:Q", title=f"share that was {words.positive}", axis=alt.Axis(**percent)), y2="high:Q"
    )
    point = base.mark_point(filled=True, size=50, color=charts.ACCENT).encode(
        y=alt.Y("observed_rate:Q", title=f"share that was {words.positive}")
    )
    off = float((told["observed_rate"] - told["mean_probability"]).abs().max())  # type: ignore[arg-type]
    drawn = (charts.diagonal() + whisker + point).properties(width=charts.WIDTH, height=charts.HEIGHT)
    yield figure(
        "monitor_calibration", "Forecasts against facts since training",
        f"Tenths of the {frame.height:,} new plays by forecast, with 95 % intervals; on the dashed line "
        "forecasts are right.",
        f"furthest off by {off:.1%}", drawn,
    )  # fmt: skip
