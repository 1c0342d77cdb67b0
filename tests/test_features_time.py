"""No feature knows what had not happened yet: the properties of time, on small random logs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas import tables
from tasks import featurize, parts
from tasks.features import declared
from tests import logs
from tests.logs import BASE, OUTCOMES, Log, differences, features, names_of, play

modest = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
seeds = st.integers(0, 10**6)
sizes = st.integers(2, 30)
targets = st.sampled_from(["completed", "repeat"])
resolutions = st.sampled_from(["second", "minute", "mixed"])
timed = st.builds(logs.random_log, seeds, sizes, targets, resolutions)
ordered = st.builds(
    logs.random_order_log, seeds, st.integers(8, 40), st.sampled_from(["production", "competition"])
)
OUTCOME_COLUMNS = {
    "end_tick",
    "seconds_played",
    "ended_at",
    "ms_played",
    "reason_end",
    "skipped",
    "repeated",
    "seen_from",
}


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        yield Path(folder)


def tick(log: Log, row: dict[str, Any]) -> datetime:
    """The moment that a play counts as started: its start, in whole units of its resolution."""
    return row["started_at"].replace(
        microsecond=0, **({"second": 0} if row["resolution"] == "minute" else {})
    )


def outcome(rng: np.random.Generator, row: dict[str, Any], earliest: datetime) -> dict[str, Any]:
    """The play with another outcome, and an end after ``earliest``."""
    start = max(row["started_at"], earliest)
    end = start + timedelta(milliseconds=int(rng.integers(1, 600_000)))
    return {
        **row,
        "ended_at": end,
        "ms_played": min(int((end - row["started_at"]).total_seconds() * 1000), tables.LONGEST_PLAY_MS),
        "reason_end": rng.choice(["trackdone", "fwdbtn", "backbtn", None]),
        "skipped": rng.choice([True, False, None]),
    }


def rewritten_future(log: Log, position: int, rng: np.random.Generator) -> Log:
    """Everything that play ``position`` cannot know, changed: later plays moved, edited, deleted
    and added; outcomes of what was still running; errors from its moment on. The play asks, so
    that it stays a row."""
    own = next(row for row in log.plays if row["position"] == position)
    now = tick(log, own)
    rows = []
    for row in log.plays:
        if row["position"] == position:
            rows.append({**row, "request_id": "probe"})
        elif row["started_at"] >= now:
            fate = rng.integers(0, 4)
            if fate == 0:
                continue
            delay = timedelta(seconds=int(rng.choice([0, 1, 3600, 40 * 86_400])))
            moved = {**row, "started_at": row["started_at"] + delay, "ended_at": row["ended_at"] + delay}
            if fate == 1:
                moved = outcome(rng, moved, moved["started_at"])
                moved |= {"track_id": f"t{rng.integers(0, 5)}", "user_id": f"u{rng.integers(0, 3)}"}
                moved |= {"platform": "other", "source_type": "other", "reason_start": "other"}
            rows.append(moved)
        else:
            rows.append(outcome(rng, row, now) if row["ended_at"] > now else row)
    if log.settings.target == "repeat":  # its first play must stay the first
        rows.append(
            {
                **own,
                "position": 1000,
                "started_at": now + timedelta(days=1),
                "ended_at": now + timedelta(days=1),
            }
        )
    errors = [error for error in log.errors if error["at"] < now]
    errors += [{"user_id": own["user_id"], "at": now + timedelta(seconds=9), "kind": "playback"}]
    return replace(log, plays=rows, errors=errors)


@modest
@given(st.one_of(timed, ordered), st.integers(1, 7))
def test_blocks_of_rows_change_nothing(scratch: Path, log: Log, size: int) -> None:
    """A sweep that stops and goes on, also where rounding has put the rows out of their ticks' order."""
    whole = features(log, scratch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS", size)
        cut = features(log, scratch)
    assert cut.equals(whole)


@modest
@given(timed, seeds)
def test_the_future_changes_no_feature(scratch: Path, log: Log, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = features(log, scratch)
    if not before.height:
        return
    row = before[int(rng.integers(before.height))]
    after = features(rewritten_future(log, row["position"].item(), rng), scratch, names=names_of(before))
    same = after.filter(pl.col("position") == row["position"].item())
    assert differences(row, same, names_of(before)) == {}


@modest
@given(ordered, seeds)
def test_later_rows_change_no_feature_without_a_clock(scratch: Path, log: Log, seed: int) -> None:
    """Beyond ``known_until`` every training label is known, so only rows after both may change."""
    rng = np.random.default_rng(seed)
    before = features(log, scratch)
    row = int(rng.integers(before.height))
    assert log.known_until is not None
    rows = [
        other
        if other["position"] <= row
        else {
            **other,
            "user_id": f"u{rng.integers(0, 3)}",
            "track_id": f"t{rng.integers(0, 5)}",
            "source_type": "album",
            "repeated": bool(rng.integers(0, 2)),
        }
        for other in log.plays
        if other["position"] <= row or rng.integers(0, 3)
    ]
    asked = [{**r, "request_id": "probe"} if r["position"] == row else r for r in rows]
    after = features(log.with_plays(asked), scratch, names=names_of(before))
    kept = before.filter(pl.col("position") <= row)
    same = after.filter(pl.col("position") <= row)
    assert differences(kept, same, names_of(before)) == {}


@modest
@given(timed, seeds)
def test_a_play_does_not_know_its_own_outcome(scratch: Path, log: Log, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = features(log, scratch)
    if not before.height:
        return
    row = before[int(rng.integers(before.height))]
    position = row["position"].item()
    rows = [
        {**outcome(rng, play, play["started_at"]), "request_id": "probe"}
        if play["position"] == position
        else play
        for play in log.plays
    ]
    after = features(log.with_plays(rows), scratch, names=names_of(before))
    same = after.filter(pl.col("position") == position)
    assert differences(row, same, names_of(before)) == {}


@modest
@given(ordered, seeds)
def test_a_row_does_not_know_its_own_label(scratch: Path, log: Log, seed: int) -> None:
    row = seed % len(log.plays)
    before = features(log, scratch)
    rows = [
        {**play, "repeated": not play["repeated"]} if play["position"] == row else play
        for play in log.plays
    ]
    after = features(log.with_plays(rows), scratch, names=names_of(before))
    own = pl.col("position") == row
    assert differences(before.filter(own), after.filter(own), names_of(before)) == {}


@modest
@given(st.one_of(timed, ordered))
def test_a_probe_at_the_moment_of_a_play_has_its_features(scratch: Path, log: Log) -> None:
    """Every declared feature, whatever the outcome columns of the probe say."""
    asking = [{**row, "request_id": "probe"} for row in log.plays]
    table = features(log.with_plays(asking), scratch)
    if not table.height:
        return
    history = logs.write(log, scratch)
    probes = pl.read_parquet(history.plays)[table["play"]]
    rows = np.random.default_rng(0).permutation(probes.height)
    names = names_of(table)
    nulled = probes.with_columns(pl.lit(None, probes.schema[name]).alias(name) for name in OUTCOMES)
    absurd = nulled.with_columns(ms_played=pl.lit(86_400_000, pl.Int64), repeated=pl.lit(True))
    with logs.warehouse(scratch) as house:
        for given_probes in (nulled, absurd):
            probed = featurize.probe(history, given_probes[rows], names, house)
            texts = probed.with_columns(pl.col(pl.Categorical).cast(pl.String))
            assert differences(table[rows], texts, names) == {}


@pytest.mark.parametrize("resolution", ["second", "minute", "mixed"])
def test_the_logs_are_what_ingest_would_write(tmp_path: Path, resolution: str) -> None:
    for log in (logs.random_log(1, 30, resolution=resolution), logs.random_order_log(1, 30)):
        logs.write(log, tmp_path)
        for name, model in tables.SOURCE_TABLES.items():
            model.validate(pl.read_parquet(tmp_path / f"{name}.parquet"))


def test_the_probe_test_covers_every_declared_feature(tmp_path: Path) -> None:
    """On a log that has every column, no declaration is left out."""
    for log, streams in (
        (logs.random_log(1, 40), {"completed"}),
        (logs.random_log(3, 40, "repeat"), {"completed", "repeated"}),
        (logs.random_order_log(1, 40), {"repeated"}),
    ):
        wanted = {
            feature.name
            for feature in declared(log.clock)
            if {question.stream for question in feature.questions}
            <= {"plays", "ended", "connection_errors", "playback_errors", *streams}
        }
        no_clock = {"platform", "country", "reason_start", "shuffle", "offline"}
        absent = no_clock if log.clock == "order" else set()
        assert wanted - absent <= set(names_of(features(log, tmp_path))) <= wanted


@modest
@given(st.one_of(timed, ordered))
def test_features_without_context_need_none(scratch: Path, log: Log) -> None:
    """What is declared to need a user, a track or a pair is the same for a probe without context."""
    table = features(log, scratch)
    if not table.height:
        return
    context_free = [
        f.name for f in declared(log.clock) if f.needs != "context" and f.name in table.columns
    ]
    history = logs.write(log, scratch)
    probes = pl.read_parquet(history.plays)[table["play"]]
    context = [
        "platform", "country", "reason_start", "shuffle", "offline",
        "source_tab", "source_screen", "source_type",
    ]  # fmt: skip
    bare = probes.with_columns(pl.lit(None, probes.schema[name]).alias(name) for name in context)
    with logs.warehouse(scratch) as house:
        probed = featurize.probe(history, bare, context_free, house)
    texts = probed.with_columns(pl.col(pl.Categorical).cast(pl.String))
    assert differences(table, texts, context_free) == {}


@pytest.mark.parametrize("clock", ["time", "order"])
def test_declarations_do_not_read_the_outcome_of_their_row(clock: str) -> None:
    for feature in declared(clock):
        assert not feature.columns & OUTCOME_COLUMNS, feature.name
        for question in feature.questions:
            assert not {question.value, *question.by} & OUTCOME_COLUMNS, feature.name


@pytest.mark.parametrize("clock", ["time", "order"])
def test_features_of_user_or_track_say_so(clock: str) -> None:
    """``needs`` follows from what a declaration reads: a key or column of the other side is a pair."""
    of_user = {
        "user", "home_country", "city", "gender", "registered_via", "age", "registered_year",
        "registered_day",
    }  # fmt: skip
    of_track = {
        "track", "artist", "composer", "registrant", "genre", "language", "isrc_country",
        "year", "duration",
    }  # fmt: skip
    for feature in declared(clock):
        questions = feature.questions
        roots = {name for name in feature.expression.meta.root_names() if not name.startswith("{")}
        roots -= {"tick"}  # every moment has one
        keys = roots | {name for question in questions for name in question.by}
        if feature.needs == "user":
            assert keys <= of_user, feature.name
        if feature.needs == "track":
            assert keys <= of_track, feature.name
        if feature.needs == "pair":
            assert keys <= of_user | of_track, feature.name


# An outcome counts only once its play had ended.


def one(log: Log, folder: Path, position: int, name: str) -> float | None:
    frame = features(log, folder, names=[name])
    value: float | None = frame.filter(pl.col("position") == position)[name].item()
    return value


def log_of(*plays: dict[str, Any], **values: Any) -> Log:
    rows = [{"position": place, **row} for place, row in enumerate(plays)]
    return Log(rows, values.pop("errors", []), values.pop("settings", logs.Labels()), "time", **values)


@pytest.mark.parametrize(
    ("end", "seen"), [(4.0, True), (4.999, True), (5.0, True), (5.001, False), (6.0, False)]
)
@pytest.mark.parametrize("other", [{}, {"user_id": "u1"}])
def test_an_outcome_counts_from_the_end_of_its_play(
    tmp_path: Path, end: float, seen: bool, other: dict[str, str]
) -> None:
    """A play that ends at minute ``end``, then one at minute 5 by the same or another user."""
    log = log_of(play(0, end * 60, skipped=False, **other), play(5, 100, skipped=True, platform="ios"))
    before = 1.0 / 2  # nobody's label is known: (0 + 1) / (0 + 2)
    after = (1 + 20 * (2 / 3)) / (1 + 20)  # one true label, prior (1 + 1) / (1 + 2), weight 20
    expected = after if seen else before
    assert one(log, tmp_path, 1, "track_completion_rate") == pytest.approx(expected, rel=1e-6)
    if not other:
        last = one(log, tmp_path, 1, "previous_completed")
        assert last == (1.0 if seen else None)
    # that it started is known either way
    assert one(log, tmp_path, 1, "track_plays") == pytest.approx(np.log1p(1))


def test_the_newest_outcome_is_of_the_play_that_ended_last(tmp_path: Path) -> None:
    """Started first, ended last: its outcome is the newest to be known."""
    log = log_of(
        play(0, 540, skipped=True), play(1, 60, skipped=False), play(9, 60, skipped=False), play(20, 9)
    )
    assert one(log, tmp_path, 2, "previous_completed") == 0.0
    assert one(log, tmp_path, 2, "recent_skip_rate_10") == 0.5


def test_the_length_of_a_running_play_is_unknown(tmp_path: Path) -> None:
    long = play(0, 300, skipped=False, user_id="u1")
    assert one(log_of(long, play(4, 10, skipped=True)), tmp_path, 1, "track_longest") is None
    assert one(log_of(long, play(5, 10, skipped=True)), tmp_path, 1, "track_longest") == 300


def test_plays_that_start_together_do_not_see_each_other(tmp_path: Path) -> None:
    log = log_of(play(0, 0, skipped=True), play(0, 0, skipped=True), play(1, 60, skipped=True))
    frame = features(log, tmp_path)
    assert frame["user_plays"].to_list() == pytest.approx([0, 0, np.log(3)])
    assert frame["session_position"].to_list() == [0, 0, 2]
    assert frame["previous_completed"].to_list() == [None, None, 0.0]


def test_errors_count_before_the_play_on_its_day(tmp_path: Path) -> None:
    moments = [timedelta(hours=-10), timedelta(minutes=-1), timedelta(0), timedelta(seconds=1)]
    errors = [{"user_id": "u0", "at": BASE + delta, "kind": "connection"} for delta in moments]
    errors += [{"user_id": "u1", "at": BASE - timedelta(minutes=1), "kind": "connection"}]
    log = log_of(play(0, 60, skipped=True), errors=errors)
    assert one(log, tmp_path, 0, "connection_error_count") == 1.0  # 9:00: ten hours ago was yesterday
    assert one(log, tmp_path, 0, "playback_error_count") == 0.0


def test_resolutions_may_mix(tmp_path: Path) -> None:
    """A play of a log of minutes counts from its full minute: what began within it is not seen."""
    log = log_of(
        play(0, 9, skipped=True),
        play(1 + 20 / 60, 0, skipped=True),
        play(1 + 25 / 60, 0, skipped=True),
        play(1 + 50 / 60, 0, skipped=True, resolution="minute"),
        play(1 + 55 / 60, 0, skipped=True),
    )
    frame = features(log, tmp_path)
    assert frame["user_plays"].exp().to_list() == pytest.approx([1, 2, 3, 2, 5])
    assert frame["session_position"].to_list() == [0, 1, 2, 1, 4]
    history = logs.write(log, tmp_path)
    with logs.warehouse(tmp_path) as house:
        probed = featurize.probe(history, pl.read_parquet(history.plays), names_of(frame), house)
    assert (
        differences(frame, probed.with_columns(pl.col(pl.Categorical).cast(pl.String)), names_of(frame))
        == {}
    )


# Below a log's resolution a start says how long its play was.


@modest
@given(timed, seeds)
def test_what_lies_below_the_resolution_reaches_no_feature(scratch: Path, log: Log, seed: int) -> None:
    """A play's start moved within its second (or minute): no feature of it changes."""
    rng = np.random.default_rng(seed)
    before = features(log, scratch)
    if not before.height:
        return
    row = before[int(rng.integers(before.height))]
    position = row["position"].item()
    rows = []
    for other in log.plays:
        if other["position"] == position:
            grain = 60_000 if other["resolution"] == "minute" else 1000
            shifted = tick(log, other) + timedelta(milliseconds=int(rng.integers(0, grain)))
            end = max(other["ended_at"], shifted)
            other = {**other, "started_at": shifted, "ended_at": end, "request_id": "probe"}
        rows.append(other)
    after = features(log.with_plays(rows), scratch, names=names_of(before))
    same = after.filter(pl.col("position") == position)
    if same.height:  # a tie may make another play the first of its track
        assert differences(row, same, names_of(before)) == {}


def test_account_age_is_no_finer_than_the_log(tmp_path: Path) -> None:
    """Hours after registration a float resolves milliseconds: they must not be there."""
    registered = datetime(2021, 2, 28, tzinfo=UTC)
    start = (registered - BASE) / timedelta(minutes=1) + 10.7
    log = log_of(play(start, 60, skipped=True, resolution="minute"))
    assert one(log, tmp_path, 0, "user_account_days") == pytest.approx(10 / (24 * 60), rel=1e-6)


# Without a clock, no label of validation or holdout is ever visible.


def test_the_calendar_is_the_listeners_own_on_both_sides_of_a_change_of_clocks(tmp_path: Path) -> None:
    """In St. John's of 2011 summer time began a minute after midnight: no whole quarter hour."""
    changes = datetime(2011, 3, 13, 3, 31, tzinfo=UTC)
    starts = [changes + timedelta(seconds=each) for each in (-90, -1, 0, 59, 59 * 60)]
    rows = [
        play(0, 60, started_at=start, ended_at=start + timedelta(seconds=60), position=place)
        for place, start in enumerate(starts)
    ]
    frame = features(Log(rows, [], logs.Labels(), "time", "America/St_Johns"), tmp_path).sort("position")
    assert frame["hour"].to_list() == [23, 0, 1, 1, 2]
    assert frame["day_of_week"].to_list() == [6, 7, 7, 7, 7]


@pytest.mark.parametrize("mode", ["production", "competition"])
def test_labels_after_training_are_never_visible(tmp_path: Path, mode: str) -> None:
    log = logs.random_order_log(5, 36, mode)
    assert log.known_until is not None
    flipped = [
        {**row, "repeated": not row["repeated"]}
        if row["position"] >= log.known_until and row["repeated"] is not None
        else row
        for row in log.plays
    ]
    before, after = features(log, tmp_path), features(log.with_plays(flipped), tmp_path)
    assert differences(before, after, names_of(before)) == {}
    assert (before["target"] != after["target"]).any()


@pytest.mark.parametrize(("mode", "first"), [("production", 14), ("competition", 11)])
def test_a_training_label_is_seen_once_it_has_matured(tmp_path: Path, mode: str, first: int) -> None:
    """Row 10's label, with ``maturity_rows`` 4: from row 14 on, or from the next row on."""
    log = logs.random_order_log(6, 60, mode)
    flipped = [
        {**row, "repeated": not row["repeated"]} if row["position"] == 10 else row for row in log.plays
    ]
    before, after = features(log, tmp_path), features(log.with_plays(flipped), tmp_path)
    seen = (before["user_repeat_rate"] - after["user_repeat_rate"]).abs() > 1e-4
    assert before.filter(seen)["position"].to_list() == list(range(first, 60))


def test_every_training_label_is_known_at_the_cutoff(tmp_path: Path) -> None:
    """From ``known_until`` on both modes know the same, so their features agree."""
    production, competition = (
        features(logs.random_order_log(7, 40, mode, maturity_rows=12), tmp_path)
        for mode in ("production", "competition")
    )
    cutoff = pl.col("position") >= 20
    late = differences(production.filter(cutoff), competition.filter(cutoff), names_of(production))
    assert late == {}
    assert differences(production.filter(~cutoff), competition.filter(~cutoff), names_of(production))
