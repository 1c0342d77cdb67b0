"""The figures of judged lists: how good they are, where from, and how wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from tasks.metrics.binary import Interval
from tasks.report import charts, outcomes
from tasks.report.charts import Figure, axis, figure
from tasks.report.content import display
from tasks.report.list_content import Told
from tasks.report.text import number, short
from tasks.report.words import Words

WORDS = Words("played", "not played", "share played", "candidates")
PARTS = {"all": "all plays", "repeats": "tracks played before", "discoveries": "new tracks"}
MODES = {"include": "all plays", "exclude": "new tracks alone", "only": "tracks played before alone"}
RETRIEVERS = (
    "#d97706", "#0f9d8a", "#be185d", "#0284c7", "#65a30d", "#7c3aed", "#b45309", "#64748b", "#db2777",
)  # fmt: skip
LABEL = (0.25, 0.055)  # a name's width and height, as shares of a chart's
METRICS = {"map": "MAP", "recall": "recall", "hit": "hit rate"}


def draw(told: Told) -> list[Figure]:
    """Those figures that the evaluation allows, in reading order."""
    return [
        *ndcg(told), *accuracy(told), *recall(told), *spread(told), *tail(told), *binary(told)
    ]  # fmt: skip


def ndcg(told: Told) -> Iterator[Figure]:
    """NDCG of every system, by what counts as a hit."""
    panels = [
        _dots(told, rows, f"NDCG@{told.facts['k']}, {meaning}")
        for mode, meaning in MODES.items()
        if (rows := told.metrics(mode, "ndcg"))
    ]
    if not panels:
        return
    own, best = (
        next((row for row in told.metrics("include", "ndcg") if row["system"] == system), None)
        for system in (told.candidate, told.best)
    )
    notice = "95 % intervals by user"
    if own is not None and best is not None:
        notice = (
            f"{display(told.candidate)} {short(own['value'])}, the best single retriever "
            f"({display(told.best)}) {short(best['value'])}"
        )
    yield figure(
        "ndcg", "How good each system's lists are",
        f"NDCG of lists of {told.facts['k']}: 1 if what was played next stands on top. With 95 % "
        "intervals by user; indigo recommends, blue are the other rankers, grey single retrievers.",
        notice, alt.vconcat(*panels, spacing=22),
    )  # fmt: skip


def accuracy(told: Told) -> Iterator[Figure]:
    """Other metrics of every system, of all plays."""
    panels = [
        _dots(told, rows, f"{name}@{told.facts['k']}")
        for metric, name in METRICS.items()
        if (rows := told.metrics("include", metric))
    ]
    own = [
        f"{name} {short(row['value'])}" for metric, name in METRICS.items()
        for row in told.metrics("include", metric) if row["system"] == told.candidate
    ]  # fmt: skip
    if panels:
        yield figure(
            "accuracy", "The same lists by other measures",
            "Mean average precision, share of what was played that is on the list, and share of users "
            "with any hit; all plays, 95 % intervals by user.",
            f"{display(told.candidate)}: {', '.join(own)}", alt.vconcat(*panels, spacing=22),
        )  # fmt: skip


def recall(told: Told) -> Iterator[Figure]:
    """How much of what was played is among the candidates, by retriever and depth."""
    means = (
        told.tables["recall"]
        .group_by("part", "retriever", "k", maintain_order=True)
        .agg(pl.col("recall").mean())
        .drop_nulls("recall")
        .with_columns(series=pl.col("retriever").map_elements(display, return_dtype=pl.String))
    )
    if means.is_empty():
        return
    names = [display(name) for name in means["retriever"].unique(maintain_order=True)]
    singles = [name for name in names if name != "union"]
    spare = RETRIEVERS * (1 + len(singles) // len(RETRIEVERS))
    colours = dict(zip(singles, spare, strict=False)) | {"union": charts.INK}
    depths = sorted(means["k"].unique())
    legend = alt.Legend(columns=4, symbolType="stroke")
    panels: list[Any] = []
    for part, meaning in PARTS.items():
        frame = means.filter(pl.col("part") == part)
        if frame.is_empty():
            continue
        scale = alt.Scale(domain=names, range=[colours[name] for name in names])
        first = not panels
        panels.append(
            alt.Chart(frame, title=alt.TitleParams(meaning, fontSize=12, fontWeight="normal", offset=6))
            .mark_line(point={"filled": True, "size": 26})
            .encode(
                x=axis("k:Q", "candidates" if part == "repeats" else "", values=depths,
                       grid=False).scale(domain=[0, depths[-1]]),
                y=alt.Y("recall:Q", title="recall" if first else None,
                        scale=alt.Scale(domainMin=0), axis=alt.Axis(format="%", tickCount=5)),
                color=alt.Color("series:N", sort=names, legend=legend, title=None, scale=scale),
            )
            .properties(width=148, height=220)
        )  # fmt: skip
    deepest = means.filter(pl.col("part") == "all", pl.col("k") == depths[-1])
    notice = "mean share per user"
    every = deepest.filter(pl.col("retriever").is_in(["union", *singles]))
    if not every.is_empty():
        top = every.sort("recall").row(-1, named=True)
        notice = f"{top['series']} of {depths[-1]} holds {top['recall']:.1%} of what users played next"
    yield figure(
        "recall", "What the first stage finds",
        "Share of what each user played in the window that is among their candidates, by retriever and "
        "depth: of all tracks, of those played before, and of new ones. No list can beat the union.",
        notice, alt.hconcat(*panels, spacing=16),
    )  # fmt: skip


def spread(told: Told) -> Iterator[Figure]:
    """Coverage of the catalogue against accuracy, of all plays."""
    wide = pl.DataFrame(told.facts["spread"]).filter(pl.col("mode") == "include")
    covered = dict(
        wide.group_by("system").agg(pl.col("coverage").fill_nan(None).mean()).drop_nulls().iter_rows()
    )
    rows = [row for row in told.metrics("include", "ndcg") if row["system"] in covered]
    if not rows:
        return
    frame = pl.DataFrame(
        {
            "label": [display(row["system"]) for row in rows],
            "ndcg": [row["value"] for row in rows],
            "coverage": [covered[row["system"]] for row in rows],
            "colour": [_colour(told, row["system"]) for row in rows],
        }
    )
    frame = frame.with_columns(at=pl.Series(_apart(frame["coverage"], frame["ndcg"])))
    x = axis("coverage:Q", "share of the catalogue on anybody's list", format=".2~%", tickCount=5)
    y = alt.Y("ndcg:Q", title=f"NDCG@{told.facts['k']}", scale=alt.Scale(zero=False, padding=14),
              axis=alt.Axis(tickCount=5))  # fmt: skip
    base = alt.Chart(frame).encode(x=x.scale(padding=14), y=y)
    points = base.mark_point(filled=True, size=70).encode(
        color=alt.Color("colour:N", scale=None, legend=None)
    )
    placed = base.mark_text(align="left", dx=8, color=charts.INK).encode(
        text="label:N", y=alt.Y("at:Q", title=f"NDCG@{told.facts['k']}")
    )
    widest = max(covered, key=lambda name: covered[name])
    yield figure(
        "coverage", "Accuracy against coverage",
        "NDCG of all plays against the share of the catalogue that is on anybody's list: right and "
        "up is better; a system at the left tells everyone the same.",
        f"{display(told.candidate)} shows {covered.get(told.candidate, 0):.1%} of the catalogue; "
        f"the widest is {display(widest)} with {covered[widest]:.1%}",
        (points + placed).properties(width=charts.WIDTH, height=charts.HEIGHT),
    )  # fmt: skip


def tail(told: Told) -> Iterator[Figure]:
    """How much of lists, and of plays, falls on the most played tracks."""
    held = told.tables["tail"].drop_nulls("share").filter(pl.col("share").is_not_nan())
    shown = {
        "plays": ("plays before", charts.MUTED),
        "window": ("played next", charts.POSITIVE),
        told.candidate: (display(told.candidate), charts.ACCENT),
        told.best: (display(told.best), charts.NEGATIVE),
    }
    frame = held.filter(pl.col("of").is_in(list(shown))).with_columns(
        series=pl.col("of").replace_strict({name: label for name, (label, _) in shown.items()})
    )
    if frame.is_empty():
        return
    tenth = frame.filter(pl.col("catalogue") <= 0.01).group_by("of").agg(pl.col("share").max())
    top = dict(tenth.iter_rows())
    notice = "places on lists against plays"
    if told.candidate in top and "window" in top:
        notice = (
            f"the most played 1% of tracks take {top[told.candidate]:.0%} of the places on lists, and "
            f"{top['window']:.0%} of what was played next"
        )
    drawn = charts.lines(
        frame,
        axis("tracks:Q", "tracks, most played first (logarithmic)", format="~s", grid=False).scale(
            type="log", nice=False
        ),
        alt.Y("share:Q", title="share that they hold", axis=alt.Axis(format="%", tickCount=5)),
        [each for name, each in shown.items() if name in set(frame["of"])],
    )
    yield figure(
        "long_tail", "The long tail: hits and the rest",
        "Share held by the most played tracks: of plays before the cutoff, of what was played after "
        "it, and of the places on lists. A line above that of what was played favours hits.",
        notice, drawn,
    )  # fmt: skip


def binary(told: Told) -> Iterator[Figure]:
    """Probabilities of every ranker against what was played, candidate by candidate."""
    named = charts.model_colours(list(told.rankers))
    series = [(display(name), named[name]) for name in told.rankers]

    def shape(curve: str) -> dict[str, pl.DataFrame]:
        return {name: told.tables[curve].filter(pl.col("system") == name) for name in told.rankers}

    cells = _cells(told, "probability")
    every = sum(rows for _, _, rows in cells)
    share = sum(rows for fact, _, rows in cells if fact) / max(every, 1)
    yield from outcomes.precision_recall(shape("precision_recall"), told.candidate, WORDS, series, share)
    yield from outcomes.roc(shape("roc"), told.candidate, WORDS, series)
    yield from outcomes.calibration(shape("calibration"), told.candidate, WORDS, series, "twentieth")


def decisions(told: Told) -> Iterator[Figure]:
    """What the candidate called played, by probability and by the list, against what was."""
    threshold, k = told.facts["threshold"], told.facts["k"]
    by_probability, by_list = _cells(told, "probability"), _cells(told, "list")
    listed = sum(rows for _, called, rows in by_list if called)
    if not by_list or not listed:
        return
    hits = sum(rows for fact, called, rows in by_list if fact and called)
    panels = [
        outcomes.cells(by_probability, WORDS, (f"{threshold:.0%} or more", f"below {threshold:.0%}")),
        outcomes.cells(by_list, WORDS, (f"on the list of {k}", "not on it")),
    ]
    yield figure(
        "confusion", f"Decisions by {display(told.candidate)}",
        f"Candidates by their probability and by whether the list names them, and whether they were "
        f"played; per cent of each row. {threshold:.0%} is no threshold of anybody's choosing: lists "
        f"take the first {k}, however sure.",
        f"{hits:,} of {listed:,} places on lists are hits",
        alt.hconcat(*(each.properties(width=190, height=170) for each in panels), spacing=20),
    )  # fmt: skip


def _cells(told: Told, by: str) -> list[tuple[bool, bool, int]]:
    made = told.tables["decisions"].filter(pl.col("system") == told.candidate, pl.col("by") == by)
    return made.select("target", "called", "rows").rows()


def _apart(across: pl.Series, up: pl.Series) -> list[float]:
    """Where names of points stand, top first, so that none lies on another's: pushed down as needed."""
    wide, high = _extent(across), _extent(up)
    placed: list[tuple[float, float]] = []
    for x, y in zip(across, up, strict=True):  # a dozen systems
        for left, taken in placed:
            if abs(left - x) < LABEL[0] * wide and taken - y < LABEL[1] * high:
                y = taken - LABEL[1] * high
        placed.append((x, y))
    return [y for _, y in placed]


def _extent(values: pl.Series) -> float:
    spread = values.to_numpy()
    return float(spread.max() - spread.min()) or 1.0


def _dots(told: Told, rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    frame = pl.DataFrame(
        [
            (
                display(row["system"]), row["value"],
                row["value"] if row["low"] != row["low"] else row["low"],
                row["value"] if row["high"] != row["high"] else row["high"],
                number(Interval(row["value"], row["low"], row["high"])),
                _colour(told, row["system"]),
            )
            for row in rows
        ],
        schema=["label", "rate", "low", "high", "text", "colour"], orient="row",
    )  # fmt: skip
    return charts.intervals(frame, "label", title, ".2~f")


def _colour(told: Told, system: str) -> str:
    if system == told.candidate:
        return charts.ACCENT
    return charts.POSITIVE if system in told.rankers else charts.MUTED
