"""Exports come again, longer, later and packed: only what is new counts, and it lands in its place."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Config
from schemas.loading import load
from tasks import stages
from tasks.store import Entry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2022, 3, 1, 8, tzinfo=UTC)
LINEAGE = ("file", "position")


def history(seed: int, plays: int) -> list[dict[str, Any]]:
    """Account data to the minute, no two plays in one, in time order."""
    rng = random.Random(seed)
    end, told = START, []
    for _ in range(plays):
        end += timedelta(minutes=rng.randrange(5, 300))
        told.append(play(end, rng.randrange(12), rng.choice([20_000, 200_000])))
    return told


def play(end: datetime, track: int, ms: int = 200_000) -> dict[str, Any]:
    return {
        "endTime": f"{end:%Y-%m-%d %H:%M}",
        "artistName": f"Band {track % 4}",
        "trackName": f"Song {track}",
        "msPlayed": ms,
    }


ANN, BOB = history(1, 90), history(2, 60)


def package(folder: Path, plays: Sequence[dict[str, Any]], most: int = 50) -> None:
    """One package as Spotify makes it: files of at most so many plays, numbered."""
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(plays), most)):
        path = folder / f"StreamingHistory{number}.json"
        path.write_text(json.dumps(plays[start : start + most]), encoding="utf-8")


def config(raw: Path, store: Path) -> Config:
    return load(
        None,
        [
            "source.kind=spotify_export",
            f"source.path={raw}",
            f"store.path={store}",
            "split.min_rows=5",
        ],
    )


def ingested(raw: Path, store: Path) -> Entry:
    return stages.ingested(config(raw, store), None, NOW)


def featurized(raw: Path, store: Path) -> Entry:
    settings = config(raw, store)
    data = ingested(raw, store)
    return stages.featurized(settings, data, stages.labelled(settings, data))


def digests(entry: Entry) -> dict[str, str]:
    return {name: table.digest for name, table in entry.tables.items()}


def plays(entry: Entry) -> pl.DataFrame:
    """What was played, whatever file it came from."""
    return pl.read_parquet(entry.tables["plays"].path).drop(LINEAGE)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two accounts' packages."""
    package(tmp_path / "raw" / "ann" / "MyData", ANN[:60])
    package(tmp_path / "raw" / "bob" / "MyData", BOB)
    return tmp_path / "raw"


def test_the_same_export_again_changes_nothing(export: Path, tmp_path: Path) -> None:
    first = ingested(export, tmp_path / "store")
    again = ingested(export, tmp_path / "store")
    assert (first.reused, again.reused) == (False, True)
    assert (first.key, digests(first)) == (again.key, digests(again))
    moved = export.rename(tmp_path / "elsewhere")
    (tmp_path / "new").mkdir()
    fresh = ingested(moved.rename(tmp_path / "new" / "raw"), tmp_path / "fresh")
    assert (fresh.reused, fresh.key, digests(fresh)) == (False, first.key, digests(first))


def test_the_same_package_twice_counts_once(export: Path, tmp_path: Path) -> None:
    first = ingested(export, tmp_path / "store")
    package(export / "ann" / "MyData again", ANN[:60], most=25)
    twice = ingested(export, tmp_path / "store")
    assert twice.facts["merged_duplicates"] == 60
    assert plays(twice).equals(plays(first))
    assert digests(twice)["tracks"] == digests(first)["tracks"]
    assert digests(twice)["users"] == digests(first)["users"]


