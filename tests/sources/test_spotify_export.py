"""Spotify's exports, layout by layout and fault by fault, against answers worked out by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Source, Store
from schemas.errors import InputError
from schemas.tables import SOURCE_TABLES, columns
from tasks.sources import spotify_export
from tasks.sources.earlier import NOTHING
from tasks.sources.json_lists import whole
from tasks.sources.packages import RawFile
from tasks.warehouse import Warehouse

ACCOUNT = {"endTime": "2021-03-04 05:06", "artistName": "Ana", "trackName": "One", "msPlayed": 60_000}
V1 = {
    "ts": "2020-01-01T00:03:00Z",
    "username": "planted_user",
    "platform": "Android OS 11 API 30 (samsung, SM-G991B)",
    "ms_played": 180_000,
    "conn_country": "DE",
    "ip_addr_decrypted": "203.0.113.77",
    "user_agent_decrypted": "planted_agent",
    "master_metadata_track_name": "One",
    "master_metadata_album_artist_name": "Ana",
    "master_metadata_album_album_name": "First",
    "spotify_track_uri": "spotify:track:0000000000000000000001",
    "episode_name": None,
    "episode_show_name": None,
    "spotify_episode_uri": None,
    "reason_start": "clickrow",
    "reason_end": "trackdone",
    "shuffle": False,
    "skipped": None,
    "offline": False,
    "offline_timestamp": 1520518477608,
    "incognito_mode": False,
}
V2_2023 = {
    key: value
    for key, value in {
        **V1,
        "ip_addr": "203.0.113.77",
        "skipped": True,
        "offline_timestamp": 1755016854,
    }.items()
    if key not in ("username", "ip_addr_decrypted", "user_agent_decrypted")
}
V2 = V2_2023 | dict.fromkeys(
    ("audiobook_title", "audiobook_uri", "audiobook_chapter_uri", "audiobook_chapter_title")
)
NO_TRACK = dict.fromkeys(
    (
        "master_metadata_track_name",
        "master_metadata_album_artist_name",
        "master_metadata_album_album_name",
        "spotify_track_uri",
    )
)
EPISODE = {
    **V2,
    **NO_TRACK,
    "episode_name": "Ep 1",
    "episode_show_name": "Talk",
    "spotify_episode_uri": "x",
}
BOOK = {**V2, **NO_TRACK, "audiobook_title": "Novel", "audiobook_uri": "spotify:show:1"}

Stage = Callable[..., tuple[Mapping[str, Any], Warehouse]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Stages paths in a warehouse that lives as long as the test."""
    with Warehouse(Store(path=tmp_path / "store")) as warehouse:

        def staged(*paths: Path, **settings: Any) -> tuple[Mapping[str, Any], Warehouse]:
            source = Source(kind="spotify_export", path=paths, **settings)
            assert spotify_export.files(source)
            return spotify_export.stage(source, tmp_path / "scratch", warehouse, NOTHING), warehouse

        yield staged


def put(path: Path, content: Any) -> Path:
    """Write a JSON file, or bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def rows(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    """A raw relation's rows by file and position."""
    frame: pl.DataFrame = warehouse.connection.sql(f"select * from raw_{name}").pl()
    order = [column for column in ("file", "position", "track_id", "user_id") if column in frame.columns]
    return frame.sort(order).to_dicts()


def id_of(artist: str, title: str) -> str:
    return hashlib.md5(f"{artist}\x1f{title}".encode()).hexdigest()[:16]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


# --- every layout


@pytest.mark.parametrize(
    "name",
    [
        "StreamingHistory.json",
        "StreamingHistory0.json",
        "MyData/StreamingHistory11.json",
        "Spotify Account Data/StreamingHistory_music_0.json",
        "renamed by hand.json",
        "StreamingHistory0 (1).JSON",
    ],
)
def test_account_layouts(stage: Stage, tmp_path: Path, name: str) -> None:
    put(tmp_path / "export" / name, [ACCOUNT])
    facts, warehouse = stage(tmp_path / "export")
    (play,) = rows(warehouse, "plays")
    assert play == dict.fromkeys(play) | {
        "user_id": "me",
        "seq": 0,
        "track_id": id_of("ana", "one"),
        "started_at": utc(2021, 3, 4, 5, 5),
        "ended_at": utc(2021, 3, 4, 5, 6),
        "resolution": "minute",
        "ms_played": 60_000,
        "file": f"export/{name}",
        "position": 0,
    }
    assert facts["plays"] == {"minute": 1}


