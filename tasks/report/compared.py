"""Figures of a report's numbers: the models beside each other, and what the candidate looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator

import altair as alt
import polars as pl

from tasks.report import charts
from tasks.report.charts import Figure, figure
from tasks.report.content import LOWER_IS_BETTER, METRIC_NAMES, Report, display
from tasks.report.tables import by_gain
from tasks.report.text import number

TOP_FEATURES = 20
SHOWN = ("log_loss", "auc", "brier")


def compare(report: Report) -> list[Figure]:
    """Models by metric with intervals; feature importance, where the candidate has one."""
    return [*_comparison(report), *_importance(report)]


def _comparison(report: Report) -> Iterator[Figure]:
    colours = charts.model_colours([model.name for model in report.models])
    panels = []
    for metric in SHOWN:
        found = [
            (model, model.metrics[metric])
            for model in report.models
            if metric in model.metrics and math.isfinite(model.metrics[metric].value)
        ]
        if not found:
            continue
        frame = pl.DataFrame(
            [
                (
                    display(model.name), each.value,
                    each.low if math.isfinite(each.low) else each.value,
                    each.high if math.isfinite(each.high) else each.value,
                    number(each), colours[model.name],
                )
                for model, each in found
            ],
            schema=["label", "rate", "low", "high", "text", "colour"], orient="row",
        )  # fmt: skip
        side = "lower" if metric in LOWER_IS_BETTER else "higher"
        panels.append(
            charts.intervals(frame, "label", f"{METRIC_NAMES[metric]} ({side} is better)", ".3~f")
        )
    if not panels:
        return
    best = report.model(report.candidate)
    told = f"95 % intervals from {report.resampling_units:,} resampled units ({report.resampling_unit})"
    if best is not None and "log_loss" in best.metrics:
        told = f"{display(report.candidate)}: log loss {number(best.metrics['log_loss'])}"
    yield figure(
        "model_comparison", "The models beside each other",
        "Log loss, AUC and Brier score of every model on the same holdout plays, with 95 % intervals.",
        told, alt.vconcat(*panels, spacing=22),
    )  # fmt: skip


def _importance(report: Report) -> Iterator[Figure]:
    total = sum(each.gain for each in report.importance)
    top = by_gain(report)[:TOP_FEATURES]
    if not top or total <= 0:
        return
    shares = [each.gain / total for each in top]
    frame = pl.DataFrame(
        {
            "label": [each.feature for each in top],
            "share": shares,
            "text": [f"{share:.1%} · {each.needs}" for share, each in zip(shares, top, strict=True)],
        }
    )
    yield figure(
        "feature_importance", f"What {display(report.candidate)} looks at",
        f"Share of the total gain of the {len(top)} strongest features, and what each needs.",
        f"{top[0].feature} brings {shares[0]:.0%} of the gain; these {len(top)} bring {sum(shares):.0%}",
        charts.bars(frame, "label", "share", "share of total gain", "%", "text"),
    )  # fmt: skip
