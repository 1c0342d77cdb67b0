"""Last.fm-1K: known answers from a hand-written log, and what happens to files gone wrong."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from schemas.config import Source
from tasks.sources import lastfm_1k, records
from tests.sources.staged import ingested, refused, staged

FIXTURE = Path(__file__).parent.parent / "fixtures" / "lastfm_1k"
PLAYS = "userid-timestamp-artid-artname-traid-traname.tsv"
KIND = "lastfm_1k"
FINE = "u\t2009-05-03T15:48:25Z\t\tA\t\tB\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the hand-written files to spoil."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "lastfm"))


def test_plays_start_and_end_at_their_time_stamp(tmp_path: Path) -> None:
    frames, facts = staged(tmp_path, KIND, FIXTURE)
    plays = frames["plays"].sort("position")
    assert plays["user_id"].to_list() == ["user_1"] * 3 + ["user_2"] * 2
    assert plays["started_at"][0] == datetime(2009, 5, 3, 15, 48, 25, tzinfo=UTC)
    assert plays["ended_at"].equals(plays["started_at"])
    assert plays["ms_played"].null_count() == 5
    assert plays["resolution"].unique().to_list() == ["second"]
    assert facts["files"][PLAYS]["records"] == 5
    assert facts["files"]["userid-profile.tsv"]["records"] == 3


def test_ids_are_made_of_artist_and_title(tmp_path: Path) -> None:
    frames = staged(tmp_path, KIND, FIXTURE)[0]
    ids = frames["plays"].sort("position")["track_id"].to_list()
    assert ids[0] == ids[2] != ids[1]  # case and spaces make no other track
    assert ids[3] == ids[4]
    tracks = dict(frames["tracks"].select("track_id", pl.struct("name", "artist")).iter_rows())
    assert tracks[ids[1]] == {"name": '"Heroes" (12" Mix', "artist": "Underworld"}
    assert tracks[ids[3]] == {"name": "Jóga", "artist": "Björk"}
    assert len(tracks) == 3


def test_listeners_have_age_gender_country_and_registration(tmp_path: Path) -> None:
    users = staged(tmp_path, KIND, FIXTURE)[0]["users"]
    assert users.select("user_id", "country", "age", "gender", "registered_at").rows() == [
        ("user_1", "Japan", None, "male", date(2006, 8, 13)),
        ("user_2", "Peru", None, "female", date(2006, 2, 24)),  # nobody is 103
        ("user_3", None, 22, None, None),
    ]


def test_ingest_puts_plays_in_time_order(tmp_path: Path) -> None:
    found, facts, _ = ingested(tmp_path, KIND, FIXTURE, max_refused_share=0)
    plays = found["plays"]
    assert plays.select("user_id", "seq", "position").rows() == [
        ("user_2", 0, 3), ("user_2", 1, 4), ("user_1", 0, 2), ("user_1", 1, 1), ("user_1", 2, 0),
    ]  # fmt: skip
    assert plays["started_at"].equals(plays["ended_at"])
    assert plays["started_at"][0] == datetime(2006, 2, 25, 10, tzinfo=UTC)
    assert (facts["merged_duplicates"], facts["added"]) == (0, {"tracks": 0, "users": 0})


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "missing"])
def test_profiles_may_be_missing(folder: Path, tmp_path: Path, empty: bool) -> None:
    (folder / "userid-profile.tsv").unlink()
    if empty:
        (folder / "userid-profile.tsv").touch()
    found, facts, _ = ingested(tmp_path, KIND, folder)
    assert found["users"]["user_id"].to_list() == ["user_1", "user_2"]
    assert facts["added"] == {"tracks": 0, "users": 2}


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_header_line_bom_and_line_ends_change_nothing(
    folder: Path, tmp_path: Path, bom: bytes, end: str
) -> None:
    expected = staged(tmp_path, KIND, FIXTURE)[0]
    text = (folder / PLAYS).read_text().rstrip("\n")
    for header in ("", "user\ttimestamp\tartist_id\tartist\tartist_id\tsong\n"):
        (folder / PLAYS).write_bytes(bom + (header + text).replace("\n", end).encode())
        for name, frame in staged(tmp_path, KIND, folder)[0].items():
            assert frame.equals(expected[name]), name


def test_malformed_records_are_refused_with_their_place(folder: Path, tmp_path: Path) -> None:
    rows = [
        FINE,
        "u\t2009-05-03T15:49:25Z\tid\tA\tid\n",  # a field short
        "u\t2009-05-03T15:50:25Z\tid\tA\tid\tB\tmore\n",
        "u\tyesterday\tid\tA\tid\tB\n",
        "u\t2009-13-03T15:48:25Z\tid\tA\tid\tB\n",
        "\t2009-05-03T15:51:25Z\tid\tA\tid\tB\n",
        "u\t2009-05-03T15:52:25Z\tid\tA\tid\t\n",
        "u\t1970-01-01T00:00:00Z\tid\tA\tid\tB\n",
        "u\t2099-01-01T00:00:00Z\tid\tA\tid\tB\n",
        "u\tinfinity\tid\tA\tid\tB\n",
        FINE.replace("B", "C"),
        "u\t2009-05-03T1",  # cut off
    ]
    (folder / PLAYS).write_text("".join(rows))
    found, facts, _ = ingested(tmp_path, KIND, folder)
    assert found["plays"]["position"].to_list() == [0, 10]
    assert found["quarantine"].sort("position").select("file", "position", "reason").rows() == [
        (PLAYS, 1, "user_id: missing"),
        (PLAYS, 2, "user_id: missing"),
        (PLAYS, 3, "ended_at: missing"),
        (PLAYS, 4, "ended_at: missing"),
        (PLAYS, 5, "user_id: missing"),
        (PLAYS, 6, "track_id: missing"),
        (PLAYS, 7, "ended_at: before 2005-01-01"),
        (PLAYS, 8, "ended_at: in the future"),
        (PLAYS, 9, "ended_at: missing"),
        (PLAYS, 11, "user_id: missing"),
    ]
    assert facts["reader"]["files"][PLAYS]["malformed_at"] == [1, 2, 11]


@pytest.mark.parametrize("header", ["", "user\ttimestamp\tartist_id\tartist\tartist_id\tsong\n"])
def test_positions_hold_over_blocks(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    monkeypatch.setattr(records, "BLOCK_BYTES", 1 << 16)
    rows = [f"user{i}\t2009-05-03T15:48:25Z\t\tA\t\tB\n" for i in range(30_000)]
    for place in (0, 9, 29_999) if header else (9, 15_000):
        rows[place] = "too\tshort\n"
    (folder / PLAYS).write_text(header + "".join(rows))
    plays = staged(tmp_path, KIND, folder)[0]["plays"].sort("position")
    assert plays["position"].to_list() == list(range(30_000))
    named = plays.filter(pl.col("user_id").is_not_null())
    assert (named["user_id"] == "user" + named["position"].cast(pl.String)).all()
    assert named.height == 30_000 - (3 if header else 2)


def test_odd_texts_pass_as_they_are(folder: Path, tmp_path: Path) -> None:
    odd = ["a,b", '"', '"open', "'; drop table plays; --", "x" * 10_000, "\u202eabc", "名前", "NULL"]
    rows = [f"{each}\t2009-05-03T15:48:25Z\t\t{each}\t\t{each}\n" for each in odd]
    (folder / PLAYS).write_text("".join(rows), encoding="utf-8")
    found = ingested(tmp_path, KIND, folder)[0]
    joined = found["plays"].join(found["tracks"], on="track_id").sort("position")
    for column in ("user_id", "artist", "name"):
        assert joined[column].to_list() == odd


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ("Empty",)),
        (b"user,timestamp,artist\n", ("not tab-separated",)),
        (b'[{"ts": 1}]\n', ("not tab-separated",)),
        (b"\x1f\x8b\x08\x00\x00", ("not a text file",)),
        (FINE.encode("utf-16"), ("not a text file",)),
        (FINE.replace("B", "Bj\xf6rk").encode("latin-1"), ("not UTF-8", "iconv")),
    ],
)
def test_a_file_of_the_wrong_kind(
    folder: Path, tmp_path: Path, text: bytes, words: tuple[str, ...]
) -> None:
    (folder / PLAYS).write_bytes(text)
    with refused(PLAYS, *words):
        staged(tmp_path, KIND, folder)


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    (folder / PLAYS).unlink()
    with refused(f"no {PLAYS}", "found: userid-profile.tsv"):
        lastfm_1k.files(Source(kind=KIND, path=(folder,)))
    with refused("there twice"):
        lastfm_1k.files(Source(kind=KIND, path=(FIXTURE, shutil.copytree(FIXTURE, tmp_path / "two"))))


def test_the_real_files(real_data: Path, tmp_path: Path) -> None:
    found, facts, _ = ingested(tmp_path, KIND, real_data / "lastfm_1k", max_refused_share=0)
    assert found["plays"].height == 85
    assert found["plays"]["user_id"].unique().to_list() == ["user_000001"]
    assert found["users"].height == 992
    assert found["users"]["country"].null_count() == 85
    assert found["users"]["gender"].value_counts().sort("gender").rows() == [
        (None, 108), ("female", 382), ("male", 502),
    ]  # fmt: skip
    assert facts["data_end"] == "2009-05-03T15:48:25+00:00"


@pytest.mark.bench
def test_a_log_of_two_million(folder: Path, tmp_path: Path) -> None:
    number = pl.int_range(2_000_000)
    start = datetime(2005, 7, 1)
    pl.select(
        user=pl.format("user_{}", number // 20_000),
        timestamp=(pl.lit(start) + number * timedelta(seconds=60)).dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
        artist_id=pl.format("ba2f4f3b-0293-4bc8-bb94-{}", number % 17_000),
        artist=pl.format("Artist {}", number % 17_000),
        track_id=pl.lit("dc394163-2b78-4b56-94e4-658597a29ef8"),
        track=pl.format("Title {} (Remix)", number % 150_000),
    ).write_csv(folder / PLAYS, separator="\t", include_header=False)
    assert ingested(tmp_path, KIND, folder)[1]["rows"]["plays"] == 2_000_000
