"""Plays as arrays: texts by code, users and tracks by the place of their ids, whatever the pieces."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas.config import Labels, Store
from tasks import labels, moments
from tasks.featurize import History
from tasks.moments import Moments, Sides
from tasks.warehouse import Warehouse
from tests import logs
from tests.logs import Log, play

PLATFORMS = ["web", None, "ios", "web", "tv", "ios", None, "web", "car"]
USERS = ["u1", "u0", "u2", "u0", "u0", "u1", "u2", "u2", "u1"]
TRACKS = ["t4", "t0", "t0", "t3", "t2", "t2", "t1", "t4", "t0"]


@pytest.fixture
def history(tmp_path: Path) -> History:
    rows = [
        play(10 * place, 60, user_id=user, track_id=track, platform=platform)
        for place, (user, track, platform) in enumerate(zip(USERS, TRACKS, PLATFORMS, strict=True))
    ]
    return logs.write(Log(rows, [], Labels(), "time"), tmp_path)


def read(history: History, plays: Path | pl.DataFrame, names: dict[str, list[str]]) -> Moments:
    with logs.warehouse(history.plays.parent) as house:
        sides = Sides.read(history.users, history.tracks, house)
        return moments.read(plays, sides, "UTC", house, names)


def told(read: Moments, name: str) -> list[str | None]:
    return [read.names[name][code] if code >= 0 else None for code in read.columns[name]]


@pytest.mark.parametrize("group", [2, 3, 100])
def test_each_piece_of_a_file_has_a_dictionary_of_its_own(history: History, group: int) -> None:
    plays = history.plays.with_name("grouped.parquet")
    pl.read_parquet(history.plays).write_parquet(plays, row_group_size=group)
    found = read(history, plays, {})
    assert told(found, "platform") == PLATFORMS
    assert sorted(found.names["platform"]) == ["car", "ios", "tv", "web"]
    assert found.columns["user"].tolist() == [int(user[1]) for user in USERS]
    assert found.columns["track"].tolist() == [int(track[1]) for track in TRACKS]
    assert "country" not in found.columns  # null throughout
    assert (np.diff(found.columns["tick"]) == 600_000).all()


def test_texts_of_a_folder_follow_its_files_by_name(history: History, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for start in (6, 0, 3):  # not written in their order
        part = pl.read_parquet(history.plays)[start : start + 3]
        part.write_parquet(folder / f"{start}.parquet")
    column = moments._coded(folder, "platform")
    assert column.to_pylist() == PLATFORMS


def test_probes_get_the_codes_of_the_plays_and_new_texts_further_ones(history: History) -> None:
    probes = pl.read_parquet(history.plays)[[2, 0]].with_columns(platform=pl.Series(["fridge", "tv"]))
    found = read(history, probes, {"platform": ["tv", "web"], "country": ["DE"]})
    assert found.columns["platform"].tolist() == [2, 0]
    assert found.names["platform"] == ["tv", "web", "fridge"]
    assert found.names["country"] == ["DE"]
    assert found.columns["user"].tolist() == [2, 1]


@pytest.mark.parametrize("column", ["user_id", "track_id"])
def test_a_play_of_an_unknown_track_or_user_is_our_fault(history: History, column: str) -> None:
    plays = pl.read_parquet(history.plays)
    strange = pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("x")).otherwise(column)
    logs.write_in_parts(plays.with_columns(strange.alias(column)), history.plays)
    with pytest.raises(AssertionError, match="1 plays have no track or user"):
        read(history, history.plays, {})


def test_many_plays_keep_their_order(history: History) -> None:
    """Two threads hand blocks of rows out as they finish them."""
    few = pl.read_parquet(history.plays)
    many = pl.concat([few] * 50_000).with_columns(
        seq=pl.int_range(pl.len()),
        skipped=pl.lit(False),
        ended_at=pl.col("ended_at") + pl.duration(milliseconds=pl.int_range(pl.len())),
    )
    folder = history.plays.parent
    plays = folder / "many.parquet"
    many.write_parquet(plays, row_group_size=20_000)
    with Warehouse(Store(path=folder, memory_limit="1GB", threads=2)) as house:
        sides = Sides.read(history.users, history.tracks, house)
        found = moments.read(plays, sides, "UTC", house)
        shutil.rmtree(folder / "completed.parquet")
        labels.write(plays, history.tracks, "time", Labels(), house, folder)
    assert (found.columns["end_tick"] == many["ended_at"].dt.epoch("ms").to_numpy()).all()
    made = pl.read_parquet(folder / "completed.parquet")
    assert (made["play"].to_numpy() == np.arange(many.height)).all()
    assert (made["seq"].to_numpy() == np.arange(many.height)).all()