@pytest.mark.parametrize(
    ("name", "record", "skipped"),
    [
        ("MyData/endsong_0.json", V1, None),
        ("endsong.json", V1, None),
        ("Spotify Extended Streaming History/Streaming_History_Audio_2019-2021_3.json", V2_2023, True),
        ("Spotify Extended Streaming History/Streaming_History_Audio_2025_7.json", V2, True),
        ("Streaming_History_Audio_2025.json", V2, True),
        ("renamed by hand.json", V2, True),
    ],
)
def test_extended_layouts(
    stage: Stage, tmp_path: Path, name: str, record: dict[str, Any], skipped: bool | None
) -> None:
    put(tmp_path / "export" / name, [record])
    facts, warehouse = stage(tmp_path / "export")
    (play,) = rows(warehouse, "plays")
    assert play == dict.fromkeys(play) | {
        "user_id": "me",
        "seq": 0,
        "track_id": id_of("ana", "one"),
        "started_at": utc(2020, 1, 1),
        "ended_at": utc(2020, 1, 1, 0, 3),
        "resolution": "second",
        "platform": "android",
        "country": "DE",
        "reason_start": "clickrow",
        "shuffle": False,
        "offline": False,
        "ms_played": 180_000,
        "reason_end": "trackdone",
        "skipped": skipped,
        "file": f"export/{name}",
        "position": 0,
    }
    (track,) = rows(warehouse, "tracks")
    assert track == dict.fromkeys(track) | {
        "track_id": id_of("ana", "one"),
        "name": "One",
        "artist": "Ana",
        "album": "First",
        "uri": "spotify:track:0000000000000000000001",
    }
    (user,) = rows(warehouse, "users")
    assert user == dict.fromkeys(user) | {"user_id": "me"}
    assert facts["plays"] == {"second": 1}


def test_relations_have_the_tables_columns(stage: Stage, tmp_path: Path) -> None:
    put(tmp_path / "export" / "endsong_0.json", [V1])
    _, warehouse = stage(tmp_path / "export")
    for name, table in SOURCE_TABLES.items():
        frame = warehouse.connection.sql(f"select * from raw_{name}").pl()
        # DuckDB hands instants over in microseconds: the unit is the one thing that may differ
        schema = {
            column: pl.Datetime("ms", "UTC") if isinstance(dtype, pl.Datetime) else dtype
            for column, dtype in frame.schema.items()
        }
        assert schema == columns(table), name
        assert list(schema) == list(columns(table)), name


def test_real_export(stage: Stage, real_data: Path) -> None:
    facts, warehouse = stage(real_data / "spotify_account")
    assert facts["plays"] == {"minute": 29_632}
    raw = json.loads((real_data / "spotify_account" / "StreamingHistory.json").read_bytes())
    plays = rows(warehouse, "plays")
    assert [play["ms_played"] for play in plays] == [record["msPlayed"] for record in raw]
    assert [f"{play['ended_at']:%Y-%m-%d %H:%M}" for play in plays] == [
        record["endTime"] for record in raw
    ]
    tracks = {track["track_id"]: track for track in rows(warehouse, "tracks")}
    # 6,754 pairs as spelled; nine differ from another only in case
    pairs = {(record["artistName"], record["trackName"]) for record in raw}
    assert len(pairs) == 6_754
    assert len(tracks) == len({(artist.lower(), title.lower()) for artist, title in pairs}) == 6_745
    assert len({track["artist"] for track in tracks.values()}) == 1_411
    assert all(
        tracks[play["track_id"]]["name"].lower() == record["trackName"].strip().lower()
        for play, record in zip(plays, raw, strict=True)
    )


def test_positions_hold_over_many_files_read_in_parallel(stage: Stage, tmp_path: Path) -> None:
    expected = {}
    for number in range(40):
        size = 1 + 97 * number % 4_000
        records = [V1 | {"ms_played": number * 10_000 + at, "ts": None} for at in range(size)]
        put(tmp_path / "export" / f"endsong_{number}.json", records)
        expected[f"export/endsong_{number}.json"] = size
    _, warehouse = stage(tmp_path / "export")
    plays = warehouse.connection.sql("select file, position, ms_played from raw_plays").pl()
    in_name = pl.col("file").str.extract(r"(\d+)").cast(pl.Int64)
    assert plays.filter(pl.col("ms_played") != in_name * 10_000 + pl.col("position")).is_empty()
    assert dict(plays.group_by("file").len().iter_rows()) == expected


