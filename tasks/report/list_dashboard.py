"""lists/dashboard.html: judged lists on one page, with their figures and pages of sample listeners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from schemas.config import Store
from tasks.report import backtest, list_figures, list_insight, listener, page
from tasks.report.charts import Figure
from tasks.report.content import display
from tasks.report.files import write_text
from tasks.report.list_content import Told, cohort, looked_at, lowest
from tasks.report.listener import Page
from tasks.report.text import count, short

NEEDS = {
    "ndcg": "needs lists with an NDCG",
    "recall": "needs candidates",
    "accuracy": "needs lists with metrics",
    "coverage": "needs lists",
    "long_tail": "needs lists",
    "precision_recall": "needs candidates that were played and others that were not",
    "roc": "needs candidates that were played and others that were not",
    "calibration": "needs candidates",
    "confusion": "needs candidates",
    "importance_gain": "needs a ranker of trees",
    "importance_shap": "needs a ranker that tells what its columns add",
    "cohorts": "needs an attribute with two cohorts of ten users",
    "cohort_gains": "needs an attribute with two cohorts of ten users",
}
PAGES = "pages"


def write(
    told: Told,
    dataset: str,
    cutoffs: Sequence[str],
    pages: int,
    tables: Mapping[str, Path],
    timezone: str,
    store: Store,
    seed: int,
    folder: Path,
) -> None:
    """Write ``lists`` (figures, dashboard, pages) and ``shared`` (a dashboard that names no user).

    ``cutoffs`` in words; ``tables``: plays and tracks. ``pages`` users get a page, drawn by ``seed``.
    """
    drawn = [*list_figures.draw(told), *list_insight.draw(told), *list_figures.decisions(told)]
    for each in drawn:
        write_text(folder / "lists" / f"{each.name}.svg", each.svg)
    chosen = listener.sampled(told.tables["users"], told.facts["newest"], pages, seed)
    place = told.facts["cutoffs"].index(told.facts["newest"])
    made = listener.write(
        told, chosen, cutoffs[place], dataset, tables, timezone, store, folder / "lists" / PAGES
    )
    write_text(folder / "lists" / "dashboard.html", dashboard(told, dataset, cutoffs, drawn, made))
    write_text(folder / "shared" / "dashboard.html", dashboard(told, dataset, cutoffs, drawn, []))


def dashboard(
    told: Told, dataset: str, cutoffs: Sequence[str], figures: Sequence[Figure], pages: Sequence[Page]
) -> str:
    """The page; with links to ``pages`` in the folder ``PAGES`` beside it, if there are any."""
    k = told.facts["k"]
    body = [
        page.paragraph(backtest.verdict(told.facts, told.candidate), "verdict"),
        page.paragraph(
            f"Judged at {count(len(cutoffs), 'cutoff')} ({', '.join(cutoffs)}): each system saw what "
            f"lies before, its list of {k} is compared with what users played in the window after. "
            "The whole catalogue was open; nothing was sampled.",
        ),
        page.cards(_cards(told)),
    ]
    if pages:
        body += [
            page.heading("Sample listeners"),
            page.links((f"{PAGES}/{each.name}", each.label) for each in pages),
        ]
    names = {each.name for each in figures}
    body += [
        page.heading("Figures"),
        page.gallery(figures),
        page.listing(f"{name}: {why}" for name, why in NEEDS.items() if name not in names),
        page.heading("All numbers"),
        *(
            page.fold(meaning, page.grid(_caption(told, mode), *backtest.systems(told.facts, mode)))
            for mode, meaning in backtest.MODES.items()
            if any(row["mode"] == mode for row in told.facts["metrics"])
        ),
        *_served(told),
    ]
    return page.page(
        f"{dataset}: lists", "two stages: retrieval and ranking", body,
        "This page is self-contained and fetches nothing.",
    )  # fmt: skip


def _cards(told: Told) -> dict[str, tuple[str, str]]:
    facts, k = told.facts, told.facts["k"]
    cards = {}
    for row in told.metrics("include", "ndcg"):
        if row["system"] in (told.candidate, told.best):
            small = f"{short(row['low'])} to {short(row['high'])}" if row["low"] == row["low"] else ""
            cards[f"NDCG@{k}, {display(row['system'])}"] = (short(row["value"]), small)
    for row in facts["differences"]:
        if (row["mode"], row["system"], row["against"], row["metric"]) == (
            "include", told.candidate, told.best, "ndcg"
        ) and row["value"] == row["value"]:  # fmt: skip
            small = f"{short(row['low'], '+')} to {short(row['high'], '+')}"
            small = small if row["low"] == row["low"] else "one user has no interval"
            cards["difference, paired"] = (short(row["value"], "+"), small)
    found = told.tables["recall"].filter(pl.col("part") == "all", pl.col("recall").is_not_null())
    if not found.is_empty():
        deepest = found.filter(pl.col("k") == found["k"].max())
        best = deepest.group_by("retriever").agg(pl.col("recall").mean()).sort("recall")
        name, share = best.row(-1)
        cards["played tracks among candidates"] = (f"{share:.1%}", f"by {display(name)}, mean per user")
    users = told.tables["users"]
    cards["users judged"] = (
        f"{users['user'].n_unique():,}", f"at {count(len(facts['cutoffs']), 'cutoff')}"
    )  # fmt: skip
    return cards


def _caption(told: Told, mode: str) -> str:
    row = next(row for row in told.facts["metrics"] if row["mode"] == mode)
    return f"Lists of {told.facts['k']}; 95 % intervals by {row['unit']}, of {row['units']:,}."


def _served(told: Told) -> list[str]:
    looked = looked_at(told).height
    if not looked:
        return []
    rows = [
        (cohort(row), f"{row['users']:,}", backtest.interval(row), "yes" if row["below"] else "no")
        for row in lowest(told, 10).iter_rows(named=True)
    ]
    header = ("cohort", "users", f"NDCG@{told.facts['k']}", "surely below everyone's")
    return [
        page.fold(f"The lowest of {looked} cohorts", page.grid("By NDCG of all plays", header, rows))
    ]
