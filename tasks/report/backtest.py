"""BACKTEST.md: what the lists are worth, against every single retriever, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tasks.metrics.binary import Interval
from tasks.report.text import count, number, plain, table

MODES = {
    "include": "all plays",
    "exclude": "discoveries (tracks the user had not played)",
    "only": "repeats (tracks the user had played)",
}
SHOWN = {
    "ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "recall": "recall", "precision": "precision",
    "hit": "hit rate", "novelty": "novelty (bits)", "genre_diversity": "genre diversity",
}  # fmt: skip
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
    told = f"NDCG@{facts['k']} {number(_interval(own))}, {value:+.4f} ({low:+.4f} to {high:+.4f})"
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


def page(
    dataset: str, facts: Mapping[str, Any], recall: pl.DataFrame, candidate: str, cutoffs: Sequence[str]
) -> str:
    """The whole page; ``recall`` as in ``lists_evaluation``."""
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
        parts.append(_systems(facts, mode))
        parts.append(f"{rows[0]['units']:,} units of kind {rows[0]['unit']}.")
    parts += [
        "## Recall of candidates",
        _recall(recall),
        "Coverage (share of the catalogue on anybody's list) and the Gini coefficient of exposure have "
        "no interval: resampling users lowers coverage by itself.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _systems(facts: Mapping[str, Any], mode: str) -> str:
    systems = list(dict.fromkeys(row["system"] for row in facts["metrics"] if row["mode"] == mode))
    wide = pl.DataFrame(facts["spread"]).filter(pl.col("mode") == mode)
    lines = []
    for system in systems:
        found = {
            row["metric"]: number(_interval(row))
            for row in facts["metrics"]
            if (row["mode"], row["system"]) == (mode, system)
        }
        own = wide.filter(pl.col("system") == system)
        means = own.select(pl.col("coverage", "gini").fill_nan(None).mean()).row(0)
        spread = ["–" if mean is None else f"{mean:.3f}" for mean in means]
        lines.append((system, *(found[metric] for metric in SHOWN), *spread))
    return table(("system", *SHOWN.values(), "coverage", "Gini"), lines)


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


def _interval(row: Mapping[str, Any]) -> Interval:
    return Interval(row["value"], row["low"], row["high"])
