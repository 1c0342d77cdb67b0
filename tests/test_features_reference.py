"""Features against a slow reference: plain Python, written from what each feature means."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests import logs
from tests.logs import Log, Row, features

TRACKS = {track["track_id"]: track for track in logs.TRACKS}
modest = settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
Known = list[tuple[Row, bool]]  # a play and its label


def start(row: Row) -> datetime:
    """When the play counts as started: a whole second, or minute."""
    moment: datetime = row["started_at"].replace(microsecond=0)
    return moment.replace(second=0) if row["resolution"] == "minute" else moment


def completed(row: Row, rows: list[Row]) -> bool | None:
    """The rule: the flag, the reason, the share of the length."""
    if row["skipped"] is not None:
        return not row["skipped"]
    if row["reason_end"] is not None:
        ends = {
            "trackdone": True,
            "fwdbtn": False,
            "backbtn": False,
            "endplay": False,
            "clickrow": False,
        }
        return ends.get(row["reason_end"])
    length = TRACKS[row["track_id"]]["duration_ms"]
    if length is None:
        heard = [
            other["ms_played"]
            for other in rows
            if other["track_id"] == row["track_id"]
            and other["ended_at"] <= row["started_at"]
            and other["ms_played"] >= 30_000
        ]
        length = max(heard, default=None)
    return None if length is None else bool(row["ms_played"] >= 0.8 * length)


def repeated(row: Row, rows: list[Row], log: Log) -> bool | None:
    """Whether the pair comes again within the horizon; None unless ``row`` is a matured first play."""
    own = [other for other in rows if other["user_id"] == row["user_id"]]
    pair = [other for other in own if other["track_id"] == row["track_id"]]
    horizon = timedelta(days=log.settings.horizon_days)
    if row is not min(pair, key=lambda other: other["seq"]):
        return None
    if row["started_at"] < min(o["started_at"] for o in own) + timedelta(days=log.settings.burn_in_days):
        return None
    if row["started_at"] + horizon > max(other["ended_at"] for other in rows):
        return None
    return any(other is not row and other["started_at"] < row["started_at"] + horizon for other in pair)


class Past:
    """What is known of a log at a play: earlier plays, and outcomes of plays that had ended."""

    def __init__(self, row: Row, rows: list[Row], log: Log) -> None:
        self.row, self.now = row, start(row)
        self.track = TRACKS[row["track_id"]]
        self.plays = [other for other in rows if other["started_at"] < self.now]
        ended = [o for o in self.plays if o["ended_at"] <= self.now]
        self.ended = sorted(
            ended, key=lambda o: max(o["ended_at"], o["started_at"] + timedelta(milliseconds=1))
        )
        self.errors = log.errors
        self.completed = [(o, label) for o in self.ended if (label := completed(o, rows)) is not None]
        horizon = timedelta(days=log.settings.horizon_days)
        self.repeated = [
            (o, label)
            for o in self.plays
            if o["started_at"] + horizon <= self.now and (label := repeated(o, rows, log)) is not None
        ]
        self.local = row["started_at"].astimezone(ZoneInfo(log.timezone))

    def of(self, *keys: str) -> list[Row]:
        """Earlier plays that share the keys."""
        return [other for other in self.plays if self.same(other, *keys)]

    def same(self, other: Row, *keys: str) -> bool:
        return all(self.value(other, key) == self.value(self.row, key) for key in keys)

    @staticmethod
    def value(row: Row, key: str) -> Any:
        track = TRACKS[row["track_id"]]
        return {"user": row["user_id"], "track": row["track_id"], "artist": track["artist"],
                "reason_start": row["reason_start"], "genre": track.get("genres", [None])[0],
                "composer": track.get("composers", [None])[0]}[key]  # fmt: skip

    def within(self, delta: timedelta, *keys: str) -> int:
        return sum(self.now - other["started_at"] <= delta for other in self.of(*keys))

    def rate(self, known: Known, *keys: str, weight: float = 20.0) -> float:
        everybody = (sum(label for _, label in known) + 1) / (len(known) + 2)
        return self.shrunk(known, keys, weight, everybody)

    def nested(self, known: Known, keys: tuple[str, ...], weight: float) -> float:
        return self.shrunk(known, keys, weight, self.rate(known, "user"))

    def shrunk(self, known: Known, keys: tuple[str, ...], weight: float, prior: float) -> float:
        labels = [label for other, label in known if self.same(other, *keys)]
        return (sum(labels) + weight * prior) / (len(labels) + weight)

    def session(self) -> tuple[int, float]:
        """Plays of the running session so far and minutes since it began."""
        position, began, latest = 0, self.now, None
        for other in self.of("user"):
            if latest is None or start(other) - latest > timedelta(minutes=30):
                position, began = 0, start(other)
            position += 1
            latest = other["ended_at"] if latest is None else max(latest, other["ended_at"])
        if latest is None or self.now - latest > timedelta(minutes=30):
            return 0, 0.0
        return position, (self.now - began) / timedelta(minutes=1)

    def gap(self) -> float | None:
        ends = [other["ended_at"] for other in self.of("user")]
        return None if not ends else math.log1p(max((self.now - max(ends)) / timedelta(minutes=1), 0))

    def days_since(self, *keys: str) -> float | None:
        """From the newest earlier play, which counts as started at its own log's resolution."""
        earlier = self.of(*keys)
        return None if not earlier else math.log1p((self.now - start(earlier[-1])) / timedelta(days=1))

    def lengths(self) -> list[float]:
        return [
            TRACKS[o["track_id"]]["duration_ms"] / 1000
            for o in self.of("user")
            if TRACKS[o["track_id"]]["duration_ms"] is not None
        ]

    def years(self) -> list[int]:
        found = [TRACKS[other["track_id"]]["year"] for other in self.of("user")]
        return [year for year in found if year is not None]

    def newest(self, key: str) -> Any:
        return self.value(self.of("user")[-1], key) if self.of("user") else None

    def errors_of(self, kind: str) -> int:
        return sum(
            error["kind"] == kind
            and error["user_id"] == self.row["user_id"]
            and error["at"] < self.now
            and error["at"].date() == self.row["started_at"].date()
            for error in self.errors
        )

    def skips(self, size: int) -> float | None:
        labels = [label for other, label in self.completed if self.same(other, "user")][-size:]
        return None if not labels else 1 - sum(labels) / len(labels)