# --- what is no play of a track


def test_other_listening_is_set_apart_and_a_row_without_anything_stays(
    stage: Stage, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    put(export / "Streaming_History_Audio_2025.json", [EPISODE, V2, BOOK, {}, None, {**V2, **NO_TRACK}])
    put(export / "Streaming_History_Video_2025.json", [V2, EPISODE])
    put(
        export / "StreamingHistory_podcast_0.json",
        [{"endTime": "2021-03-04 05:06", "podcastName": "Talk"}],
    )
    put(export / "StreamingHistory_audiobook_0.json", [{"endTime": "2021-03-04 05:06"}] * 3)
    facts, warehouse = stage(export)
    assert facts["set_apart"] == {"podcasts": 2, "audiobooks": 4, "videos": 2}
    assert facts["plays"] == {"second": 4}
    plays = rows(warehouse, "plays")
    assert [(play["position"], play["track_id"]) for play in plays] == [
        (1, id_of("ana", "one")), (3, None), (4, None), (5, None),
    ]  # fmt: skip
    assert len(rows(warehouse, "tracks")) == 1


def test_account_data_do_not_mark_podcasts_but_the_extended_history_does(
    stage: Stage, tmp_path: Path
) -> None:
    episode = ACCOUNT | {"artistName": "Talk", "trackName": "Ep 1"}
    put(tmp_path / "export" / "StreamingHistory0.json", [ACCOUNT, episode])
    put(tmp_path / "export" / "Streaming_History_Audio_2021.json", [EPISODE])
    facts, _ = stage(tmp_path / "export")
    assert facts["plays"] == {"minute": 1}
    assert facts["set_apart"] == {"podcasts": 2}


def test_technical_logs(stage: Stage, tmp_path: Path) -> None:
    export = tmp_path / "export"
    logs = export / "Spotify Technical Log Information"
    put(export / "MyData" / "StreamingHistory0.json", [ACCOUNT])
    put(
        logs / "ConnectionError.json",
        [
            {"timestamp_utc": "2021-03-04T05:06:07.250Z", "context_time": 1, "message_x": {"deep": [1]}},
            {"context_time": 1_614_834_367},
            {"timestamp_utc": "1614834367000"},
            {"timestamp_utc": "no time"},
        ],
    )
    put(logs / "PlaybackError_1.json", [{"timestamp_utc": "2021-03-04 05:06:07"}])
    put(logs / "AccountMutated.json", [{"context_time": 1, "message_email": "planted@example.org"}] * 5)
    put(logs / "NoClock.json", [{"message_item_uri": "x"}])
    facts, warehouse = stage(export)
    moment = utc(2021, 3, 4, 5, 6, 7)
    assert [(row["kind"], row["position"], row["at"]) for row in rows(warehouse, "errors")] == [
        ("connection", 0, moment.replace(microsecond=250_000)),
        ("connection", 1, moment),
        ("connection", 2, moment),
        ("connection", 3, None),
        ("playback", 0, moment),
    ]
    assert facts["errors"] == {"connection": 4, "playback": 1}
    assert facts["unused_log_records"] == {"AccountMutated": 5}
    assert facts["unused_files"] == {"other": 1}


# --- identity


def test_spellings_of_one_track_share_its_id(stage: Stage, tmp_path: Path) -> None:
    spelled = [("Björk", "Jóga"), ("bjo\u0308rk ", "JÓGA"), ("BJÖRK", " Jóga\u00a0 "), ("Björk", "Joga")]
    export = tmp_path / "export"
    put(export / "endsong_0.json", [
        V1 | {"master_metadata_album_artist_name": artist, "master_metadata_track_name": title, "ts": ts}
        for (artist, title), ts in zip([*spelled, spelled[0]], ["2020-01-01T00:00:00Z"] * 5, strict=True)
    ])  # fmt: skip
    _, warehouse = stage(export)
    same = id_of("björk", "jóga")
    assert [play["track_id"] for play in rows(warehouse, "plays")] == [
        same, same, same, id_of("björk", "joga"), same,
    ]  # fmt: skip
    names = {track["track_id"]: (track["artist"], track["name"]) for track in rows(warehouse, "tracks")}
    assert names == {same: ("Björk", "Jóga"), id_of("björk", "joga"): ("Björk", "Joga")}


def test_the_library_tells_what_the_account_data_do_not(stage: Stage, tmp_path: Path) -> None:
    export = tmp_path / "export"
    uri = "spotify:track:0000000000000000000009"
    put(export / "StreamingHistory0.json", [ACCOUNT, ACCOUNT | {"trackName": "Two"}])
    put(
        export / "YourLibrary.json",
        {
            "tracks": [
                {"artist": "ANA", "album": "First", "track": "One", "uri": uri},
                {"artist": "Ana", "album": "Second", "track": "Two"},
                {"artist": "Ana", "album": "Third", "track": "Never played", "uri": uri},
                {"artist": None, "track": 5},
                "odd",
            ],
            "shows": [],
        },
    )
    _, warehouse = stage(export)
    found = {track["track_id"]: (track["album"], track["uri"]) for track in rows(warehouse, "tracks")}
    assert found == {id_of("ana", "one"): ("First", uri), id_of("ana", "two"): ("Second", None)}


def test_accounts_side_by_side(stage: Stage, tmp_path: Path) -> None:
    export = tmp_path / "export"
    put(export / "alice" / "MyData" / "StreamingHistory0.json", [ACCOUNT])
    put(export / "bob" / "endsong_0.json", [V1])
    put(export / "Spotify Account Data" / "StreamingHistory_music_0.json", [ACCOUNT] * 2)
    put(tmp_path / "more" / "export" / "alice" / "endsong_0.json", [V1 | {"username": "another"}])
    facts, warehouse = stage(export, tmp_path / "more" / "export", export)
    assert facts["accounts"] == 3
    found = [(play["user_id"], play["file"]) for play in rows(warehouse, "plays")]
    assert found == [
        ("alice", "export#2/alice/endsong_0.json"),
        ("me", "export/Spotify Account Data/StreamingHistory_music_0.json"),
        ("me", "export/Spotify Account Data/StreamingHistory_music_0.json"),
        ("alice", "export/alice/MyData/StreamingHistory0.json"),
        ("bob", "export/bob/endsong_0.json"),
    ]


def test_two_user_names_in_one_account_are_refused(stage: Stage, tmp_path: Path) -> None:
    put(tmp_path / "export" / "endsong_0.json", [V1, V1 | {"username": None}])
    put(tmp_path / "export" / "MyData" / "endsong_1.json", [V1 | {"username": "planted_other"}])
    with pytest.raises(
        InputError, match=r"two user names.*account me.*MyData/endsong_1\.json"
    ) as refused:
        stage(tmp_path / "export")
    assert "planted" not in str(refused.value)


def test_nothing_personal_is_kept(stage: Stage, tmp_path: Path) -> None:
    export = tmp_path / "export"
    put(export / "endsong_0.json", [V1, EPISODE])
    put(export / "Userdata.json", {"username": "planted_user", "email": "planted@example.org"})
    put(
        export / "AccountMutated.json",
        [{"timestamp_utc": "2021-01-01", "message_email": "planted@example.org"}],
    )
    put(export / "Payments.json", b"not even JSON, and never opened")
    facts, warehouse = stage(export)
    assert facts["unused_files"] == {"payments": 1, "userdata": 1}
    told = json.dumps(facts) + "".join(str(rows(warehouse, name)) for name in SOURCE_TABLES)
    # a killed run leaves its scratch behind
    left = "".join(
        str(pl.read_parquet(path).to_dicts()) for path in (tmp_path / "scratch").glob("*.parquet")
    )
    for planted in ("planted", "203.0.113"):
        assert planted not in told + left
    assert "SM-G991B" not in told


# --- values that are odd, each kept for validation to judge


def test_odd_values_stay_as_rows(stage: Stage, tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"ms_played": -5},
        {"ms_played": "180000"},
        {"ms_played": "much"},
        {"ms_played": 10**17},
        {"ms_played": 10**30},
        {"ms_played": None},
        {"ms_played": {"value": 1}},
        {"ts": None},
        {"ts": "infinity"},
        {"ts": "290000-01-01T00:00:00Z"},
        {"ts": "1999-12-31T23:59:59Z"},
        {"ts": 1_577_836_980},
        {"skipped": "null", "shuffle": "1", "offline": 0},
        {"master_metadata_track_name": None},
        {"master_metadata_album_artist_name": " "},
    ]
    put(tmp_path / "export" / "endsong_0.json", [V1 | change for change in odd])
    _, warehouse = stage(tmp_path / "export")
    plays = rows(warehouse, "plays")
    assert [play["position"] for play in plays] == list(range(len(odd)))
    assert [play["ms_played"] for play in plays[:7]] == [-5, 180_000, None, 10**17, None, None, None]
    assert plays[0]["started_at"] == utc(2020, 1, 1, 0, 3).replace(microsecond=5_000)
    assert [play["started_at"] for play in plays[2:7]] == [None] * 5
    assert [play["ended_at"] for play in plays[7:12]] == [None] * 3 + [
        utc(1999, 12, 31, 23, 59, 59),
        None,
    ]
    assert [plays[12][flag] for flag in ("skipped", "shuffle", "offline")] == [None, True, False]
    assert [play["track_id"] for play in plays[13:]] == [None, None]


