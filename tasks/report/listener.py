"""A page per sample listener: what was played before the cutoff, and the list that was made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from schemas.config import Store
from tasks.report import charts, page
from tasks.report.charts import axis, figure
from tasks.report.content import display
from tasks.report.list_content import Told, clipped
from tasks.report.slices import FEW_DAYS, FEW_WEEKS
from tasks.report.text import count
from tasks.warehouse import Warehouse

MOST = 12  # artists, tracks and plays that are shown
NAME = 90  # characters of a name that are shown
TABLES = {
    "artists": "reports/listener_artists",
    "tracks": "reports/listener_tracks",
    "recent": "reports/listener_recent",
}  # spelled out: the store finds a step's SQL by the names in its source


@dataclass(frozen=True)
class Page:
    """A written page: its file's name, and what a link to it says."""

    name: str
    label: str


def sampled(users: pl.DataFrame, cutoff: int, pages: int, seed: int) -> list[str]:
    """Ids of at most ``pages`` users judged at ``cutoff``, one of each band of activity, by ``seed``.

    ``users`` has user, cutoff and ``activity`` (plays before it); bands hold equally many users.
    """
    own = users.filter(pl.col("cutoff") == cutoff).sort("activity", "user")["user"]
    random = np.random.default_rng(seed)
    bands = np.array_split(np.arange(len(own)), pages) if pages else []
    places = [int(random.choice(band)) for band in bands if len(band)]
    return own[places].to_list() if places else []


def write(
    told: Told,
    chosen: Sequence[str],
    cutoff: str,
    dataset: str,
    tables: Mapping[str, Path],
    timezone: str,
    store: Store,
    folder: Path,
) -> list[Page]:
    """Write a page for each of the ``chosen`` users into ``folder``; file names hold no ids.

    ``cutoff`` is the newest judged one in words; ``tables`` are plays and tracks, ``timezone`` the
    listeners'. Names of artists and tracks are shown as they are, cut to ``NAME`` characters.
    """
    if not chosen:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    sample = pl.DataFrame({"user_id": chosen}, {"user_id": pl.String})
    listed = told.tables["lists"].filter(pl.col("user").is_in(sample["user_id"].implode()))
    named = (
        pl.scan_parquet(tables["tracks"])
        .select("track_id", "name", "artist")
        .filter(pl.col("track_id").is_in(listed["track_id"].unique().implode()))
        .collect()
    )
    listed = listed.join(named, on="track_id", how="left", maintain_order="left")
    with Warehouse(store) as warehouse:
        for name in ("plays", "tracks"):
            warehouse.relation(name, tables[name])
        warehouse.relation("sampled", sample)
        warehouse.keep(
            "listener_plays", "reports/listener_plays", cutoff=told.facts["newest"], timezone=timezone
        )
        found = {name: warehouse.frame(sql, most=MOST) for name, sql in TABLES.items()}
        found["totals"] = warehouse.frame("reports/listener_totals")
        periods = {
            unit: warehouse.frame("reports/listener_periods", period=unit)
            for unit in ("day", "week", "month")
        }
    written = []
    for place, user in enumerate(chosen, 1):
        own = {
            name: frame.filter(pl.col("user_id") == user) for name, frame in (found | periods).items()
        }
        own["lists"] = listed.filter(pl.col("user") == user)
        name = f"listener-{place}.html"
        body = [*_history(own), *_lists(told, own["lists"])]
        kind = f"{dataset}: one of {count(len(chosen), 'sample listener')}, as of {cutoff}"
        foot = "This page holds one person's listening. It is self-contained and fetches nothing."
        back = page.links([("../dashboard.html", "back to the dashboard")])
        text = page.page(clipped(user, NAME), kind, [back, *body], foot)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
        written.append(Page(name, _label(user, own)))
    return written