def unless_unknown(past: Past, key: str, value: Callable[[], float]) -> float | None:
    return None if past.value(past.row, key) is None else value()


def same_as_newest(past: Past, key: str) -> float | None:
    own, newest = past.value(past.row, key), past.newest(key)
    return None if own is None or newest is None else float(own == newest)


def last(known: Known) -> float | None:
    return float(known[-1][1]) if known else None


REFERENCE: dict[str, Callable[[Past], float | None]] = {
    "user_plays": lambda p: math.log1p(len(p.of("user"))),
    "track_plays": lambda p: math.log1p(len(p.of("track"))),
    "artist_plays": lambda p: unless_unknown(p, "artist", lambda: math.log1p(len(p.of("artist")))),
    "genre_plays": lambda p: unless_unknown(p, "genre", lambda: math.log1p(len(p.of("genre")))),
    "composer_plays": lambda p: unless_unknown(p, "composer", lambda: math.log1p(len(p.of("composer")))),
    "pair_plays": lambda p: math.log1p(len(p.of("user", "track"))),
    "user_artist_share": lambda p: unless_unknown(
        p, "artist", lambda: len(p.of("user", "artist")) / (len(p.of("user")) + 1)
    ),
    "user_seconds_mean": lambda p: statistics.fmean(p.lengths()) if p.lengths() else None,
    "user_seconds_deviation": lambda p: statistics.pstdev(p.lengths()) if p.lengths() else None,
    "user_year_mean": lambda p: statistics.fmean(p.years()) if p.years() else None,
    "user_year_deviation": lambda p: statistics.pstdev(p.years()) if p.years() else None,
    "previous_same_artist": lambda p: same_as_newest(p, "artist"),
    "previous_same_track": lambda p: same_as_newest(p, "track"),
    "hour": lambda p: p.local.hour,
    "day_of_week": lambda p: p.local.isoweekday(),
    "month": lambda p: p.local.month,
    "is_weekend": lambda p: float(p.local.isoweekday() >= 6),
    "session_position": lambda p: p.session()[0],
    "session_minutes": lambda p: p.session()[1],
    "gap_minutes": lambda p: p.gap(),
    "user_plays_hour": lambda p: p.within(timedelta(hours=1), "user"),
    "user_plays_day": lambda p: math.log1p(p.within(timedelta(days=1), "user")),
    "track_plays_month": lambda p: math.log1p(p.within(timedelta(days=30), "track")),
    "pair_plays_week": lambda p: math.log1p(p.within(timedelta(days=7), "user", "track")),
    "pair_days": lambda p: p.days_since("user", "track"),
    "track_longest": lambda p: max(
        (o["ms_played"] / 1000 for o in p.ended if p.same(o, "track") and o["ms_played"] >= 30_000),
        default=None,
    ),
    "connection_error_count": lambda p: p.errors_of("connection"),
    "playback_error_count": lambda p: p.errors_of("playback"),
    "user_completion_rate": lambda p: p.rate(p.completed, "user"),
    "track_completion_rate": lambda p: p.rate(p.completed, "track"),
    "artist_completion_rate": lambda p: unless_unknown(
        p, "artist", lambda: p.rate(p.completed, "artist")
    ),
    "pair_completion_rate": lambda p: p.nested(p.completed, ("user", "track"), 3.0),
    "user_reason_completion_rate": lambda p: unless_unknown(
        p, "reason_start", lambda: p.nested(p.completed, ("user", "reason_start"), 10.0)
    ),
    "previous_completed": lambda p: last([(o, v) for o, v in p.completed if p.same(o, "user")]),
    "pair_last_completed": lambda p: last(
        [(o, v) for o, v in p.completed if p.same(o, "user", "track")]
    ),
    "recent_skip_rate_10": lambda p: p.skips(10),
}  # fmt: skip
REPEATED: dict[str, Callable[[Past], float | None]] = {
    "user_repeat_rate": lambda p: p.rate(p.repeated, "user"),
    "track_repeat_rate": lambda p: p.rate(p.repeated, "track"),
    "user_labels": lambda p: math.log1p(sum(p.same(o, "user") for o, _ in p.repeated)),
}


