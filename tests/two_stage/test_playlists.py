"""Playlists: what players and importers read, under names that no id can break."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import tables
from tasks.two_stage import playlists
from tests import logs

ODD = [
    "a,b",
    "q\"uo'te",
    "../../etc/passwd",
    "new\nline",
    "x" * 10_240,
    "x" * 10_241,
    "",
    ".",
    "\u00e4\0",
]


def lists(rows: list[dict[str, Any]], place: Path) -> Path:
    """A table of recommendations."""
    columns = {"user_id": pl.String, "rank": pl.Int32, "track_id": pl.String, "name": pl.String,
               "artist": pl.String, "uri": pl.String}  # fmt: skip
    ranked = [{"rank": number, "track_id": "t0"} | row for number, row in enumerate(rows)]
    frame = pl.DataFrame([dict.fromkeys(columns) | row for row in ranked], schema=columns)
    frame.write_parquet(place / "recommendations.parquet")
    return place / "recommendations.parquet"


def table(model: Any, rows: list[dict[str, Any]], path: Path) -> Path:
    logs.table(model, rows).write_parquet(path)
    return path


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    rows = [
        {"track_id": "t0", "album": 'Al "b", um', "duration_ms": 200_400},
        {"track_id": "t1"},
        {"track_id": "t2", "duration_ms": 1_000},
    ]
    return table(tables.Tracks, rows, tmp_path / "tracks.parquet")


def test_a_list_as_players_and_importers_read_it(tmp_path: Path, tracks: Path) -> None:
    """Lengths come from the source, else from the catalogue; what has no URI is not in it."""
    audio = [{"track_id": "t1", "duration_ms": 194_754}, {"track_id": "t2", "duration_ms": 9_000}]
    given = lists(
        [
            {"user_id": "me", "name": "Jóga", "artist": "Björk", "uri": "u:a"},
            {"user_id": "me", "track_id": "t1", "name": "two\r\nlines\u2028 ", "artist": "A, B",
             "uri": "u:\nb"},
            {"user_id": "me", "track_id": "t2", "name": "none", "artist": "A"},
            {"user_id": "me", "track_id": "t2", "uri": "u:c"},
            {"user_id": "you", "track_id": "t2", "name": "n", "artist": "A"},
        ],
        tmp_path,
    )  # fmt: skip
    out = tmp_path / "out"
    audio_path = table(tables.Audio, audio, tmp_path / "audio.parquet")
    written = playlists.write(given, tracks, audio_path, 20, out)
    stem = playlists.name("me")
    assert written == [f"{stem}.m3u8", f"{stem}.csv"]
    assert sorted(path.name for path in (out / "playlists").iterdir()) == sorted(written)
    assert (out / "playlists" / f"{stem}.m3u8").read_text(encoding="utf-8") == (
        "#EXTM3U\n#EXTINF:200,Björk - Jóga\nu:a\n#EXTINF:195,A, B - two lines\nu:b\n#EXTINF:1,t2\nu:c\n"
    )
    text = (out / "playlists" / f"{stem}.csv").read_text(encoding="utf-8")
    assert list(csv.reader(io.StringIO(text))) == [
        ["Track URI", "Track Name", "Artist Name(s)", "Album Name", "Track Duration (ms)"],
        ["u:a", "Jóga", "Björk", 'Al "b", um', "200400"],
        ["u:b", "two lines", "A, B", "", "194754"],
        ["u:c", "t2", "", "", "1000"],
    ]


def test_without_a_catalogue_a_length_may_be_unknown(tmp_path: Path, tracks: Path) -> None:
    given = lists(
        [{"user_id": "me", "track_id": "t1", "name": "n", "artist": "a", "uri": "u:x"}], tmp_path
    )
    playlists.write(given, tracks, None, 1, tmp_path)
    told = (tmp_path / "playlists" / f"{playlists.name('me')}.m3u8").read_text(encoding="utf-8")
    assert told == "#EXTM3U\n#EXTINF:-1,a - n\nu:x\n"


@pytest.mark.parametrize("most", [0, 1, 2, 20])
def test_at_most_so_many_listeners_get_files(tmp_path: Path, tracks: Path, most: int) -> None:
    rows = [
        {"user_id": user, "name": "n", "artist": "a", "uri": uri}
        for user, uri in (("a", None), ("b", "u:x"), ("c", "u:x"), ("d", "u:x"))
    ]
    written = playlists.write(lists(rows, tmp_path), tracks, None, most, tmp_path)
    expected = [playlists.name(user) for user in ("b", "c", "d")[:most]]
    assert [name for name in written if name.endswith(".m3u8")] == [f"{name}.m3u8" for name in expected]


def test_playlists_are_told_from_other_files(tmp_path: Path, tracks: Path) -> None:
    assert playlists.there(tmp_path / "nowhere") == []
    rows = [{"user_id": user, "track_id": "t0", "uri": "u:x"} for user in (*ODD, "b")]
    written = playlists.write(lists(rows, tmp_path), tracks, None, 20, tmp_path)
    assert len(written) == 2 * (len(ODD) + 1)
    for own in ("mine.m3u8", "notes-0123456789abcdef.txt"):
        (tmp_path / "playlists" / own).write_text("#EXTM3U\n", encoding="utf-8")
    assert {path.name for path in playlists.there(tmp_path)} == set(written)


@given(st.lists(st.text(), unique=True, max_size=8))
def test_any_ids_have_distinct_plain_names(ids: list[str]) -> None:
    names = [playlists.name(each) for each in [*ids, *(odd for odd in ODD if odd not in ids)]]
    assert len(set(map(str.lower, names))) == len(names)  # also where case does not count
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_-]{17,57}", name)
        for ending in ("m3u8", "csv"):
            assert playlists.NAMED.fullmatch(f"{name}.{ending}")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(*[st.none() | st.text(st.characters(exclude_categories=["Cs"]))] * 3), min_size=1)
)
def test_no_name_breaks_a_line(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str | None, str | None, str | None]]
) -> None:
    """Whatever names and URIs hold, each track is two lines, and a row of five fields."""
    place = tmp_path_factory.mktemp("lists")
    rows = [
        {"user_id": "me", "track_id": "t0", "name": name, "artist": artist, "uri": uri}
        for name, artist, uri in texts
    ]
    known = table(tables.Tracks, [{"track_id": "t0"}], place / "tracks.parquet")
    written = playlists.write(lists(rows, place), known, None, 1, place)
    if not written:
        return
    lines = (place / "playlists" / written[0]).read_bytes().decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert all(line.startswith("#EXTINF:-1,") for line in lines[1::2])
    assert all(line and not line.startswith("#") for line in lines[2::2])
    assert len(lines) % 2 == 1
    with (place / "playlists" / written[1]).open(encoding="utf-8", newline="") as file:
        rows_read = list(csv.reader(file))
    assert {len(row) for row in rows_read} == {5}
    assert len(rows_read) == len(lines) // 2 + 1
