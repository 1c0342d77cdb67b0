"""Labels by known answers: what counts, from when it is known, and what is never known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas import tables
from schemas.config import Labels
from tasks import labels
from tests import logs
from tests.logs import BASE, Log, Row, play

DAY = 24 * 60  # minutes
SILENT = "t2"  # a track whose length no catalogue knows
KNOWN = "t0"  # one of 200 s


def labelled(
    rows: list[Row], folder: Path, stream: str = "completed", clock: str = "time", **settings: Any
) -> pl.DataFrame:
    """Labels of the plays in the order given: play, target and matures_at."""
    target = "completed" if stream == "completed" else "repeat"
    placed = [{**row, "position": place} for place, row in enumerate(rows)]
    history = logs.write(Log(placed, [], Labels(target=target, **settings), clock), folder)
    frame = pl.read_parquet(history.labels[stream])
    tables.Labels.validate(frame)
    plays = pl.read_parquet(history.plays).with_row_index("play")
    position = plays.select(pl.col("play").cast(pl.Int64), "position")
    return frame.join(position, on="play").sort("position")


def targets(rows: list[Row], folder: Path, **settings: Any) -> list[bool | None]:
    return labelled(rows, folder, **settings)["target"].to_list()


def millisecond(minutes: float) -> int:
    return round(BASE.timestamp() * 1000 + minutes * 60_000)


# completed


@pytest.mark.parametrize(("skipped", "expected"), [(True, False), (False, True)])
def test_the_flag_is_trusted_before_anything_else(tmp_path: Path, skipped: bool, expected: bool) -> None:
    against = "trackdone" if skipped else "fwdbtn"
    rows = [play(0, 200 if skipped else 1, skipped=skipped, reason_end=against)]
    assert targets(rows, tmp_path) == [expected]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("trackdone", True), ("fwdbtn", False), ("backbtn", False), ("endplay", False),
        ("clickrow", False), ("nextbtn", False), ("remote", None), ("logout", None),
        ("unexpected-exit", None), ("unknown", None), ("trackerror", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seconds", [1, 200])
def test_the_reason_comes_next_and_the_length_is_not_asked(
    tmp_path: Path, reason: str, expected: bool | None, seconds: float
) -> None:
    assert targets([play(0, seconds, reason_end=reason)], tmp_path) == [expected]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(159.999, False), (160, True), (500, True), (0, False)]
)
def test_the_share_of_the_catalogues_length(tmp_path: Path, seconds: float, expected: bool) -> None:
    assert targets([play(0, seconds)], tmp_path) == [expected]


def test_the_share_is_a_setting(tmp_path: Path) -> None:
    rows = [play(0, 100), play(10, 99)]
    assert targets(rows, tmp_path, completed_share=0.5) == [True, False]


def test_without_a_length_the_longest_earlier_play_stands_in(tmp_path: Path) -> None:
    lengths = [100, 79, 80, 200, 100, 160]
    rows = [play(10 * place, length, track_id=SILENT) for place, length in enumerate(lengths)]
    assert targets(rows, tmp_path) == [None, False, True, True, False, True]


def test_a_later_play_never_counts_as_the_length(tmp_path: Path) -> None:
    rows = [play(0, 50, track_id=SILENT), play(10, 45, track_id=SILENT)]
    longer = [*rows, play(20, 1000, track_id=SILENT)]
    assert targets(rows, tmp_path) == [None, True]
    assert targets(longer, tmp_path) == [None, True, True]


@pytest.mark.parametrize(("seconds", "expected"), [(29.999, None), (30, True)])
def test_a_short_play_says_nothing_of_the_length(
    tmp_path: Path, seconds: float, expected: bool | None
) -> None:
    rows = [play(0, seconds, track_id=SILENT), play(10, 40, track_id=SILENT)]
    assert targets(rows, tmp_path) == [None, expected]


@pytest.mark.parametrize(("start", "expected"), [(1, True), (0.999, None)])
def test_the_longest_play_must_have_ended(tmp_path: Path, start: float, expected: bool | None) -> None:
    """Another user's play of a minute; a play that starts as it ends may use it."""
    rows = [play(0, 60, track_id=SILENT, user_id="u1"), play(start, 50, track_id=SILENT)]
    assert targets(rows, tmp_path) == [None, expected]


def test_a_play_whose_outcome_was_told_still_says_how_long_the_track_is(tmp_path: Path) -> None:
    rows = [play(0, 100, track_id=SILENT, skipped=True), play(10, 80, track_id=SILENT)]
    assert targets(rows, tmp_path) == [False, True]