def wrong(log: Log, reference: dict[str, Callable[[Past], float | None]]) -> list[Any]:
    """Rows whose features are not the reference's."""
    asking = log.with_plays([{**row, "request_id": "all rows"} for row in log.plays])
    with tempfile.TemporaryDirectory() as folder:
        frame = features(asking, Path(folder))
    by_position = {row["position"]: row for row in frame.iter_rows(named=True)}
    rows = logs.sorted_plays(log)
    assert by_position or log.settings.target == "repeat"
    faults = []
    for row in rows:
        if row["position"] not in by_position:
            continue
        past = Past(row, rows, log)
        for name, value in reference.items():
            if name not in frame.columns:
                continue
            expected, found = value(past), by_position[row["position"]][name]
            if found != (expected if expected is None else pytest.approx(expected, rel=1e-4, abs=1e-4)):
                faults.append((row["position"], name, expected, found))
    return faults


timed = st.builds(
    logs.random_log,
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.just("completed"),
    st.sampled_from(["second", "minute", "mixed"]),
)


@modest
@given(timed, st.sampled_from(["UTC", "America/St_Johns", "Asia/Kolkata"]))
def test_timed_features_are_what_they_mean(log: Log, timezone: str) -> None:
    assert wrong(Log(log.plays, log.errors, log.settings, "time", timezone), REFERENCE) == []


