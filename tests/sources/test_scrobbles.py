"""Scrobbles of any service: columns by name, times in any form, and files gone wrong."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Config, Labels, Source, Store
from schemas.errors import InputError
from schemas.loading import load
from tasks import labels
from tasks.sources import scrobbles
from tasks.warehouse import Warehouse
from tests.sources.staged import ingested, refused, staged

KIND = "scrobbles"
NOON = datetime(2020, 5, 1, 12, tzinfo=UTC)
HEADER = "user_name,artist_name,track_name,listened_at\n"


def written(folder: Path, text: str, name: str = "listens.csv") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_default_names_are_listenbrainz_own(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "listened_at,artist_name,track_name,release_name,user_name,duration_ms,more\n"
        "1588334400,Björk,Jóga,Homogenic,ann,305000,x\n"
        "1588334400.25,Björk,jóga,,bob,,x\n"
        "1588334460,Underworld,Rez,,ann,590000,x\n"
        "1588334520,Underworld,Rez,,ann,600000,x\n"
        "1588334580,Underworld,Rez,,ann,610000,x\n",
    )
    frames, facts = staged(tmp_path, KIND, path)
    plays, tracks = frames["plays"].sort("position"), frames["tracks"].sort("name")
    assert plays["user_id"].to_list() == ["ann", "bob", "ann", "ann", "ann"]
    assert plays["started_at"].to_list()[:2] == [NOON, NOON + timedelta(milliseconds=250)]
    assert plays["ended_at"].equals(plays["started_at"])
    assert plays["ms_played"].null_count() == 5
    assert plays["track_id"][0] == plays["track_id"][1]
    assert tracks.select("name", "artist", "album", "duration_ms").rows() == [
        ("Jóga", "Björk", "Homogenic", 305_000), ("Rez", "Underworld", None, 600_000),
    ]  # fmt: skip
    assert facts["files"] == {
        "listens.csv": {"records": 5, "blank": 0, "malformed": 0, "malformed_at": []}
    }


def test_ids_are_the_same_as_those_of_spotify_exports(tmp_path: Path) -> None:
    names = [("Björk", "Jóga"), ("  AC/DC", "T.N.T.  (Live)"), ("Bjo\u0308rk", "JÓGA")]
    csv = written(tmp_path, HEADER + "".join(f"u,{a},{t},1588334400\n" for a, t in names))
    records = [
        {"ts": "2020-05-01T12:00:00Z", "ms_played": 1, "master_metadata_track_name": title,
         "master_metadata_album_artist_name": artist}
        for artist, title in names
    ]  # fmt: skip
    export = written(tmp_path / "export", json.dumps(records), "endsong_0.json").parent
    ids = staged(tmp_path, KIND, csv)[0]["plays"].sort("position")["track_id"].to_list()
    theirs = staged(tmp_path, "spotify_export", export)[0]["plays"].sort("position")
    assert ids == theirs["track_id"].to_list()
    assert ids[0] == ids[2] != ids[1]


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    path = written(
        tmp_path, 'who,"the artist, really",t,when,id,heard\nann,A,B,2020-05-01 12:00,i1,60000\n'
    )
    columns = {
        "user": "who", "artist": "the artist, really", "track": "t", "timestamp": "when",
        "track_id": "id", "ms_played": "heard",
    }  # fmt: skip
    plays = staged(tmp_path, KIND, path, columns=columns)[0]["plays"]
    assert plays.select("user_id", "track_id", "ms_played").row(0) == ("ann", "i1", 60_000)
    assert (plays["started_at"][0], plays["ended_at"][0]) == (NOON, NOON + timedelta(minutes=1))


def test_without_a_column_of_users_it_is_me(tmp_path: Path) -> None:
    path = written(tmp_path, "artist_name,track_name,listened_at\nA,B,1588334400\n")
    assert staged(tmp_path, KIND, path)[0]["plays"]["user_id"].to_list() == ["me"]
    path = written(tmp_path, HEADER + ",A,B,1588334400\n")  # but nobody is somebody
    assert staged(tmp_path, KIND, path)[0]["plays"]["user_id"].to_list() == [None]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, ("source.columns.artist=artist_name", "source.columns.timestamp=listened_at")),
        ({"artist": "a", "timestamp": "nope"}, ("source.columns.timestamp=nope",)),
        ({"artist": "a", "timestamp": "c", "album": "nope"}, ("source.columns.album=nope",)),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(
    tmp_path: Path, columns: dict[str, str], words: tuple[str, ...]
) -> None:
    path = written(tmp_path, "a,track_name,c\nA,B,1588334400\n")
    parquet = tmp_path / "listens.parquet"
    pl.read_csv(path).write_parquet(parquet)
    for each in (path, parquet):
        with refused("columns are missing", each.name, "found: a, track_name, c", *words):
            staged(tmp_path, KIND, each, columns=columns)


TIMES = [
    ("1588334400", NOON),
    ("1588334400000", NOON),
    ("1588334400.5", NOON + timedelta(milliseconds=500)),
    ("1588334400123", NOON + timedelta(milliseconds=123)),
    ("2020-05-01T12:00:00Z", NOON),
    ("2020-05-01 12:00:00", NOON),
    ("2020-05-01T14:00:00.250+02:00", NOON + timedelta(milliseconds=250)),
    ("2020-05-01", NOON.replace(hour=0)),
    ("-5", datetime(1969, 12, 31, 23, 59, 55, tzinfo=UTC)),
    ("9999-12-31", None),
    *(
        (text, None)
        for text in ("infinity", "", "soon", "nan", "inf", "1e300", "01/05/2020", "1588334400000000")
    ),
]


def test_times_may_be_of_any_form(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "".join(f"u,A,B,{text}\n" for text, _ in TIMES))
    plays = staged(tmp_path, KIND, path)[0]["plays"].sort("position")
    assert plays["started_at"].to_list() == [moment for _, moment in TIMES]


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([NOON], dtype=pl.Datetime("ms", "UTC")),
        pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
        pl.Series([1_588_334_400], dtype=pl.Int32),
        pl.Series([1_588_334_400_000]),
        pl.Series([1_588_334_400.0]),
        pl.Series(["2020-05-01T12:00:00Z"]),
    ],
    ids=str,
)
def test_parquet_is_read_alike(tmp_path: Path, times: pl.Series) -> None:
    frame = pl.DataFrame({"artist_name": ["A,\nA"], "track_name": ["B"], "user_name": [7]})
    frame.with_columns(times.alias("listened_at")).write_parquet(tmp_path / "listens.parquet")
    frames, facts = staged(tmp_path, KIND, tmp_path / "listens.parquet")
    plays = frames["plays"]
    assert plays.select("user_id", "started_at", "position").row(0) == ("7", NOON, 0)
    assert frames["tracks"]["artist"].to_list() == ["A,\nA"]
    assert facts["files"] == {"listens.parquet": {"records": 1}}


def test_lengths_settle_order_and_overlaps_only_where_they_are_known(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "artist_name,track_name,listened_at,ms_played\n"
        "A,long,2020-05-01T12:00:00Z,210000\n"
        "A,unknown,2020-05-01T12:01:00Z,\n"  # within the first
        "A,next,2020-05-01T12:03:29.600Z,30000\n"  # overlaps by less than a second
        "A,unreadable,2020-05-01T12:05:00Z,some\n"
        "A,same,2020-05-01T12:05:00Z,\n"
        "A,same,2020-05-01T12:05:00Z,\n"  # one file is never deduplicated
        "A,negative,2020-05-01T12:06:00Z,-5\n"
        "A,no time,,\n"
        "A,no time,,30000\n"
        "A,first,2020-05-01T11:00:00Z,\n",
    )
    found, facts, _ = ingested(tmp_path, KIND, path)
    plays = found["plays"].join(found["tracks"], on="track_id", maintain_order="left")
    seconds = (pl.col("started_at", "ended_at") - NOON).dt.total_milliseconds() / 1000
    assert plays.select("name", "seq", "ms_played").with_columns(plays.select(seconds)).rows() == [
        ("first", 0, None, -3600, -3600),
        ("long", 1, 210_000, 0, 210),
        ("unknown", 2, None, 60, 60),
        ("next", 3, 30_000, 210, 239.6),
        ("unreadable", 4, None, 300, 300),
        ("same", 5, None, 300, 300),
        ("same", 6, None, 300, 300),
    ]
    assert found["quarantine"].sort("position").select("position", "reason").rows() == [
        (6, "ms_played: not in 0..86400000"), (7, "ended_at: missing"), (8, "ended_at: missing"),
    ]  # fmt: skip
    assert facts["merged_duplicates"] == 0


def test_completion_is_known_only_where_a_length_is(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "artist_name,track_name,listened_at,ms_played,duration_ms\n"
        "A,x,1588334400,190000,200000\n"
        "A,x,1588335400,,200000\n"
        "A,y,1588336400,20000,200000\n"
        "A,z,1588337400,,\n"
        "A,z,1588338400,,\n",
    )
    folder = ingested(tmp_path, KIND, path)[2]
    with Warehouse(Store(path=tmp_path / "store")) as warehouse:
        labels.write(
            folder / "plays.parquet", folder / "tracks.parquet", "time", Labels(), warehouse, folder
        )
    told = pl.read_parquet(folder / "completed.parquet")
    assert told["target"].to_list() == [True, None, False, None, None]


def test_folders_are_searched_and_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "mine", tmp_path / "two" / "mine"
    for number, folder in enumerate((one, two)):
        folder.mkdir(parents=True)
        written(folder, HEADER + f"u,A,B{number},1588334400\n")
    (one / "2019").mkdir()
    (one / "2019" / "old.csv.gz").write_bytes(gzip.compress((HEADER + "u,A,C,1500000000\n").encode()))
    (one / "notes.txt").write_text("not a scrobble")
    source = Source(kind=KIND, path=(one, two))
    assert [path.name for path in scrobbles.files(source)] == [
        "old.csv.gz",
        "listens.csv",
        "listens.csv",
    ]
    plays = staged(tmp_path, KIND, [one, two])[0]["plays"]
    assert sorted(plays["file"]) == ["mine/2019/old.csv.gz", "mine/listens.csv", "mine/listens.csv#2"]


def test_copies_of_one_log_are_merged(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    text = HEADER + "u,A,B,1588334400\nu,A,B,1588334400\nu,A,C,1588334500\n"
    written(folder, text, "a.csv")
    written(folder, text + "u,A,D,1588334600\n", "b.csv")
    facts = ingested(tmp_path, KIND, folder)[1]
    assert (facts["rows"]["plays"], facts["merged_duplicates"]) == (4, 3)


def test_odd_texts_pass_as_they_are(tmp_path: Path) -> None:
    odd = ["a,b", '"', "two\nlines", "'; drop table plays; --", "x" * 10_000, "名前", "NULL", "#1"]
    frame = pl.DataFrame({"user_name": odd, "artist_name": odd, "track_name": odd, "track_id": odd})
    frame = frame.with_columns(listened_at=pl.lit(1_588_334_400))
    frame.write_csv(tmp_path / "listens.csv")
    frame.write_parquet(tmp_path / "listens.parquet")
    for name in ("listens.csv", "listens.parquet"):
        found = ingested(tmp_path, KIND, tmp_path / name)[0]
        joined = found["plays"].join(found["tracks"], on="track_id").sort("position")
        for column in ("user_id", "track_id", "artist", "name"):
            assert joined[column].to_list() == odd


def test_malformed_records_are_refused_with_their_place(tmp_path: Path) -> None:
    path = written(
        tmp_path, HEADER + "u,A,B,1588334400\nu,A,B\nu,A,B,1588334400,more\n,,,\nu,A,,1588334400\nu,A"
    )
    found, facts, _ = ingested(tmp_path, KIND, path)
    assert found["plays"]["position"].to_list() == [0]
    assert found["quarantine"].sort("position").select("file", "position", "reason").rows() == [
        ("listens.csv", 1, "user_id: missing"),
        ("listens.csv", 2, "user_id: missing"),
        ("listens.csv", 4, "track_id: missing"),
        ("listens.csv", 5, "user_id: missing"),
    ]
    assert facts["reader"]["files"]["listens.csv"] == {
        "records": 6, "blank": 1, "malformed": 3, "malformed_at": [1, 2, 5],
    }  # fmt: skip


def test_bom_and_line_ends_change_nothing(tmp_path: Path) -> None:
    text = HEADER + "u,A,B,1588334400\nu,A,C,1588334401"
    expected = staged(tmp_path, KIND, written(tmp_path, text))[0]
    found = staged(tmp_path, KIND, written(tmp_path, "\ufeff" + text.replace("\n", "\r\n")))[0]
    for name, frame in found.items():
        assert frame.sort(frame.columns).equals(expected[name].sort(frame.columns)), name


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", ("Empty",)),
        ("a.csv", b"PAR1\x15\x04\x00\x00", ("not a text file",)),
        ("a.csv", HEADER.encode("utf-16"), ("not a text file",)),
        ("a.csv", (HEADER + "u,Bj\xf6rk,B,1\n").encode("latin-1"), ("not UTF-8", "iconv")),
        ("a.csv", b"artist_name,Titel\xe4\n", ("not UTF-8", "iconv")),
        ("a.csv", b'[{"artist_name": "A"}]\n', ("columns are missing",)),
        ("a.csv", (HEADER + 'u,A,"B,1\nu,A,B,1\n').encode(), ("a quote is not closed",)),
        ("a.csv.gz", HEADER.encode(), ("a.csv.gz",)),
        ("a.parquet", b"", ("not readable as Parquet",)),
        ("a.parquet", HEADER.encode(), ("not readable as Parquet",)),
        ("a.parquet", b"PAR1" + b"\x00" * 50 + b"PAR1", ("not readable as Parquet",)),
        ("a.json", b"[]", ("no scrobbles found", ".csv, .csv.gz, .parquet")),
    ],
)
def test_a_file_of_the_wrong_kind(
    tmp_path: Path, name: str, content: bytes, words: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with refused(name, *words):
        staged(tmp_path, KIND, path)


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "listens.parquet"
    frame = pl.DataFrame({"artist_name": ["A"], "track_name": ["B"], "listened_at": [1_588_334_400]})
    frame.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with refused("not readable as Parquet"):
        staged(tmp_path, KIND, path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with refused("source.path is not there"):
        scrobbles.files(Source(kind=KIND, path=(tmp_path / "none",)))
    with refused("no scrobbles found"):
        scrobbles.files(Source(kind=KIND, path=(tmp_path,)))


def test_columns_are_settings() -> None:
    given = ["source.kind=scrobbles", "source.path=x.csv", "source.columns.artist=Artist"]
    config: Config = load(None, given)
    assert config.source.columns.artist == "Artist"
    for bad, word in (("source.columns.artst=x", "unknown setting"), ("source.columns.user=", "text")):
        with pytest.raises(InputError, match=word):
            load(None, [*given, bad])


def test_real_scrobbles_with_a_mapping(real_data: Path, tmp_path: Path) -> None:
    """Last.fm-1K's sample, saved as a table with other names, gives the same plays."""
    folder = real_data / "lastfm_1k"
    expected: dict[str, Any] = ingested(tmp_path, "lastfm_1k", folder)[0]
    lines = (folder / "userid-timestamp-artid-artname-traid-traname.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    frame = pl.DataFrame(rows, schema=["who", "at", "mbid", "Artist", "t", "Song"], orient="row")
    frame.write_csv(tmp_path / "listens.csv")
    columns = {"user": "who", "artist": "Artist", "track": "Song", "timestamp": "at"}
    found = ingested(tmp_path, KIND, tmp_path / "listens.csv", columns=columns)[0]
    assert found["plays"].drop("file").equals(expected["plays"].drop("file"))
    for name in ("name", "artist"):
        assert found["tracks"].sort("track_id")[name].equals(expected["tracks"].sort("track_id")[name])
