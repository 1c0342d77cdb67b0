"""The figures of a data set before any model: each by one SQL aggregation, tiny frames out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import polars as pl

from tasks.report import charts
from tasks.report.charts import Figure, axis, figure
from tasks.report.slices import BLOCKS, blocks, period
from tasks.report.text import count
from tasks.report.words import Words
from tasks.warehouse import Warehouse

TOP_ARTISTS = 15
FEWEST_PLAYS = 5  # of a user whose repeat rate is counted
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# Spelled out: the store finds a step's SQL by the names in its source.
_PRESENT = {
    "plays": "reports/explore_missing_plays",
    "tracks": "reports/explore_missing_tracks",
    "users": "reports/explore_missing_users",
}
_SESSIONS = {1: "1", 2: "2", 3: "3–5", 6: "6–10", 11: "11–20", 21: "21–50", 51: "over 50"}


def balance(
    warehouse: Warehouse, words: Words, timezone: str, overview: Mapping[str, Any]
) -> Iterator[Figure]:
    """How often the target is true, over time; needs ``labels`` and, with a clock, ``labelled`` ones."""
    if overview["first_start"] is None:
        unit, frame = "row block", warehouse.frame("reports/explore_balance_by_block", blocks=BLOCKS)
        x = blocks()
    else:
        unit, x = period(overview["first_start"], overview["last_start"], timezone)
        frame = warehouse.frame("reports/explore_balance_over_time", period=unit, timezone=timezone)
    if frame.is_empty():
        return
    frame = charts.wilson(frame.sort("period"))
    average = float(frame["positives"].sum()) / float(frame["rows"].sum())
    rates = frame["rate"].to_numpy()
    yield figure(
        "explore_balance", f"Target balance: {words.rate} by {unit}",
        f"Share of labelled plays that were {words.positive}, by {unit}, with 95 % intervals.",
        f"{average:.1%} overall (dashed); {rates.min():.0%} to {rates.max():.0%} by {unit}",
        charts.band(frame, x, words.rate, average),
    )  # fmt: skip


def repeats(warehouse: Warehouse) -> Iterator[Figure]:
    """How much users come back to tracks; needs ``pairs``."""
    frame = warehouse.frame("reports/explore_repeats", fewest=FEWEST_PLAYS).sort("step")
    if frame.is_empty():
        return
    users = int(frame["users"].sum())
    mean = float((frame["users"] * frame["mean_rate"]).sum()) / users
    every = pl.DataFrame({"step": range(20)}).join(frame, on="step", how="left").fill_null(0)
    every = every.with_columns(low=pl.col("step") / 20, high=(pl.col("step") + 1) / 20)
    drawn = alt.Chart(every).mark_bar(binSpacing=1, color=charts.ACCENT).encode(
        x=axis("low:Q", "repeat rate of a user", format="%", tickCount=5).bin("binned"),
        x2="high:Q",
        y=alt.Y("users:Q", title="users", axis=alt.Axis(format="~s", tickCount=5, tickMinStep=1)),
    )  # fmt: skip
    yield figure(
        "explore_repeats", "Repeat rate per user",
        "Users by the share of their plays that repeat: as the source says, or of tracks played before.",
        f"mean {mean:.1%} over {count(users, 'user')} with at least {FEWEST_PLAYS} plays",
        drawn.properties(width=charts.WIDTH, height=charts.HEIGHT),
    )  # fmt: skip


def long_tail(warehouse: Warehouse) -> Iterator[Figure]:
    """How plays spread over tracks; needs ``pairs``."""
    frame = warehouse.frame("reports/explore_long_tail").sort("percent")
    if frame.is_empty():
        return
    frame = pl.concat([
        pl.DataFrame({"x": [0.0], "y": [0.0]}),
        frame.select(x=pl.col("percent") / 100, y=pl.col("share").cast(pl.Float64)),
    ]).with_columns(series=pl.lit("tracks"))  # fmt: skip
    top = frame.filter(pl.col("x") >= 0.1)["y"][0]
    percent: dict[str, Any] = {"format": "%", "tickCount": 5}
    drawn = charts.diagonal() + charts.lines(
        frame, axis("x:Q", "share of tracks, most played first", **percent),
        alt.Y("y:Q", title="share of plays", axis=alt.Axis(**percent)), [("tracks", charts.ACCENT)],
    )  # fmt: skip
    yield figure(
        "explore_long_tail", "The long tail of tracks",
        "Cumulative share of plays over tracks, most played first; dashed: all tracks played alike.",
        f"the most played tenth of the tracks holds {top:.0%} of the plays", drawn,
    )  # fmt: skip


def account_age(warehouse: Warehouse, words: Words) -> Iterator[Figure]:
    """Target rate by year of registration; needs ``labels`` and ``users``."""
    frame = charts.wilson(warehouse.frame("reports/explore_account_age").sort("year"))
    if frame.is_empty():
        return
    average = float(frame["positives"].sum()) / float(frame["rows"].sum())
    first, last = frame.row(0, named=True), frame.row(-1, named=True)
    x = axis("year:Q", "year of registration", format="d", grid=False, tickMinStep=1)
    yield figure(
        "explore_account_age", f"Account age against {words.rate}",
        f"The {words.rate} by the year in which the listener registered, with 95 % intervals.",
        f"{first['rate']:.0%} for {first['year']}, {last['rate']:.0%} for {last['year']}; "
        f"{average:.0%} overall (dashed)",
        charts.band(frame, x, words.rate, average),
    )  # fmt: skip


def hours(warehouse: Warehouse, timezone: str) -> Iterator[Figure]:
    """Plays by hour and weekday; needs ``plays`` with a clock."""
    frame = warehouse.frame("reports/explore_hours", timezone=timezone)
    if frame.is_empty():
        return
    every = pl.DataFrame({"weekday": range(1, 8)}).join(pl.DataFrame({"hour": range(24)}), how="cross")
    frame = every.join(frame, on=["weekday", "hour"], how="left", maintain_order="left").with_columns(
        pl.col("plays").fill_null(0),
        day=pl.col("weekday").replace_strict(dict(enumerate(WEEKDAYS, start=1))),
    )
    top = frame.sort("plays", "weekday", "hour", descending=[True, False, False]).row(0, named=True)
    drawn = charts.heat(
        frame,
        alt.X("hour:O", title=f"hour of the day ({timezone})",
              axis=alt.Axis(values=list(range(0, 24, 3)), labelAngle=0)),
        alt.Y("day:N", sort=list(WEEKDAYS), title=None, axis=alt.Axis(ticks=False, domain=False)),
        "plays", "plays", 200,
    )  # fmt: skip
    yield figure(
        "explore_hours", "When people listen",
        f"Plays by hour of the day and weekday, in {timezone}.",
        f"busiest: {top['day']} at {top['hour']:02d}:00 with {count(top['plays'], 'play')}", drawn,
    )  # fmt: skip


def sessions(warehouse: Warehouse) -> Iterator[Figure]:
    """Session lengths; needs ``plays`` with a clock."""
    frame = warehouse.frame("reports/explore_sessions").sort("at_least")
    if frame.is_empty():
        return
    frame = frame.with_columns(
        label=pl.col("at_least").replace_strict(_SESSIONS, return_dtype=pl.String)
    )
    total, plays = int(frame["sessions"].sum()), int(frame["plays"].sum())
    yield figure(
        "explore_sessions", "How long sessions are",
        "Sessions (plays with no gap over 30 minutes) by their number of plays.",
        f"{count(total, 'session')}, {plays / total:.1f} plays each on average",
        charts.columns(frame, "label", "sessions", "plays in the session", "sessions"),
    )  # fmt: skip


def plays_per_user(warehouse: Warehouse) -> Iterator[Figure]:
    """How active users are; needs ``pairs``."""
    frame = warehouse.frame("reports/explore_plays_per_user").sort("at_least")
    if frame.is_empty():
        return
    labels = [
        f"{low:,}–{low * 3 - 1 if str(low)[0] == '1' else low // 3 * 10 - 1:,}"
        for low in frame["at_least"]
    ]
    users, plays = int(frame["users"].sum()), int(frame["plays"].sum())
    frame = frame.with_columns(label=pl.Series(labels))
    yield figure(
        "explore_plays_per_user", "Plays per user",
        "Users by their number of plays.",
        f"{count(users, 'user')}, {plays / users:,.0f} plays each on average",
        charts.columns(frame, "label", "users", "plays of the user", "users"),
    )  # fmt: skip


def artists(warehouse: Warehouse, plays: int) -> Iterator[Figure]:
    """The most played artists; needs ``pairs`` and ``tracks``."""
    frame = warehouse.frame("reports/explore_artists", top=TOP_ARTISTS)
    if frame.is_empty():
        return
    frame = frame.sort("plays", "label", descending=[True, False]).with_columns(
        label=pl.col("label").str.slice(0, 40), share=pl.col("plays") / plays,
        text=pl.col("plays").map_elements(lambda each: f"{each:,}", return_dtype=pl.String),
    )  # fmt: skip
    yield figure(
        "explore_artists", "The most played artists",
        f"Share of all plays of the {frame.height} most played artists, with their plays.",
        f"{frame['label'][0]} has {frame['share'][0]:.1%}; "
        f"these {frame.height} have {frame['share'].sum():.0%}",
        charts.bars(frame, "label", "share", "share of all plays", "%", "text"),
    )  # fmt: skip


def missing(warehouse: Warehouse, tables: Mapping[str, int]) -> Iterator[Figure]:
    """Columns with missing values; needs the relations that ``tables`` names, with their rows."""
    found = []
    for name, rows in tables.items():
        present = warehouse.frame(_PRESENT[name]).row(0, named=True)
        found += [(f"{name}.{column}", 1 - there / rows) for column, there in present.items() if rows]
    absent = [name for name, share in found if share == 1]
    partial = [(name, share) for name, share in found if 0 < share < 1]
    shown = sorted(partial or [(name, 1.0) for name in absent], key=lambda each: (-each[1], each[0]))
    if not shown:
        return
    frame = pl.DataFrame(shown, schema=["label", "share"], orient="row").with_columns(
        text=pl.col("share").map_elements(lambda share: f"{share:.1%}", return_dtype=pl.String)
    )
    told = f" Without any value, as the source has none: {', '.join(absent)}." if absent else ""
    yield figure(
        "explore_missing", "Missing values",
        f"Share of rows without a value, for each column that lacks some.{told}",
        f"of {len(found)} columns, {len(found) - len(partial) - len(absent)} are complete, "
        f"{len(partial)} lack some values, {len(absent)} lack all",
        charts.bars(frame, "label", "share", "share of rows without a value", "%", "text"),
    )  # fmt: skip


def quarantine(reasons: Mapping[str, int]) -> Iterator[Figure]:
    """Refused rows by reason."""
    some = sorted(
        ((name, rows) for name, rows in reasons.items() if rows), key=lambda each: (-each[1], each[0])
    )
    if not some:
        return
    frame = pl.DataFrame(
        [(name[:48], rows, f"{rows:,}") for name, rows in some[:20]],
        schema=["label", "rows", "text"], orient="row",
    )  # fmt: skip
    yield figure(
        "explore_quarantine", "Refused rows",
        "Raw records that were refused and kept apart, by reason.",
        f"{count(sum(rows for _, rows in some), 'row')} refused; most often: {some[0][0]}",
        charts.bars(frame, "label", "rows", "rows", "~s", "text"),
    )  # fmt: skip