@pytest.mark.parametrize(("first_kept", "merged"), [(0, 60), (35, 25)])
def test_a_newer_export_adds_only_what_is_new(
    first_kept: int, merged: int, export: Path, tmp_path: Path
) -> None:
    """It holds all, or as Spotify's yearly ones do the newest part; the older lies beside it."""
    before = ingested(export, tmp_path / "store")
    package(export / "ann" / "newer", ANN[first_kept:], most=70)
    after = ingested(export, tmp_path / "store")
    assert after.facts["merged_duplicates"] == merged
    assert after.facts["rows"]["plays"] == before.facts["rows"]["plays"] + 30 == 150
    old = plays(before).filter(pl.col("user_id") == "ann")
    new = plays(after).filter(pl.col("user_id") == "ann").sort("seq")
    assert new.height == 90
    assert new.head(60).equals(old.sort("seq"))
    assert new["ended_at"].dt.strftime("%Y-%m-%d %H:%M").to_list() == [each["endTime"] for each in ANN]
    # the same as if only one package with everything had been there
    package(tmp_path / "whole" / "raw" / "ann" / "MyData", ANN)
    package(tmp_path / "whole" / "raw" / "bob" / "MyData", BOB)
    whole = ingested(tmp_path / "whole" / "raw", tmp_path / "fresh")
    assert plays(after).equals(plays(whole))
    assert whole.facts["merged_duplicates"] == 0
    assert digests(after)["tracks"] == digests(whole)["tracks"]


def test_a_late_play_lands_in_its_place_and_changes_what_comes_after(
    export: Path, tmp_path: Path
) -> None:
    """Her 31st play arrives with a later package: as if it had been there from the start."""
    before = featurized(export, tmp_path / "store")
    tables = ingested(export, tmp_path / "store")
    ended = datetime.strptime(ANN[29]["endTime"], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    late = play(ended + timedelta(minutes=4), 3)
    package(export / "ann" / "late", [late])
    after, grown = featurized(export, tmp_path / "store"), ingested(export, tmp_path / "store")
    assert grown.key != tables.key
    assert digests(grown)["plays"] != digests(tables)["plays"]
    own = plays(grown).filter(pl.col("user_id") == "ann").sort("seq")
    assert own["ended_at"].to_list()[30] == ended + timedelta(minutes=4)
    assert own["seq"].to_list() == list(range(61))
    assert digests(after) != digests(before)

    rows = both(before, tables), both(after, grown)
    names = [name for name in rows[0].columns if name not in ("play", "user", "track", "artist")]
    old, new = (each.select(names).filter(pl.col("user_id") == "ann") for each in rows)
    moment = ended + timedelta(minutes=1)
    assert old.filter(pl.col("ended_at") < moment).equals(new.filter(pl.col("ended_at") < moment))
    counted = [name for name in names if name not in ("seq", "started_at", "ended_at")]
    later = (each.filter(pl.col("ended_at") > ended + timedelta(minutes=5)) for each in (old, new))
    was, now = later
    assert was.height == now.height > 20
    assert not was.select(counted).equals(now.select(counted))

    package(tmp_path / "whole" / "raw" / "ann" / "MyData", [*ANN[:30], late, *ANN[30:60]])
    package(tmp_path / "whole" / "raw" / "bob" / "MyData", BOB)
    whole = tmp_path / "whole" / "raw"
    assert plays(ingested(whole, tmp_path / "fresh")).equals(plays(grown))
    assert digests(featurized(whole, tmp_path / "fresh")) == digests(after)


def both(features: Entry, data: Entry) -> pl.DataFrame:
    """Features beside who played and when, in time order."""
    known = plays(data).select("user_id", "started_at", "ended_at", "seq").with_row_index("play")
    rows = pl.read_parquet(features.tables["features"].path)
    return rows.drop("seq", "user_id", strict=False).join(
        known.with_columns(pl.col("play").cast(rows["play"].dtype)), on="play"
    ).sort("user_id", "seq")  # fmt: skip


def test_a_zip_and_a_folder_are_the_same(export: Path, tmp_path: Path) -> None:
    """All but the names of raw files, and so no model is fitted again."""
    packed = tmp_path / "packed" / "raw"
    packed.mkdir(parents=True)
    for account in sorted(export.iterdir()):
        with zipfile.ZipFile(packed / f"{account.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(account.rglob("*.json")):
                archive.write(path, path.relative_to(account))
    one, other = ingested(export, tmp_path / "store"), ingested(packed, tmp_path / "store")
    assert one.key != other.key
    assert plays(one).equals(plays(other))
    assert {name: digest for name, digest in digests(one).items() if name != "plays"} == {
        name: digest for name, digest in digests(other).items() if name != "plays"
    }
    assert digests(featurized(export, tmp_path / "store")) == digests(
        featurized(packed, tmp_path / "store")
    )