def test_days_since_in_a_log_of_two_resolutions() -> None:
    """A play of a minute log may count as started before an older play of a second log."""
    log = logs.random_log(13011, 29, "completed", "mixed")
    assert wrong(Log(log.plays, log.errors, log.settings, "time", "Asia/Kolkata"), REFERENCE) == []


@modest
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_features_of_first_plays_are_what_they_mean(seed: int, size: int) -> None:
    assert wrong(logs.random_log(seed, size, "repeat"), REFERENCE | REPEATED) == []


def test_the_reference_covers_what_a_full_log_has() -> None:
    """None of the names above is misspelt, and each is known somewhere."""
    with tempfile.TemporaryDirectory() as folder:
        frame = features(logs.random_log(4, 40), Path(folder))
        first_plays = features(logs.random_log(4, 40, "repeat"), Path(folder))
    assert all(frame[name].null_count() < frame.height for name in REFERENCE)
    assert all(first_plays[name].null_count() < first_plays.height for name in REPEATED)


# Without a clock: rows are the time.


def order_reference(log: Log, row: int) -> dict[str, float | None]:
    own, before = log.plays[row], log.plays[:row]
    mine = [other for other in before if other["user_id"] == own["user_id"]]
    source = own["source_type"]
    maturity = log.settings.maturity_rows if log.settings.mode == "production" else 1
    until = log.known_until
    assert until is not None
    known = [
        other
        for other in log.plays[:until]
        if other["repeated"] is not None and min(other["position"] + maturity, until) <= row
    ]
    everybody = (sum(o["repeated"] for o in known) + 1) / (len(known) + 2)

    def rate(chosen: list[Row], weight: float = 20.0, prior: float = everybody) -> float:
        return (sum(o["repeated"] for o in chosen) + weight * prior) / (len(chosen) + weight)

    of_user = rate([o for o in known if o["user_id"] == own["user_id"]])
    of_both = [o for o in known if o["user_id"] == own["user_id"] and o["source_type"] == source]
    triple = ("source_tab", "source_screen", "source_type")
    at_place = [o for o in known if all(o[name] == own[name] for name in triple)]
    previous = mine[-1]["source_type"] if mine else None
    return {
        "user_plays_10": sum(row - other["position"] <= 10 for other in mine),
        "track_plays_500": sum(other["track_id"] == own["track_id"] for other in before),
        "user_source_share": None
        if source is None
        else sum(other["source_type"] == source for other in mine) / (len(mine) + 1),
        "user_from_album_share": sum(o["source_type"] == "album" for o in mine) / len(mine)
        if mine
        else None,
        "previous_same_source": None if None in (source, previous) else float(source == previous),
        "previous_rows": math.log1p(row - mine[-1]["position"]) if mine else None,
        "user_repeat_rate": of_user,
        "user_source_repeat_rate": None if source is None else rate(of_both, 3.0, of_user),
        "source_repeat_rate": None if any(own[name] is None for name in triple) else rate(at_place),
        "user_labels": math.log1p(sum(o["user_id"] == own["user_id"] for o in known)),
        "user_recent_repeat_rate": statistics.fmean(newest)
        if (newest := [o["repeated"] for o in known if o["user_id"] == own["user_id"]][-10:])
        else None,
    }


@modest
@given(
    st.integers(0, 10**6),
    st.integers(8, 40),
    st.sampled_from(["production", "competition"]),
    st.sampled_from([1, 4, 30]),
)
def test_features_by_row_order_are_what_they_mean(
    seed: int, size: int, mode: str, maturity: int
) -> None:
    log = logs.random_order_log(seed, size, mode, maturity)
    with tempfile.TemporaryDirectory() as folder:
        frame = features(log, Path(folder))
    for row, found in zip(range(size), frame.sort("position").iter_rows(named=True), strict=True):
        for name, expected in order_reference(log, row).items():
            if name in found:
                near = expected if expected is None else pytest.approx(expected, rel=1e-4, abs=1e-4)
                assert found[name] == near, (row, name)
    assert frame.schema["user_repeat_rate"] == pl.Float32
