"""A feature table that goes on from an earlier one is the table that is made from nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.config import Labels
from tasks import featurize, parts
from tasks.standing import Before
from tests import logs
from tests.logs import BASE, TRACKS, USERS, Log, Row, play

PART = 4  # rows of a part here
PLAYS = 40  # of the log below, four a day


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS", PART)
        yield


@dataclass(frozen=True)
class Told:
    """All that features are built from."""

    log: Log
    tracks: Sequence[Row] = tuple(TRACKS)
    users: Sequence[Row] = tuple(USERS)


def made(told: Told, folder: Path, before: Before | None = None) -> Before:
    """The feature table of what is told, in ``folder``."""
    history = logs.write(told.log, folder, told.tracks, told.users)
    target = "repeated" if told.log.settings.target == "repeat" else "completed"
    path = folder / "features.parquet"
    with logs.warehouse(folder) as house:
        names = featurize.write(history, target, None, house, 1, path, before)
    return Before(path, names, history)


def standing(earlier: Before, now: Told, folder: Path) -> int:
    """Parts of the second table that are the first's; it must be what is made from nothing."""
    grown = made(now, folder / "grown", earlier)
    fresh = made(now, folder / "fresh")
    assert grown.names == fresh.names
    files, others = parts.files(grown.table), parts.files(fresh.table)
    assert [parts.rows(each) for each in files] == [parts.rows(each) for each in others]
    assert pl.read_parquet(grown.table).equals(pl.read_parquet(fresh.table))
    pairs = zip(parts.files(earlier.table), files, strict=False)
    return sum(old.samefile(new) for old, new in pairs)


def history(target: str = "completed") -> Log:
    plays = [
        play(
            360 * place, 100 + place % 3 * 60, user_id=f"u{place % 2}", track_id=f"t{place % 4}",
            reason_end="trackdone" if place % 3 else "fwdbtn", platform="ios",
        )
        for place in range(PLAYS)
    ]  # fmt: skip
    errors = [{"user_id": "u0", "at": BASE + timedelta(hours=6 * place, minutes=-1), "kind": "playback"}
              for place in range(0, PLAYS, 5)]  # fmt: skip
    labels = Labels(target=target, burn_in_days=0, horizon_days=2)
    return Log(plays, errors, labels, "time")


def with_play(told: Told, *plays: Row) -> Told:
    return replace(told, log=told.log.with_plays([*told.log.plays, *plays]))


def with_errors(told: Told, errors: list[Row]) -> Told:
    return replace(told, log=replace(told.log, errors=errors))


def edited(told: Told, place: int, **values: object) -> Told:
    plays = [dict(row) for row in told.log.plays]
    plays[place] |= values
    return replace(told, log=told.log.with_plays(plays))


def described(told: Told, track: int, **values: object) -> Told:
    tracks = [dict(row) for row in told.tracks]
    tracks[track] |= values
    return replace(told, tracks=tracks)


LATER = play(360 * PLAYS, 100, user_id="u1", track_id="t1", reason_end="trackdone", platform="ios")
NEW = {"user_id": "u1", "at": BASE + timedelta(days=6), "kind": "connection"}
# what came, and how many of the ten parts stand: a day each, from nine in the morning to the next
# day's three, and never one that reaches into the day of the change
GROWING: dict[str, tuple[Callable[[Told], Told], int]] = {
    "a later play": (lambda told: with_play(told, LATER), 9),
    "a late play": (lambda told: with_play(told, play(7200, 9, user_id="u0", track_id="t3")), 4),
    "another outcome": (lambda told: edited(told, 22, reason_end="fwdbtn"), 4),
    "a label": (lambda told: edited(told, 23, reason_end="remote"), 4),
    "an error": (lambda told: with_errors(told, [*told.log.errors, NEW]), 6),
    "an error less": (lambda told: with_errors(told, told.log.errors[:4]), 5),
    "another track": (lambda told: replace(told, tracks=[{"track_id": "a"}, *told.tracks]), 10),
    "a track's year": (lambda told: described(told, 1, year=1980), 0),
    "a track's genres": (lambda told: described(told, 1, genres=["g7"]), 0),
    "a track less": (lambda told: replace(told, tracks=told.tracks[:4]), 0),
    "a listener after the others": (
        lambda told: replace(told, users=[*told.users, {"user_id": "v"}]), 10
    ),
    "a listener before the others": (
        lambda told: replace(told, users=[*told.users, {"user_id": "a"}]), 0
    ),
    "a listener's age": (
        lambda told: replace(told, users=[dict(told.users[0]) | {"age": 31}, *told.users[1:]]), 0
    ),
    "a column that was empty": (lambda told: edited(told, 39, shuffle=True), 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Before:
    return made(Told(history()), tmp_path_factory.mktemp("earlier"))


@pytest.mark.parametrize("what", GROWING)
def test_parts_before_the_first_change_stand(what: str, earlier: Before, tmp_path: Path) -> None:
    change, stand = GROWING[what]
    assert standing(earlier, change(Told(history())), tmp_path) == stand


def test_labels_that_mature_are_changes(tmp_path: Path) -> None:
    """Two days have to pass until a first play's label is known: more have when a later play comes."""
    log = history("repeat")
    plays = [row | {"track_id": f"t{place}"} for place, row in enumerate(log.plays)]
    told = Told(log.with_plays(plays), [{"track_id": f"t{place}"} for place in range(PLAYS)])
    before = made(told, tmp_path / "before")
    rows = pl.scan_parquet(before.table).select(pl.len()).collect().item()
    assert rows == PLAYS - 8  # all are first plays; of the last two days nothing is known
    assert standing(before, with_play(told, LATER), tmp_path) == 7


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.builds(
        logs.random_log, st.integers(0, 10**6), st.integers(8, 40),
        st.sampled_from(["completed", "repeat"]), st.sampled_from(["second", "mixed"]),
    ),
    st.integers(0, 10**6),
)  # fmt: skip
def test_whatever_came_the_table_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, log: Log, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plays = sorted(log.plays, key=lambda row: row["started_at"])
    cut = int(rng.integers(len(plays) // 2, len(plays)))
    kept = [row for place, row in enumerate(plays) if place < cut and rng.random() > 0.02]
    errors = [row for row in log.errors if row["at"] < plays[cut]["started_at"] or rng.random() < 0.1]
    folder = tmp_path_factory.mktemp("standing")
    if kept:
        before = made(Told(replace(log, plays=kept, errors=errors)), folder / "before")
        standing(before, Told(log), folder)
    shutil.rmtree(folder)


def test_a_part_that_vanished_is_not_passed_over(tmp_path: Path) -> None:
    earlier = made(Told(history()), tmp_path / "before")
    parts.part(earlier.table, 1).unlink()
    grown = made(with_play(Told(history()), LATER), tmp_path / "grown", earlier)
    assert pl.read_parquet(grown.table)["play"].to_list() == list(range(PLAYS + 1))