def _history(own: Mapping[str, pl.DataFrame]) -> list[str]:
    total = own["totals"].row(0, named=True)
    cards = {
        "plays before the cutoff": (f"{total['plays']:,}", f"of {count(total['tracks'], 'track')}"),
        "artists": (f"{total['artists']:,}", ""),
    }
    if total["first_day"] is not None:
        cards["first play"] = (total["first_day"], f"last before the cutoff {total['last_day']}")
    tracks = [
        (_name(row["track"]), _name(row["artist"]), f"{row['plays']:,}")
        for row in own["tracks"].iter_rows(named=True)
    ]
    recent = [
        (row["at"], _name(row["track"]), _name(row["artist"]))
        for row in own["recent"].iter_rows(named=True)
    ]
    artists = [
        (_name(row["artist"]), f"{row['tracks']:,}", f"{row['plays']:,}")
        for row in own["artists"].iter_rows(named=True)
    ]
    parts = [
        page.texts("Most played tracks", ("track", "artist", "plays"), tracks),
        page.texts("Newest plays before the cutoff", ("when", "track", "artist"), recent),
    ]
    if artists:
        parts.insert(0, page.texts("Most played artists", ("artist", "tracks", "plays"), artists))
    chart = _over_time(own, total)
    return [
        page.cards(cards),
        page.heading("Played before the cutoff"),
        page.beside([*([chart] if chart else []), *parts]),
    ]


def _over_time(own: Mapping[str, pl.DataFrame], total: Mapping[str, Any]) -> str:
    """Plays by day, week or month, whichever suits their span; nothing without a clock."""
    if total["days"] is None:
        return ""
    unit = "day" if total["days"] <= FEW_DAYS else "week" if total["days"] <= FEW_WEEKS else "month"
    step = {"day": "1d", "week": "1w", "month": "1mo"}[unit]
    frame = own[unit].with_columns(end=pl.col("period").dt.offset_by(step), none=0)
    form = "%b %Y" if unit == "month" else "%d %b"
    drawn = (
        alt.Chart(frame)
        .mark_bar(color=charts.ACCENT, binSpacing=1)
        .encode(
            x=axis("period:T", unit, grid=False, labelAngle=0, tickCount=6, format=form),
            x2="end:T",
            y=alt.Y("plays:Q", title="plays", axis=alt.Axis(format="~s", tickCount=4, tickMinStep=1)),
            y2="none:Q",
        )
        .properties(width=charts.WIDTH, height=190)
    )
    top = frame.sort("plays", "period").row(-1, named=True)
    when = f"{top['period']:%b %Y}" if unit == "month" else f"the {unit} of {top['period']:%Y-%m-%d}"
    return page.gallery(
        [figure("plays", f"Plays by {unit}", f"Plays before the cutoff, by {unit}.",
                f"most in {when}: {top['plays']:,}", drawn)]
    )  # fmt: skip


def _lists(told: Told, listed: pl.DataFrame) -> list[str]:
    ranks = [name for name in listed.columns if name.endswith("_rank")]
    parts = []
    for system in (told.candidate, told.best):
        own = listed.filter(pl.col("system") == system).sort("rank")
        rows = [
            (
                f"{row['rank']}\u00a0★" if row["played"] else f"{row['rank']}",
                _name(row["name"] or row["track_id"]) + ("" if row["heard"] else " (new)"),
                _name(row["artist"] or ""),
                f"{row['probability']:.1%}",
                " · ".join(f"{display(name[:-5])} {row[name]:.0f}" for name in ranks
                           if row[name] is not None),
            )
            for row in own.iter_rows(named=True)
        ]  # fmt: skip
        hits = np.flatnonzero(own["played"]).tolist()
        what = "the ranker that recommends" if system == told.candidate else "best single retriever"
        caption = f"{display(system)}, {what}: {count(len(hits), 'hit')} among {len(rows)}"
        header = ("#", "track", "artist", "probability", "ranks by retrievers")
        parts.append(page.texts(caption, header, rows, hits))
    first = listed.row(0, named=True) if listed.height else {"relevant": 0}
    return [
        page.heading("The lists made at the cutoff, and what came true"),
        page.paragraph(
            f"In the window after the cutoff this listener played {count(first['relevant'], 'track')} "
            "known before it; ★ marks those that a list names. Probabilities are those by "
            f"{display(told.candidate)}; retrievers rank tracks that the listener knew and new ones "
            "apart.",
            "muted",
        ),
        page.beside(parts),
    ]


def _label(user: str, own: Mapping[str, pl.DataFrame]) -> str:
    plays = own["totals"]["plays"].item()
    return f"{clipped(user, NAME)}: {count(plays, 'play')} before the cutoff"


def _name(text: str) -> str:
    return clipped(text, NAME)
