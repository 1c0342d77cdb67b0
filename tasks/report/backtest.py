"""BACKTEST.md: what the lists are worth, against every single retriever, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tasks.metrics.binary import Interval
from tasks.report.content import display
from tasks.report.list_content import (
    ATTRIBUTES,
    Told,
    clipped,
    cohort,
    direction,
    looked_at,
    lowest,
    weights,
)
from tasks.report.text import count, number, plain, short, table

MODES = {
    "include": "all plays",
    "exclude": "discoveries (tracks the user had not played)",
    "only": "repeats (tracks the user had played)",
}
SHOWN = {
    "ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "recall": "recall", "precision": "precision",
    "hit": "hit rate", "novelty": "novelty (bits)", "genre_diversity": "genre diversity",
    "audio_diversity": "audio diversity",
}  # fmt: skip
WORST, SHOWN_MISTAKES, WEIGHTIEST = 5, 10, 10  # lines of the short tables
FEW = 30  # units below which an interval says little


def verdict(facts: Mapping[str, Any], candidate: str) -> str:
    """Whether the candidate's lists beat the best single retriever's, by NDCG of all plays."""
    return _verdict(facts, candidate, "include") or "No user played anything known in the window."


def _verdict(facts: Mapping[str, Any], candidate: str, mode: str) -> str | None:
    own = _row(facts["metrics"], mode=mode, system=candidate, metric="ndcg")
    rivals = [
        row for row in facts["differences"]
        if (row["mode"], row["system"], row["metric"]) == (mode, candidate, "ndcg")
    ]  # fmt: skip
    if own is None or not rivals:
        return None
    closest = min(rivals, key=lambda row: row["value"])
    value, low, high = closest["value"], closest["low"], closest["high"]
    bounds = f" ({low:+.4f} to {high:+.4f})" if low == low else ""  # one user has none
    told = f"NDCG@{facts['k']} {number(_bounds(own))}, {value:+.4f}{bounds}"
    against = f"than the best single retriever, {closest['against']}"
    if own["units"] < FEW:
        word = "Too little data to be sure: lists are"
    elif low > 0:
        return f"Ranked lists are better {against}: {told}."
    elif high < 0:
        return f"Ranked lists are worse {against}: {told}."
    else:
        word = "The data cannot tell whether ranked lists are"
    return f"{word} better {against}: {told}."


def page(dataset: str, told: Told, cutoffs: Sequence[str]) -> str:
    """The whole page; ``cutoffs`` in words. It names tracks, and no user."""
    facts, candidate = told.facts, told.candidate
    parts = [
        f"# {plain(dataset)}: lists",
        f"**{verdict(facts, candidate)}**",
        f"Judged at {count(len(cutoffs), 'cutoff')} ({', '.join(cutoffs)}): each system saw what lies "
        f"before, its list of {facts['k']} is compared with what users played in the window after. "
        "The whole catalogue was open; nothing was sampled. 95 % intervals are bootstraps by user.",
    ]
    if facts["k"] > facts["depth"]:
        parts.append(
            f"Single retrievers are judged by what they gave to the union, which surely holds their "
            f"first {facts['depth']} tracks: at {facts['k']} they may be better than shown."
        )
    for mode, meaning in MODES.items():
        rows = [row for row in facts["metrics"] if row["mode"] == mode]
        if not rows:
            continue
        parts += [f"## {meaning[0].upper()}{meaning[1:]}", _verdict(facts, candidate, mode) or ""]
        parts.append(table(*systems(facts, mode)))
        parts.append(f"{rows[0]['units']:,} units of kind {rows[0]['unit']}.")
    parts += [
        "## Recall of candidates",
        _recall(told.tables["recall"]),
        "Coverage (share of the catalogue on anybody's list) and the Gini coefficient of exposure have "
        "no interval: resampling users lowers coverage by itself.",
        *_served(told),
        *_mistaken(told),
        *_weighed(told),
        "## To look at",
        "`lists/dashboard.html` (open in a browser): recall, accuracy, calibration, importance, "
        "cohorts, coverage and the long tail as figures (`lists/*.svg`), and pages of sample "
        "listeners. `cohorts.csv`, `importance.csv` and `mistakes.csv` hold the tables in full.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def systems(facts: Mapping[str, Any], mode: str) -> tuple[list[str], list[tuple[str, ...]]]:
    """Header and a row per system; metrics that nobody has a value of are left out."""
    names = list(dict.fromkeys(row["system"] for row in facts["metrics"] if row["mode"] == mode))
    wide = pl.DataFrame(facts["spread"]).filter(pl.col("mode") == mode)
    shown = {
        metric: name for metric, name in SHOWN.items()
        if any(row["value"] == row["value"] for row in facts["metrics"]
               if (row["mode"], row["metric"]) == (mode, metric))
    }  # fmt: skip
    lines = []
    for system in names:
        found = {
            row["metric"]: interval(row)
            for row in facts["metrics"]
            if (row["mode"], row["system"]) == (mode, system)
        }
        own = wide.filter(pl.col("system") == system)
        means = own.select(pl.col("coverage", "gini").fill_nan(None).mean()).row(0)
        spread = ["–" if mean is None else f"{mean:.3f}" for mean in means]
        lines.append((system, *(found[metric] for metric in shown), *spread))
    return ["system", *shown.values(), "coverage", "Gini"], lines


def _served(told: Told) -> list[str]:
    looked = looked_at(told)
    found = lowest(told, WORST)
    if found.is_empty():
        return []
    rows = [
        (cohort(row), f"{row['users']:,}", interval(row), "yes" if row["below"] else "no")
        for row in found.iter_rows(named=True)
    ]
    below = lowest(told, looked.height)["below"].sum()
    chance = (
        f"about {looked.height / 40:.0f} would be" if looked.height >= 40 else "at most one would be"
    )
    everyone = short(found["overall"][0])
    by = ", ".join(ATTRIBUTES[name] for name in looked["attribute"].unique(maintain_order=True))
    return [
        "## Whom the lists serve worse",
        f"Lists by {display(told.candidate)}, all plays: the lowest of "
        f"{count(looked.height, 'cohort')} of at least ten users, by {by}. Everyone's "
        f"NDCG@{told.facts['k']} is {everyone}; the whole interval lies below it for {below}, where by "
        f"chance alone {chance}.",
        table(("cohort", "users", f"NDCG@{told.facts['k']}", "surely below"), rows),
    ]


def _mistaken(told: Told) -> list[str]:
    wrong = told.tables["mistakes"].head(SHOWN_MISTAKES)
    if wrong.is_empty():
        return []
    rows = [
        (
            clipped(row["name"] or row["track_id"], 80), clipped(row["artist"] or "–", 60),
            f"{row['rank']}", f"{row['probability']:.1%}", "yes" if row["heard"] else "no",
        )
        for row in wrong.iter_rows(named=True)
    ]  # fmt: skip
    return [
        "## The most confident mistakes",
        "What was most surely recommended at the newest cutoff, to users who did play something, and "
        "was not played in the window.",
        table(("track", "artist", "rank", "probability", "known to the user"), rows),
    ]


def _weighed(told: Told) -> list[str]:
    own = weights(told).filter(pl.col("contribution") > 0).head(WEIGHTIEST)
    if own.is_empty():
        return []
    trees = own["gain"].null_count() < own.height
    rows = [
        (
            row["feature"], short(row["contribution"]), direction(row["direction"]),
            *([f"{row['gain']:.1%}" if row["gain"] is not None else "–"] if trees else []),
        )
        for row in own.iter_rows(named=True)
    ]  # fmt: skip
    header = ("feature", "mean |contribution|", "more of it", *(["share of gain"] if trees else []))
    return [
        "## What the ranker looks at",
        f"How far each feature moves a candidate of {display(told.candidate)} up or down, on average"
        + (" (SHAP values)." if trees else "."),
        table(header, rows),
    ]


def _recall(recall: pl.DataFrame) -> str:
    means = (
        recall.group_by("retriever", "part", "k", maintain_order=True)
        .agg(pl.col("recall").mean())
        .with_columns(pl.col("recall").round(3).cast(pl.String).fill_null("–"))
        .with_columns(at=pl.format("{} @{}", "part", "k"))
        .pivot("at", index="retriever", values="recall")
    )
    return table(means.columns, [tuple(map(str, row)) for row in means.rows()])


def _row(rows: Sequence[Mapping[str, Any]], **wanted: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def interval(row: Mapping[str, Any]) -> str:
    """A row's value with its bounds, as text."""
    return number(_bounds(row))


def _bounds(row: Mapping[str, Any]) -> Interval:
    return Interval(*(math.nan if row[name] is None else row[name] for name in ("value", "low", "high")))