@pytest.mark.parametrize(
    ("raw", "family"),
    [
        ("Android OS 11 API 30 (samsung, SM-G991B)", "android"),
        ("android", "android"),
        ("iOS 14.4 (iPhone12,1)", "ios"),
        ("ios", "ios"),
        ("Windows 10 (10.0.19041; x64; AppX)", "windows"),
        ("OS X 10.15.7 [x86 8]", "macos"),
        ("osx", "macos"),
        ("Linux [x86-64 0]", "linux"),
        ("web_player windows 10;chrome 87.0.4280.88;desktop", "web"),
        ("WebPlayer (websocket RFC6455)", "web"),
        ("Partner google cast_tv;Chromecast;;", "cast"),
        ("Partner sonos_ppc Sonos;Play1;00;tpapi", "speaker"),
        ("Partner android_tv Sony;BRAVIA;;tpapi", "tv"),
        ("not_applicable", "other"),
        ("", None),
    ],
)
def test_platform_family(stage: Stage, tmp_path: Path, raw: str, family: str | None) -> None:
    put(tmp_path / "export" / "endsong_0.json", [V1 | {"platform": raw}])
    _, warehouse = stage(tmp_path / "export")
    assert [play["platform"] for play in rows(warehouse, "plays")] == [family]


# --- files as they come