def test_another_tracks_play_says_nothing(tmp_path: Path) -> None:
    rows = [play(0, 100, track_id="t3"), play(10, 80, track_id=SILENT)]
    assert targets(rows, tmp_path) == [None, None]


def test_an_outcome_is_known_when_the_play_ends(tmp_path: Path) -> None:
    frame = labelled([play(0, 90, skipped=True), play(5, 0, skipped=True)], tmp_path)
    assert frame["matures_at"].to_list() == [millisecond(1.5), millisecond(5) + 1]


# repeat


def repeats(rows: list[Row], folder: Path, **settings: Any) -> list[tuple[int, bool | None]]:
    """(position, label) of the rows of the target; 30 days, and no burn-in unless given."""
    given = {"burn_in_days": 0, "horizon_days": 30} | settings
    frame = labelled(rows, folder, "repeated", **given)
    return list(zip(frame["position"].to_list(), frame["target"].to_list(), strict=True))


END = play(100 * DAY, 60, track_id="t4")  # long after: every horizon below is over


def test_a_row_is_the_first_play_of_a_pair(tmp_path: Path) -> None:
    rows = [play(0, 60), play(10, 60), play(0, 60, user_id="u1"), play(20, 60, track_id="t1"), END]
    assert repeats(rows, tmp_path) == [(0, True), (2, False), (3, False), (4, None)]


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(1, True), (30 * DAY - 1, True), (30 * DAY, False), (31 * DAY, False)],
)
def test_the_horizon_is_half_open(tmp_path: Path, minutes: float, expected: bool) -> None:
    assert repeats([play(0, 60), play(minutes, 60), END], tmp_path)[0] == (0, expected)


def test_a_play_that_starts_with_the_first_repeats_it(tmp_path: Path) -> None:
    assert repeats([play(0, 60), play(0, 60), END], tmp_path) == [(0, True), (2, None)]


@pytest.mark.parametrize(("last", "expected"), [(30 * DAY, True), (30 * DAY - 0.001, None)])
def test_a_label_is_null_until_its_whole_horizon_has_passed(
    tmp_path: Path, last: float, expected: bool | None
) -> None:
    """Even when the track has been played again: else every early label would be true."""
    rows = [play(0, 60), play(10, 60), play(last - 1, 60, track_id="t1", user_id="u1")]
    frame = repeats(rows, tmp_path)
    assert frame[0] == (0, expected)


def test_a_label_matures_with_its_horizon_not_with_the_repeat(tmp_path: Path) -> None:
    frame = labelled([play(0, 60), play(10, 60), END], tmp_path, "repeated", burn_in_days=0)
    assert frame["matures_at"][0] == millisecond(30 * DAY)


def test_first_plays_within_the_burn_in_are_no_rows(tmp_path: Path) -> None:
    """Sixty days of each user's own: what was first heard in them is not asked about again."""
    rows = [
        play(0, 60),
        play(60 * DAY - 1, 60, track_id="t1"),
        play(60 * DAY, 60, track_id="t2"),
        play(61 * DAY, 60),
        play(61 * DAY, 60, user_id="u1", track_id="t3"),
        play(61 * DAY, 60, track_id="t2"),
        END,
    ]
    assert repeats(rows, tmp_path, burn_in_days=60) == [(2, True), (6, None)]


def test_a_timed_source_has_completed_beside_repeat(tmp_path: Path) -> None:
    history = logs.write(Log([play(0, 60, skipped=True)], [], Labels(target="repeat"), "time"), tmp_path)
    assert pl.read_parquet(history.labels["completed"])["target"].to_list() == [False]


# given


@pytest.mark.parametrize(("mode", "known"), [("production", [5, 6, 7]), ("competition", [1, 2, 3])])
def test_a_source_without_a_clock_gives_its_label(tmp_path: Path, mode: str, known: list[int]) -> None:
    rows = [{"user_id": "u0", "track_id": "t0", "resolution": "order", "repeated": label}
            for label in (True, None, False)]  # fmt: skip
    frame = labelled(rows, tmp_path, "repeated", "order", mode=mode, maturity_rows=5)
    assert frame["target"].to_list() == [True, None, False]
    assert frame["matures_at"].to_list() == known


def test_facts_count_rows_known_and_true(tmp_path: Path) -> None:
    rows = [play(0, 200), play(10, 10), play(20, 10), play(30, 10, track_id=SILENT)]
    history = logs.write(Log(rows, [], Labels(), "time"), tmp_path)
    assert labels.facts(history.labels["completed"]) == {"rows": 4, "known": 3, "true": 1}
