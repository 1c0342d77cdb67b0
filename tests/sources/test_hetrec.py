"""Last.fm HetRec: known answers from a hand-written set, and what happens to files gone wrong."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Labels, Source, Store
from tasks import featurize, labels
from tasks.featurize import History
from tasks.sources import hetrec
from tasks.warehouse import Warehouse
from tests.sources.staged import ingested, refused, staged

FIXTURE = Path(__file__).parent.parent / "fixtures" / "hetrec"
HEADER = "userID\tartistID\ttagID\tday\tmonth\tyear\n"
KIND = "lastfm_hetrec"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the hand-written files to spoil."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "hetrec"))


def day(year: int, month: int, of: int) -> datetime:
    return datetime(year, month, of, tzinfo=UTC)


def test_a_play_is_a_distinct_user_artist_and_date(tmp_path: Path) -> None:
    frames, facts = staged(tmp_path, KIND, FIXTURE)
    plays = frames["plays"]
    assert plays.select("user_id", "track_id", "started_at", "position").rows() == [
        ("2", "52", day(2009, 4, 1), 0),  # two tags
        ("2", "63", day(2009, 4, 1), 2),
        ("2", "52", day(2009, 5, 1), 3),
        ("7", "52", day(2009, 4, 1), 4),
        ("7", "70", day(2011, 5, 9), 5),
        ("7", "52", day(1956, 9, 1), 6),
    ]
    assert plays["ended_at"].equals(plays["started_at"])
    assert plays["ms_played"].null_count() == plays.height
    assert plays["resolution"].unique().to_list() == ["day"]
    assert plays["file"].unique().to_list() == ["user_taggedartists.dat"]
    assert facts["plays"] == 6
    assert facts["files"]["user_taggedartists.dat"] == {
        "records": 7, "blank": 0, "malformed": 0, "malformed_at": [],
    }  # fmt: skip
    assert facts["unused_files"] == ["tags.dat", "user_artists.dat", "user_friends.dat"]


def test_tracks_are_artists_and_know_nothing_of_later(tmp_path: Path) -> None:
    tracks = staged(tmp_path, KIND, FIXTURE)[0]["tracks"]
    assert tracks.select("track_id", "name", "artist").rows() == [
        ("52", "Morcheeba", "Morcheeba"),
        ("63", '"Weird" O\'Neil, Jr.', '"Weird" O\'Neil, Jr.'),  # the first record counts
        ("99", "Never Tagged", "Never Tagged"),
    ]
    assert tracks["genres"].null_count() == 3


def test_ingest_refuses_dates_before_any_log_and_keeps_the_rest(tmp_path: Path) -> None:
    found, facts, _ = ingested(tmp_path, KIND, FIXTURE)
    assert found["plays"].select("user_id", "seq", "track_id").rows() == [
        ("2", 0, "52"), ("2", 1, "63"), ("7", 0, "52"), ("2", 2, "52"), ("7", 1, "70"),
    ]  # fmt: skip
    assert found["quarantine"].rows() == [
        ("plays", "user_taggedartists.dat", 6, "ended_at", "ended_at: before 2005-01-01"),
        ("tags", "user_taggedartists.dat", 6, "tagged_at", "tagged_at: before 2005-01-01"),
    ]
    assert found["tags"].drop("file").rows() == [
        ("2", "52", "13", day(2009, 4, 1), 0),
        ("2", "52", "15", day(2009, 4, 1), 1),
        ("2", "63", "15", day(2009, 4, 1), 2),
        ("2", "52", "13", day(2009, 5, 1), 3),
        ("7", "52", "13", day(2009, 4, 1), 4),
        ("7", "70", "13", day(2011, 5, 9), 5),
    ]
    assert facts["rows"]["tags"] == 6
    assert (facts["clock"], facts["merged_duplicates"]) == ("time", 0)
    assert facts["added"] == {"tracks": 1, "users": 2}
    assert found["users"]["user_id"].to_list() == ["2", "7"]  # no user of the counts' file
    assert (facts["data_start"], facts["data_end"]) == (
        "2009-04-01T00:00:00+00:00", "2011-05-09T00:00:00+00:00",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["artists.dat", "tags.dat", "user_artists.dat", "user_friends.dat"])
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "missing"])
def test_only_the_tag_events_are_needed(folder: Path, tmp_path: Path, name: str, empty: bool) -> None:
    expected = staged(tmp_path, KIND, FIXTURE)[0]
    (folder / name).unlink()
    if empty:
        (folder / name).touch()
    frames, facts = staged(tmp_path, KIND, folder)
    assert frames["plays"].equals(expected["plays"])
    assert frames["tracks"].height == (0 if name == "artists.dat" else 3)
    assert (name in facts["unused_files"]) == (empty and name != "artists.dat")
    if name == "artists.dat":
        assert ingested(tmp_path, KIND, folder)[1]["added"] == {"tracks": 3, "users": 2}


def test_without_tag_events_there_is_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "user_taggedartists.dat").write_text(HEADER)
    with refused("no plays in it"):
        ingested(tmp_path, KIND, folder)
    (folder / "user_taggedartists.dat").write_text("")
    with refused("user_taggedartists.dat", "Empty"):
        staged(tmp_path, KIND, folder)
    (folder / "user_taggedartists.dat").unlink()
    with refused("no user_taggedartists.dat", "user_friends.dat", "check source.path"):
        hetrec.files(Source(kind=KIND, path=(folder,)))
    with refused("not a folder"):
        hetrec.files(Source(kind=KIND, path=(folder / "artists.dat",)))


def test_files_are_those_that_are_read(folder: Path) -> None:
    source = Source(kind=KIND, path=(folder,))
    assert [path.name for path in hetrec.files(source)] == ["artists.dat", "user_taggedartists.dat"]


def test_the_order_of_columns_bom_and_line_ends_change_nothing(folder: Path, tmp_path: Path) -> None:
    expected = staged(tmp_path, KIND, FIXTURE)[0]
    tags = pl.read_csv(folder / "user_taggedartists.dat", separator="\t", infer_schema=False)
    tags.select(reversed(tags.columns)).write_csv(folder / "user_taggedartists.dat", separator="\t")
    text = (folder / "user_taggedartists.dat").read_text().rstrip("\n").replace("\n", "\r\n")
    (folder / "user_taggedartists.dat").write_bytes(b"\xef\xbb\xbf" + text.encode())
    for name, frame in staged(tmp_path, KIND, folder)[0].items():
        assert frame.equals(expected[name]), name


def test_names_may_be_latin_1(folder: Path, tmp_path: Path) -> None:
    text = "id\tname\turl\tpictureURL\n52\tSigur Rós\t\t\n"
    (folder / "artists.dat").write_bytes(text.encode("latin-1"))
    assert staged(tmp_path, KIND, folder)[0]["tracks"]["name"].to_list() == ["Sigur Rós"]
    (folder / "artists.dat").write_text(text, encoding="utf-8")
    assert staged(tmp_path, KIND, folder)[0]["tracks"]["name"].to_list() == ["Sigur Rós"]


def test_odd_ids_pass_as_they_are(folder: Path, tmp_path: Path) -> None:
    odd = ["a,b", '"', 'say "hi"', "'; drop table plays; --", "x" * 10_000, " ", "é\u2028"]
    rows = [f"{each}\t{each}\t1\t1\t4\t2009\n" for each in odd]
    (folder / "user_taggedartists.dat").write_text(HEADER + "".join(rows))
    plays = ingested(tmp_path, KIND, folder)[0]["plays"]
    assert plays.sort("position")["user_id"].to_list() == odd
    assert plays.sort("position")["track_id"].to_list() == odd


def test_bad_records_are_refused_with_their_place(folder: Path, tmp_path: Path) -> None:
    rows = [
        "2\t52\t13\t1\t4\t2009",
        "3\t52\t13\t31\t2\t2009",  # no such day
        "3\t52\t13\t1\t13\t2009",
        "3\t52\t13\tx\t4\t2009",
        "3\t52\t13\t1\t4\t",
        "3\t52\t13\t1\t4",  # a field short
        "3\t52\t13\t1\t4\t2009\t9",
        "\t52\t13\t1\t4\t2009",
        "3\t\t13\t1\t4\t2009",
        "3\t52\t13\t1\t4\t2009",
        "3\t52\t13\t1\t4\t2031",
        "3\t52\t13\t1\t4\t99999",
        "3\t52\t13\t1\t4\t20",  # cut off
    ]
    (folder / "user_taggedartists.dat").write_text(HEADER + "\n".join(rows))
    found, facts, _ = ingested(tmp_path, KIND, folder)
    assert found["plays"]["position"].to_list() == [0, 9]
    refused_plays = found["quarantine"].filter(pl.col("table") == "plays").sort("position")
    assert refused_plays.select("position", "reason").rows() == [
        (1, "ended_at: missing"),
        (2, "ended_at: missing"),
        (3, "ended_at: missing"),
        (4, "ended_at: missing"),
        (5, "user_id: missing"),
        (6, "user_id: missing"),
        (7, "user_id: missing"),
        (8, "track_id: missing"),
        (10, "ended_at: in the future"),
        (11, "ended_at: missing"),
        (12, "ended_at: before 2005-01-01"),
    ]
    # a tag of the future lies before no cutoff
    assert found["tags"]["position"].to_list() == [0, 9, 10]
    assert facts["reader"]["files"]["user_taggedartists.dat"]["malformed_at"] == [5, 6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"2\t52\t13\t1\t4\t2009\n", ("columns are missing", "restore the header line")),
        (b"userID\tartistID\ttagID\ttimestamp\n", ("columns are missing", "day, month, year")),
        (b"userID,artistID,tagID,day,month,year\n", ("columns are missing",)),
        (b"PK\x03\x04\x14\x00\x00\x00", ("not a text file",)),
        ((HEADER + "2\t5\t1\t1\t4\t2009\n").encode("utf-16"), ("not a text file",)),
        ((HEADER + "2\t5é\t1\t1\t4\t2009\n").encode("latin-1"), ("not UTF-8", "iconv")),
    ],
)
def test_a_file_of_the_wrong_kind(
    folder: Path, tmp_path: Path, text: bytes, words: tuple[str, ...]
) -> None:
    (folder / "user_taggedartists.dat").write_bytes(text)
    with refused("user_taggedartists.dat", *words):
        staged(tmp_path, KIND, folder)


def features(folder: Path, timezone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Feature table of the repeats, and its plays' rows."""
    with Warehouse(Store(path=folder / "store")) as warehouse:
        plays, tracks = folder / "plays.parquet", folder / "tracks.parquet"
        settings = Labels(target="repeat", burn_in_days=0)
        labels.write(plays, tracks, "time", settings, warehouse, folder)
        history = History(
            plays, tracks, folder / "users.parquet", folder / "errors.parquet",
            {name: folder / f"{name}.parquet" for name in ("completed", "repeated")}, "time", timezone,
        )  # fmt: skip
        featurize.write(history, "repeated", None, warehouse, 1, folder / "features.parquet")
    table = pl.read_parquet(folder / "features.parquet")
    return table, pl.read_parquet(plays)[table["play"]]