TEXT = json.dumps(
    [V1 | {"master_metadata_album_artist_name": "Björk"}] * 2, ensure_ascii=False, indent=1
)


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        b"\n " + TEXT.encode() + b"\r\n\n",
        TEXT.replace("]", ",{}\n]").encode(),
    ],
    ids=["plain", "bom", "crlf", "utf-16", "utf-16-le", "utf-16-be", "blank ends", "empty record"],
)
def test_encodings(stage: Stage, tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "export" / "endsong_0.json", content)
    _, warehouse = stage(tmp_path / "export")
    assert [play["track_id"] for play in rows(warehouse, "plays")][:2] == [id_of("björk", "one")] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode()[:-40], r"truncated file.*line 4\d"),
        (TEXT.encode()[:-2], r"truncated file.*line 4\d"),
        (b'[{"ts": "1"},', "truncated file.*line 1"),
        (b'[{"ts": "Song [Live]', "not valid JSON.*line 1, column 9.*Unterminated string"),
        (
            TEXT.encode("latin-1"),
            r"^not UTF-8 text \| file: .* \| place: byte \d+ \| found: .* \| expected: UTF-8.*"
            r" \| what to do: save it as UTF-8",
        ),
        (TEXT.encode("utf-16")[:-41], "UTF-16"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "wrong kind of file.*found: no JSON text"),
        (b'{"ts": "1"}', "wrong kind of file.*found: a JSON object.*list of records"),
        (b'{"ts": "1"}\n{"ts": "2"}\n', "wrong kind of file.*found: a JSON object"),
        (b"", "empty file"),
        (b" \n", "empty file"),
        (b"\x00" * 64, "wrong kind of file"),
        (b'[{"ts": "1"}, 7, {"ts": "2"}]', "not a list of records.*record 1.*found: int"),
        (b'[[{"ts": "1"}]]', "not a list of records.*record 0.*found: list"),
        (b'[{"ts": "1"}] and {"more": 1}]', "not valid JSON.*line 1, column 15"),
        (b'[{"ts": "1"},]', "not valid JSON.*line 1"),
        (b'[{"ts": "secret", "ts": "twice"}]', "cannot be read as JSON records"),
        (b'[{"ts": "a\x01"}]', "not valid JSON.*line 1, column 11.*control character"),
    ],
)
@pytest.mark.parametrize("name", ["endsong_1.json", "StreamingHistory_music_1.json"])
def test_one_bad_file_among_good_ones(
    stage: Stage, tmp_path: Path, content: bytes, message: str, name: str
) -> None:
    for number in (0, 2):
        put(tmp_path / "export" / f"endsong_{number}.json", [V1] * 100)
    put(
        tmp_path / "export" / name, content.replace(b'"ts"', b'"endTime"') if name[0] == "S" else content
    )
    if name[0] == "S" and "column" in message:
        message = message.split(",")[0]
    with pytest.raises(InputError, match=f"(?s){message}") as refused:
        stage(tmp_path / "export")
    assert f"file: export/{name}" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["ConnectionError.json", "YourLibrary.json"])
