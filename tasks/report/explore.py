"""The report of a data set instead of notebooks: EXPLORE.md, explore.html and their figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Store
from tasks import parts
from tasks.report import explored, page
from tasks.report.charts import Figure
from tasks.report.files import relative, staged, write_figures, write_text
from tasks.report.text import count, flat, moment, plain, table
from tasks.report.words import UNNAMED, WORDS
from tasks.warehouse import Warehouse

FIGURES: Mapping[str, str] = {
    "explore_balance": "needs labels",
    "explore_repeats": "needs users with a few plays",
    "explore_long_tail": "needs plays",
    "explore_account_age": "needs labels and dates of registration",
    "explore_hours": "needs a clock",
    "explore_sessions": "needs a clock",
    "explore_plays_per_user": "needs plays",
    "explore_artists": "needs tracks with artists",
    "explore_missing": "no column lacks a value",
    "explore_quarantine": "no row was refused",
}


def explore(
    plays: Path,
    tracks: Path,
    users: Path,
    labels: Path | None,
    facts: Mapping[str, Any],
    folder: Path,
    store: Store,
    timezone: str,
    target: str = "",
) -> list[Path]:
    """Write EXPLORE.md, explore.html and figures/explore_*.svg; return their paths.

    The four tables are canonical Parquet; ``facts`` are those that ``tasks.ingest.ingest`` returns:
    ``refused`` (table, column, reason, rows) is drawn, all are listed; ``timezone`` is the
    listener's; ``target`` names what ``labels`` hold. Works with and without a clock. Raises
    ``InputError`` where ``folder`` cannot be written.
    """
    words = WORDS.get(target, UNNAMED)
    with Warehouse(store) as warehouse:
        relations = {"plays": plays, "tracks": tracks, "users": users}
        for name, path in relations.items():
            warehouse.relation(name, path)
        warehouse.keep("pairs", "reports/explore_pairs")
        overview = warehouse.frame("reports/explore_overview").row(0, named=True)
        balance: dict[str, Any] = {"rows": 0, "positives": 0, "unknown": 0}
        drawn: list[Figure] = []
        if labels is not None:
            warehouse.relation("labels", labels)
            warehouse.relation("labelled", _labelled(labels, plays))
            balance = warehouse.frame("reports/explore_balance").row(0, named=True)
            drawn += explored.balance(warehouse, words, timezone, overview)
        drawn += explored.repeats(warehouse)
        drawn += explored.long_tail(warehouse)
        if labels is not None:
            drawn += explored.account_age(warehouse, words)
        if overview["first_start"] is not None:
            drawn += explored.hours(warehouse, timezone)
            drawn += explored.sessions(warehouse)
        drawn += explored.plays_per_user(warehouse)
        drawn += explored.artists(warehouse, overview["plays"])
        drawn += explored.missing(
            warehouse, {name: parts.rows(path) for name, path in relations.items()}
        )
    drawn += explored.quarantine(_refused(facts))
    names = {each.name for each in drawn}
    absent = [
        f"{name.removeprefix('explore_')}: {why}" for name, why in FIGURES.items() if name not in names
    ]
    with staged(folder) as scratch:
        write_figures(scratch, drawn)
        write_text(scratch / "explore.html", _page(overview, balance, words.rate, facts, drawn, absent))
        write_text(scratch / "EXPLORE.md", _text(overview, balance, words.rate, facts, drawn, absent))
        files = relative(scratch)
        for name in FIGURES:  # drawn by an earlier run, no longer true
            if name not in names:
                (folder / "figures" / f"{name}.svg").unlink(missing_ok=True)
    return [folder / path for path in files]


def _page(
    overview: Mapping[str, Any], balance: Mapping[str, Any], rate: str, facts: Mapping[str, Any],
    drawn: list[Figure], absent: list[str],
) -> str:  # fmt: skip
    body = [
        page.cards(_numbers(overview, balance, rate)),
        page.heading("Figures"),
        page.gallery(drawn),
        page.listing(absent),
        page.heading("What was read"),
        page.grid(
            "Facts from reading the raw data", ("fact", "value"), list(flat(facts)), facts="facts"
        ),
    ]
    return page.page(
        "What is in the data", "exploration", body, "This page is self-contained and fetches nothing."
    )


def _text(
    overview: Mapping[str, Any], balance: Mapping[str, Any], rate: str, facts: Mapping[str, Any],
    drawn: list[Figure], absent: list[str],
) -> str:  # fmt: skip
    numbers = [
        (name, value, small) for name, (value, small) in _numbers(overview, balance, rate).items()
    ]
    found = [f"- **{plain(each.title)}.** {plain(each.notice)}." for each in drawn]
    return "\n\n".join(
        [
            "# What is in the data",
            table(("what", "value", ""), numbers),
            "## In short",
            "\n".join(found),
            page.figures_page(drawn, absent).strip(),
            "## What was read",
            table(("fact", "value"), list(flat(facts))),
        ]
    ) + "\n"  # fmt: skip


def _numbers(
    overview: Mapping[str, Any], balance: Mapping[str, Any], rate: str
) -> dict[str, tuple[str, str]]:
    numbers = {
        "plays": (f"{overview['plays']:,}", f"of {count(overview['tracks'], 'track')}"),
        "users": (
            f"{overview['users']:,}",
            f"{overview['plays'] / max(overview['users'], 1):,.0f} plays each",
        ),
    }
    if overview["first_start"] is not None:
        days = (overview["last_start"] - overview["first_start"]).days + 1
        numbers["first play"] = (
            moment(overview["first_start"])[:10],
            f"{count(days, 'day')} up to the last",
        )
        numbers["last play"] = (moment(overview["last_start"])[:10], "UTC")
    else:
        numbers["clock"] = ("none", "row order stands for time")
    if balance["rows"]:
        unknown = f"{balance['rows']:,} labels, {balance['unknown']:,} unknown"
        numbers[rate] = (f"{balance['positives'] / balance['rows']:.1%}", unknown)
    return numbers


def _refused(facts: Mapping[str, Any]) -> dict[str, int]:
    """Rows by table, column and reason."""
    return {
        f"{each['table']}.{each['column']}: {each['reason']}": each["rows"]
        for each in facts.get("refused", [])
    }


def _labelled(labels: Path, plays: Path) -> pl.DataFrame:
    """Known labels, each with the start of its play: places in the plays, so that no join is needed."""
    known = pl.read_parquet(labels, columns=["play", "target"]).drop_nulls("target")
    started = pl.read_parquet(plays, columns=["started_at"])["started_at"]
    return known.select("target", started_at=started.gather(known["play"]))
