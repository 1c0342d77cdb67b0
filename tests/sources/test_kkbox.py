"""KKBox files: known answers from a hand-written set, and what happens to files gone wrong."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas import tables
from schemas.config import Source, Store
from schemas.errors import InputError
from tasks.sources import kkbox, records
from tasks.sources.earlier import NOTHING
from tasks.warehouse import Warehouse

FIXTURE = Path(__file__).parent.parent / "fixtures" / "kkbox"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the hand-written files to spoil."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "kkbox"))


@pytest.fixture
def staged(tmp_path: Path) -> Callable[[Path], tuple[dict[str, pl.DataFrame], dict[str, Any]]]:
    """Stage a folder; the raw relations as frames, and the facts by file."""

    def stage(folder: Path) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        with Warehouse(Store(path=tmp_path / "store")) as warehouse:
            facts = kkbox.stage(Source(kind="kkbox", path=(folder,)), scratch, warehouse, NOTHING)
            frames = {
                name: warehouse.connection.table(f"raw_{name}").pl() for name in tables.SOURCE_TABLES
            }
        return frames, dict(facts["files"])

    return stage


def test_plays_keep_row_order_over_train_then_test(staged: Any) -> None:
    frames, facts = staged(FIXTURE)
    plays = frames["plays"]
    assert plays.columns == list(tables.columns(tables.Plays))
    assert plays.select(
        "user_id", "track_id", "seq", "repeated", "request_id", "file", "position"
    ).rows() == [
        ("ann=", "s1=", 0, True, None, "train.csv", 0),
        ("bob=", "s2=", 1, False, None, "train.csv", 1),
        ("ann=", "s9=", 2, True, None, "train.csv", 2),
        ("ann=", "s3=", 3, None, None, "train.csv", 3),
        # two blank records of train.csv count as places
        ("bob=", "s1=", 6, None, "0", "test.csv", 0),
        ("cid=", "s2=", 7, None, "1", "test.csv", 1),
    ]
    assert plays.row(1, named=True) | {
        "source_tab": "my library",
        "source_screen": "Local playlist more",
    } == (plays.row(1, named=True))
    assert plays["source_type"].to_list()[:3] == ["online-playlist", "local-playlist", None]
    assert plays["resolution"].unique().to_list() == ["order"]
    assert facts["train.csv"] == {"records": 6, "blank": 2, "malformed": 0, "malformed_at": []}


def test_tracks_are_cleaned(staged: Any) -> None:
    tracks = staged(FIXTURE)[0]["tracks"]
    assert tracks.columns == list(tables.columns(tables.Tracks))
    assert tracks["track_id"].to_list() == ["s1=", "s2=", "s3=", "s4="]
    one, two, three, four = tracks.rows(named=True)
    assert (one["name"], one["artist"], one["duration_ms"]) == ("Song, One", "First Singer", 247_640)
    assert (one["language"], one["year"]) == ("3", 2017)
    assert (one["isrc_country"], one["isrc_registrant"]) == ("TW", "UM7")
    assert (one["genres"], one["composers"], one["lyricists"]) == (
        ["465"],
        ["Comp One", "Comp Two"],
        None,
    )
    # the first record of a song counts; an ISRC's 18 is 1918; no length is below 0
    assert (two["artist"], two["artists"]) == ("Second Band", ["Second Band", "Guest"])
    assert (two["duration_ms"], two["genres"], two["year"]) == (None, ["444", "1609"], 1918)
    assert (two["isrc_country"], two["isrc_registrant"]) == ("GB", "AYE")
    assert three["artist"] == 'Comma, "Quoted"\nSinger'
    assert (three["duration_ms"], three["genres"], three["isrc_country"], three["year"]) == (None,) * 4
    assert (four["name"], four["artist"], four["artists"]) == ("Only Here", None, None)


def test_users_are_cleaned(staged: Any) -> None:
    users = staged(FIXTURE)[0]["users"]
    assert users.rows() == [
        ("ann=", "13", None, 43, "female", "9", date(2012, 7, 3), date(2017, 10, 6)),
        ("bob=", "1", None, None, None, "7", date(2011, 8, 20), None),
        ("cid=", "5", None, None, None, "4", None, date(2017, 9, 20)),
    ]


def test_bom_crlf_gzip_and_reordered_columns_change_nothing(folder: Path, staged: Any) -> None:
    expected = staged(folder)[0]
    columns = pl.read_csv(folder / "train.csv", infer_schema=False)
    columns.select(reversed(columns.columns)).write_csv(folder / "train.csv")
    members = (folder / "members.csv").read_text().replace("\n", "\r\n")
    (folder / "members.csv").write_bytes(b"\xef\xbb\xbf" + members.encode())
    songs = folder / "songs.csv"
    (folder / "songs.csv.gz").write_bytes(gzip.compress(songs.read_bytes()))
    songs.unlink()
    found = staged(folder)[0]
    for name, frame in expected.items():
        assert found[name].equals(frame), name


def test_without_test_csv(folder: Path, staged: Any) -> None:
    (folder / "test.csv").unlink()
    assert staged(folder)[0]["plays"]["request_id"].to_list() == [None] * 4


def test_malformed_records_stay_as_nulls_at_their_place(folder: Path, staged: Any) -> None:
    (folder / "train.csv").write_text(
        "msno,song_id,source_system_tab,source_screen_name,source_type,target\n"
        "a,s1,t,s,y\n"  # a field short
        "\n"
        "b,s1,t,s,y,1\n"
        "c,s1,t,s,y,1,extra\n"
        "d,s1,t,s,y,0\n"
        "e\n"
    )
    frames, facts = staged(folder)
    train = frames["plays"].filter(pl.col("file") == "train.csv")
    assert train.select("position", "user_id").rows() == [
        (0, None), (1, "b"), (2, None), (3, "d"), (4, None),
    ]  # fmt: skip
    assert facts["train.csv"] == {"records": 5, "blank": 0, "malformed": 3, "malformed_at": [0, 2, 4]}
    assert frames["plays"].filter(pl.col("file") == "test.csv")["seq"].to_list() == [5, 6]


def test_positions_hold_over_blocks(folder: Path, staged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "BLOCK_BYTES", 1 << 16)
    lines = [f"user{i},song{i % 97},tab,screen,type,{i % 2}" for i in range(60_000)]
    for place in (0, 17, 4_000, 59_999):
        lines[place] = "too,short"
    for place in (30_000, 45_000):
        lines[place] = ",,,,,"
    header = "msno,song_id,source_system_tab,source_screen_name,source_type,target"
    (folder / "train.csv").write_text("\n".join([header, *lines, ""]))
    frames, facts = staged(folder)
    train = frames["plays"].filter(pl.col("file") == "train.csv")
    assert train["position"].to_list() == [i for i in range(60_000) if i not in (30_000, 45_000)]
    named = train.filter(pl.col("user_id").is_not_null())
    assert (named["user_id"] == "user" + named["position"].cast(pl.String)).all()
    assert train.filter(pl.col("user_id").is_null())["position"].to_list() == [0, 17, 4_000, 59_999]
    assert facts["train.csv"]["records"] == 60_000


@contextmanager
def refused(*words: str) -> Any:
    with pytest.raises(InputError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_column_is_named(folder: Path, staged: Any) -> None:
    (folder / "songs.csv").write_text("song_id,artist_name\ns1,x\n")
    with refused(
        "songs.csv", "columns are missing", "song_length, genre_ids", "found: song_id, artist_name"
    ):
        staged(folder)


def test_latin_1_is_refused(folder: Path, staged: Any) -> None:
    text = (folder / "songs.csv").read_text().replace("First Singer", "Björk")
    (folder / "songs.csv").write_bytes(text.encode("latin-1"))
    with refused("songs.csv", "not UTF-8", "iconv"):
        staged(folder)


@pytest.mark.parametrize("name", ["train", "songs"])
def test_a_truncated_gzip_is_refused(folder: Path, staged: Any, name: str) -> None:
    text = (folder / f"{name}.csv").read_text()
    body = (
        "".join(f"u{i},s{i * 7919 % 10_007},a,b,c,1\n" for i in range(20_000)) if name == "train" else ""
    )
    packed = gzip.compress((text + body).encode())
    (folder / f"{name}.csv").unlink()
    (folder / f"{name}.csv.gz").write_bytes(packed[: len(packed) * 2 // 3])
    with refused(f"{name}.csv.gz", "cut off"):
        staged(folder)


def test_an_unclosed_quote_swallows_nothing_in_silence(folder: Path, staged: Any) -> None:
    header = "msno,song_id,source_system_tab,source_screen_name,source_type,target\n"
    for line in ('a,"s1,t,s,y,1\n', 'a,s1,t,s,y,"1\n'):
        (folder / "train.csv").write_text(header + line + "b,s1,t,s,y,1\n" * 3)
        with refused("train.csv", "quote"):
            staged(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ("train.csv", "CSV")),
        (b'[\n{"ts": 1,\n"ms": 2}\n]', ("train.csv", "columns are missing")),
        (b"\x00\x01\xff\xfe\x00", ("train.csv",)),
    ],
)
def test_a_file_of_the_wrong_kind(
    folder: Path, staged: Any, text: bytes, words: tuple[str, ...]
) -> None:
    (folder / "train.csv").write_bytes(text)
    with refused(*words):
        staged(folder)


def test_what_is_not_there_is_said(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with refused("no train.csv", "an empty folder", "check source.path"):
        kkbox.files(Source(kind="kkbox", path=(empty,)))
    with refused("not a folder"):
        kkbox.files(Source(kind="kkbox", path=(tmp_path / "none",)))
    (folder / "songs.csv").rename(folder / "songs.csv.7z")
    with refused("still packed", "songs.csv.7z", "7z x"):
        kkbox.files(Source(kind="kkbox", path=(folder,)))
    with refused("train.csv is there twice"):
        kkbox.files(
            Source(kind="kkbox", path=(FIXTURE, Path(shutil.copytree(FIXTURE, tmp_path / "two"))))
        )


def test_files_may_lie_in_several_folders(folder: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (folder / "songs.csv").rename(beside / "songs.csv")
    assert {path.name for path in kkbox.files(Source(kind="kkbox", path=(folder, beside)))} == {
        "train.csv", "test.csv", "songs.csv", "song_extra_info.csv", "members.csv",
    }  # fmt: skip


def test_the_real_files(real_data: Path, staged: Any) -> None:
    frames, facts = staged(real_data / "kkbox")
    plays, tracks, users = frames["plays"], frames["tracks"], frames["users"]
    assert plays.height == facts["train.csv"]["records"] == 14_999
    assert plays["seq"].to_list() == list(range(14_999))
    assert plays["repeated"].null_count() == 0
    known = plays.join(tracks.filter(pl.col("duration_ms").is_not_null()), on="track_id", how="semi")
    assert 0.1 < known.height / plays.height < 0.2
    assert (users.height, users["age"].null_count()) == (34_403, 34_403 - 14_434)
    assert tracks["track_id"].is_unique().all()
    assert (tracks["year"].min(), tracks["year"].max()) == (1918, 2017)


@pytest.mark.bench
def test_a_catalogue_of_full_size(folder: Path, staged: Any) -> None:
    number = pl.int_range(2_290_000)
    pl.select(
        song_id=pl.format("song-{}-of-the-catalogue-with-a-long-id=", number),
        song_length=200_000 + number % 100_000,
        genre_ids=pl.format("{}|{}", number % 190, number % 7),
        artist_name=pl.format("Artist {}", number % 222_000),
        composer=pl.format("Composer {}| Other", number % 90_000),
        lyricist=pl.lit(None, pl.String),
        language=number % 10,
    ).write_csv(folder / "songs.csv")
    tracks = staged(folder)[0]["tracks"]
    assert tracks.height == 2_290_000 + 4