@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"", b'[{"timestamp_utc": "2021-01-01"'])
def test_a_bad_file_beside_the_history(stage: Stage, tmp_path: Path, name: str, content: bytes) -> None:
    put(tmp_path / "export" / "endsong_0.json", [V1])
    put(tmp_path / "export" / name, content)
    with pytest.raises(InputError, match=name):
        stage(tmp_path / "export")


NASTY = st.text(alphabet='[]{}",:\\ a1é\n', max_size=12)


@settings(max_examples=60, deadline=None)
@given(titles=st.lists(NASTY, min_size=1, max_size=4), data=st.data())
def test_no_cut_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, titles: list[str], data: st.DataObject
) -> None:
    """Cut anywhere before its closing bracket, a file is refused, whatever its titles look like."""
    content = json.dumps(
        [{"ts": title, "ms_played": 1} for title in titles], ensure_ascii=False
    ).encode()
    cut = data.draw(st.integers(0, len(content) - 1))
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "endsong_0.json"
    raw = RawFile("me", "endsong_0.json", path)
    path.write_bytes(content)
    assert whole(raw, "[", folder) == raw
    path.write_bytes(content[:cut])
    with pytest.raises(InputError):
        whole(raw, "[", folder)


@pytest.mark.parametrize("name", ["we[i]rd", "st*r", "q?", "a{b,c}", 'it\'s "so"', "ünïcødé", "$x"])
def test_folders_with_odd_names_are_read_themselves(stage: Stage, tmp_path: Path, name: str) -> None:
    put(tmp_path / "export" / name / "endsong_0.json", [V1])
    put(tmp_path / "export" / "weird" / "endsong_0.json", [V1 | {"ms_played": 1, "username": "other"}])
    _, warehouse = stage(tmp_path / "export")
    found = {play["user_id"]: play["ms_played"] for play in rows(warehouse, "plays")}
    assert found == {name: 180_000, "weird": 1}


def test_an_empty_list_is_an_empty_history(stage: Stage, tmp_path: Path) -> None:
    put(tmp_path / "export" / "StreamingHistory0.json", [])
    facts, warehouse = stage(tmp_path / "export")
    assert rows(warehouse, "plays") == []
    assert facts["plays"] == {}


@pytest.mark.parametrize(
    "names", [(), ("notes.txt",), ("Userdata.json",)], ids=["empty folder", "text", "personal only"]
)
def test_nothing_to_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "export").mkdir()
    for name in names:
        put(tmp_path / "export" / name, {})
    with pytest.raises(InputError, match=r"no streaming history found.*endsong_\*\.json"):
        spotify_export.files(Source(kind="spotify_export", path=(tmp_path / "export",)))


@pytest.mark.parametrize("content", [b"\x89PNG", [{"colour": "red"}], {"a": 1}, [], [1]])
def test_a_folder_without_an_export(stage: Stage, tmp_path: Path, content: Any) -> None:
    put(tmp_path / "export" / "some.json", content)
    with pytest.raises(InputError, match="no streaming history found"):
        stage(tmp_path / "export")
