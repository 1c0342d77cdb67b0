"""What a ranker of lists looks at, and whom its lists serve worse: figures and words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import altair as alt
import polars as pl

from tasks.metrics import cohorts
from tasks.metrics.binary import Interval
from tasks.report import charts
from tasks.report.charts import Figure, figure
from tasks.report.content import display
from tasks.report.list_content import ATTRIBUTES, Told, clipped, cohort, direction, lowest, weights
from tasks.report.text import count, number, short

TOP_FEATURES = 20
MOST = 8  # cohorts of one attribute that are drawn, the largest
GAIN = "ndcg_gain"


def draw(told: Told) -> list[Figure]:
    """Importance by gain and by contribution; cohorts' NDCG, and their gain over a single retriever."""
    return [*gain(told), *contributions(told), *served(told), *gained(told)]


def gain(told: Told) -> Iterator[Figure]:
    """Shares of the candidate's trees' loss reduction, where it has trees."""
    own = weights(told).drop_nulls("gain").filter(pl.col("gain") > 0).sort("gain", descending=True)
    if own.is_empty():
        return
    top = own.head(TOP_FEATURES)
    frame = top.select(
        label="feature",
        share="gain",
        text=pl.col("gain").map_elements(lambda share: f"{share:.1%}", return_dtype=pl.String),
    )
    yield figure(
        "importance_gain", f"What {display(told.candidate)} splits by",
        f"Share of the trees' total gain (loss reduction) of the {count(top.height, 'feature')} with "
        "the most.",
        f"{frame['label'][0]} brings {frame['share'][0]:.0%} of the gain; these {top.height} bring "
        f"{frame['share'].sum():.0%}",
        charts.bars(frame, "label", "share", "share of total gain", "%", "text"),
    )  # fmt: skip


def contributions(told: Told) -> Iterator[Figure]:
    """How far features move the candidate's order, and which way."""
    own = weights(told).filter(pl.col("contribution") > 0)
    if own.is_empty():
        return
    top = own.head(TOP_FEATURES)
    frame = top.select(
        label="feature",
        moved="contribution",
        text=pl.struct("contribution", "direction").map_elements(
            lambda row: f"{short(row['contribution'])} · {direction(row['direction'])}",
            return_dtype=pl.String,
        ),
    )
    yield figure(
        "importance_shap", f"What moves a track up or down {display(told.candidate)}'s list",
        "Mean size of what each feature adds to a candidate's log odds or order (of trees: SHAP "
        "values), over candidates drawn from the judged window; ↑: more of it moves a track up.",
        f"{frame['label'][0]} moves a candidate by {short(frame['moved'][0])} on average",
        charts.bars(frame, "label", "moved", "mean |contribution|", ".2~f", "text"),
    )  # fmt: skip


def served(told: Told) -> Iterator[Figure]:
    """NDCG of the candidate's lists by cohort."""
    panels = _panels(told, "ndcg", f"NDCG@{told.facts['k']}")
    if not panels:
        return
    worst = lowest(told, 1)
    notice = "dashed: everyone"
    if not worst.is_empty():
        row = worst.row(0, named=True)
        everyone = f"everyone {short(row['overall'])} (dashed)"
        notice = f"lowest: {cohort(row)} with {short(row['value'])}; {everyone}"
    yield figure(
        "cohorts", f"Whom {display(told.candidate)}'s lists serve",
        "NDCG of all plays by cohort of users as of the cutoff, with 95 % intervals by user and the "
        "number of users; cohorts of fewer than 10 are pooled. Of many a few differ by chance alone.",
        notice, alt.vconcat(*panels, spacing=18).resolve_scale(x="shared"),
    )  # fmt: skip


def gained(told: Told) -> Iterator[Figure]:
    """The candidate's NDCG minus the best single retriever's, by cohort."""
    panels = _panels(told, GAIN, f"NDCG@{told.facts['k']} minus {display(told.best)}'s", 0.0)
    if not panels:
        return
    rows = told.tables["cohorts"].filter(
        pl.col("metric") == GAIN,
        pl.col("attribute") != cohorts.ALL,
        pl.col("cohort") != cohorts.FEW,
        pl.col("low").is_not_nan(),
    )
    better, worse = rows.filter(pl.col("low") > 0).height, rows.filter(pl.col("high") < 0).height
    yield figure(
        "cohort_gains", f"Whom ranking helps, against {display(told.best)} alone",
        "The same users' NDCG minus that of the best single retriever's lists, paired, with 95 % "
        "intervals by user; right of the dashed line, ranking helps.",
        f"better in {better} of {count(rows.height, 'cohort')}, worse in {worse}",
        alt.vconcat(*panels, spacing=18).resolve_scale(x="shared"),
    )  # fmt: skip


def _panels(told: Told, metric: str, title: str, mark: float | None = None) -> list[Any]:
    found = told.tables["cohorts"].filter(
        pl.col("metric") == metric, pl.col("value").is_not_null(), pl.col("value").is_not_nan()
    )
    everyone = found.filter(pl.col("attribute") == cohorts.ALL)["value"]
    if everyone.is_empty():
        return []
    panels = []
    for attribute, meaning in ATTRIBUTES.items():
        own = found.filter(pl.col("attribute") == attribute)
        if own.filter(~pl.col("cohort").is_in([cohorts.UNKNOWN, cohorts.FEW])).height < 2:
            continue
        largest = own.sort("users", descending=True, maintain_order=True)["cohort"].head(MOST)
        frame = own.filter(pl.col("cohort").is_in(largest.implode())).select(
            label=pl.col("cohort").map_elements(lambda name: clipped(name, 28), return_dtype=pl.String),
            rate="value",
            low=pl.col("low").fill_nan(None).fill_null(pl.col("value")),
            high=pl.col("high").fill_nan(None).fill_null(pl.col("value")),
            text=pl.struct("value", "low", "high", "users").map_elements(_text, return_dtype=pl.String),
        )
        at = everyone.item() if mark is None else mark
        panels.append(charts.intervals(frame, "label", f"{title}, by {meaning}", ".2~f", at))
    return panels


def _text(row: dict[str, Any]) -> str:
    interval = Interval(row["value"], row["low"], row["high"])
    return f"{number(interval)} · {row['users']:,}"