@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
def test_features_of_dates(tmp_path: Path, timezone: str) -> None:
    """Plays of one date do not see each other; what lengths and hours would tell is not invented."""
    table, plays = features(ingested(tmp_path, KIND, FIXTURE)[2], timezone)
    assert plays.select("user_id", "track_id").rows() == [("2", "52"), ("2", "63"), ("7", "52")]
    assert table["target"].to_list() == [False, False, False]  # 30 days after: May 1st is not within
    assert table["user_plays"].to_list() == [0, 0, 0]
    assert table["track_plays"].to_list() == [0, 0, 0]
    assert table["month"].to_list() == [4, 4, 4]
    assert (table["day_of_week"] == 3).all()  # a Wednesday, wherever the listener is
    assert "hour" not in table.columns
    assert "user_hour_completion_rate" not in table.columns
    assert table["track_longest"].null_count() == 3
    completed = pl.read_parquet(next(tmp_path.glob("*/completed.parquet")))
    assert completed["target"].null_count() == completed.height == 5


def refused_rows(found: dict[str, pl.DataFrame], table: str) -> int:
    return found["quarantine"].filter(pl.col("table") == table).height


def test_the_real_files(real_data: Path, tmp_path: Path) -> None:
    found, facts, _ = ingested(tmp_path, KIND, real_data / "lastfm_hetrec", max_refused_share=0.001)
    plays = found["plays"]
    reader: dict[str, Any] = facts["reader"]
    assert reader["files"]["user_taggedartists.dat"]["records"] == 186_479
    assert reader["unused_files"] == ["tags.dat", "user_artists.dat", "user_friends.dat"]
    assert facts["read"]["plays"] == reader["plays"] == plays.height + refused_rows(found, "plays")
    assert facts["read"]["tags"] == reader["tags"] == 186_479
    assert found["tags"].height == 186_479 - refused_rows(found, "tags")
    assert {each["reason"] for each in facts["refused"]} == {
        "ended_at: before 2005-01-01", "tagged_at: before 2005-01-01",
    }  # fmt: skip
    assert (plays["user_id"].n_unique(), facts["added"]["users"]) == (1_892, 1_892)
    assert plays["started_at"].dt.truncate("1d").equals(plays["started_at"])
    assert plays.select("user_id", "track_id", "started_at").is_unique().all()
    assert found["tracks"]["name"].null_count() == facts["added"]["tracks"]
    assert facts["data_start"].startswith("2005-08")
    assert facts["data_end"].startswith("2011-05")
