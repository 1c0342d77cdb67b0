"""Nothing that names a person or a machine gets past the reader: all that a run leaves is searched."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.flows.conftest import Place

PLANTED = {
    "user name": "zanthippe.quillfeather",
    "display name": "Zanthippe Quillfeather-Oberon",
    "e-mail": "zq.oberon@planted.example",
    "address of v1": "203.0.113.77",
    "address of v2": "198.51.100.213",
    "address in a log": "2001:db8:77:aa::5e",
    "user agent": "PlantedBrowser%2F9.81",
    "user agent in a log": "PlantedClient/7.31 (Toaster)",
    "post code": "QX9 7ZZ",
    "device": "planted-device-4f2a91",
}
START = datetime(2022, 1, 3, 8, tzinfo=UTC)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def extended(end: datetime, track: int, ms: int, done: bool) -> dict[str, Any]:
    """What both versions of an extended record have in common."""
    return {
        "ts": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        "platform": "ios",
        "ms_played": ms,
        "conn_country": "DE",
        "master_metadata_track_name": f"Song {track}",
        "master_metadata_album_artist_name": f"Band {track % 7}",
        "master_metadata_album_album_name": "Album",
        "spotify_track_uri": f"spotify:track:{track:022}",
        "episode_name": None,
        "episode_show_name": None,
        "spotify_episode_uri": None,
        "reason_start": "trackdone",
        "reason_end": "trackdone" if done else "fwdbtn",
        "shuffle": False,
        "skipped": not done,
        "offline": False,
        "offline_timestamp": None,
        "incognito_mode": False,
    }


def export(folder: Path) -> Path:
    """All three packages of one person, personal fields filled in, some records bad."""
    rng = random.Random(5)
    old, new, coarse = [], [], []
    end = START
    for _ in range(900):
        track = min(int(rng.expovariate(0.1)), 60)
        done = rng.random() < 0.25 + 0.5 * (track % 2)
        ms = 200_000 if done else rng.randrange(2_000, 90_000)
        end += timedelta(minutes=rng.choice([1, 2, 3, 90, 600]), seconds=ms // 1000 + 1)
        record = extended(end, track, ms, done)
        if end < START + timedelta(days=60):
            old.append(
                record
                | {
                    "username": PLANTED["user name"],
                    "ip_addr_decrypted": PLANTED["address of v1"],
                    "user_agent_decrypted": PLANTED["user agent"],
                }
            )
        else:
            new.append(record | {"ip_addr": PLANTED["address of v2"]})
        coarse.append(
            {
                "endTime": f"{end:%Y-%m-%d %H:%M}",
                "artistName": f"Band {track % 7}",
                "trackName": f"Song {track}",
                "msPlayed": ms,
            }
        )
    old[5]["ms_played"] = -3  # refused: its record must not follow it into the quarantine
    new[5]["ts"] = None
    lifetime = folder / "Spotify Extended Streaming History"
    write(lifetime / "endsong_0.json", old)
    write(lifetime / "Streaming_History_Audio_2022_1.json", new)
    account = folder / "Spotify Account Data"
    write(account / "StreamingHistory_music_0.json", coarse[-300:])
    write(
        account / "Userdata.json",
        {
            "username": PLANTED["user name"],
            "email": PLANTED["e-mail"],
            "postalCode": PLANTED["post code"],
        },
    )
    write(account / "Identity.json", {"displayName": PLANTED["display name"]})
    write(account / "Inferences.json", {"inferences": [PLANTED["display name"]]})
    log = folder / "Spotify Technical Log Information"
    context = {
        "context_time": int(START.timestamp()) + 86_400,
        "timestamp_utc": f"{START + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
        "context_username": PLANTED["user name"],
        "context_device_id": PLANTED["device"],
        "context_ip": PLANTED["address in a log"],
        "context_user_agent": PLANTED["user agent in a log"],
    }
    write(log / "ConnectionError.json", [context | {"message_error": PLANTED["address in a log"]}] * 20)
    write(
        log / "PlaybackError.json", [context, context | {"timestamp_utc": "soon", "context_time": None}]
    )
    write(log / "AccountMutated.json", [context | {"message_email": PLANTED["e-mail"]}])
    return folder


def left(place: Place) -> Iterator[tuple[str, bytes]]:
    """Everything in a place as bytes; of compressed and structured files also what is inside."""
    for path in sorted(place.folder.rglob("*")):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            texts = pl.read_parquet(path).select(pl.col(pl.String, pl.List(pl.String)))
            yield f"inside {path}", texts.write_ndjson().encode()
        if path.suffix == ".db":
            with sqlite3.connect(path) as connection:
                yield f"inside {path}", "\n".join(connection.iterdump()).encode()


def server() -> Iterator[tuple[str, bytes]]:
    """Prefect's own database."""
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

    database = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).split("///")[1])
    for path in database.parent.glob(f"{database.name}*"):
        yield str(path), path.read_bytes()


def found(places: Iterator[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [
        (kind, name)
        for name, content in places
        for kind, value in PLANTED.items()
        if value.encode().lower() in content.lower()
    ]


def test_nothing_personal_is_left_anywhere(
    place: Callable[..., Place],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = export(tmp_path / "export")
    raw = ((str(path), path.read_bytes()) for path in source.rglob("*.json"))
    assert {kind for kind, _ in found(raw)} == set(PLANTED)  # the search itself works

    made = place("spotify", f"source.path={source}", "split.min_rows=50", "logs.level=debug")
    with caplog.at_level("DEBUG"):
        assert made.run("retrain") == 0
        assert made.run("explore", f"output.dir={made.folder / 'explored'}") == 0
        assert made.run("evaluate") == 0
    told = made.facts("ingest")
    assert told["rows"]["plays"] > 800
    assert told["rows"]["errors"] == 21
    assert told["rows"]["quarantine"] == 3
    assert told["merged_duplicates"] > 200

    shown = capfd.readouterr()
    assert found(left(made)) == []
    assert found(server()) == []
    assert found(iter([("log", f"{caplog.text}{shown.out}{shown.err}".encode())])) == []
    ours = [record.getMessage() for record in caplog.records if record.name == "encore"]
    assert {"featurize begins", "publish begins"} <= {" ".join(line.split()) for line in ours}
    assert [line for line in ours if re.search("song|band|album", line, re.IGNORECASE)] == []


def test_refusing_a_file_does_not_quote_it(
    place: Callable[..., Place],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = export(tmp_path / "export")
    broken = source / "Spotify Extended Streaming History" / "endsong_0.json"
    whole = broken.read_text()
    for content in (
        whole[: len(whole) // 2],
        whole.replace('"ms_played": 200000', '"ms_played": 2OO', 1),
    ):
        broken.write_text(content)
        made = place("spotify", f"source.path={source}")
        with caplog.at_level("DEBUG"):
            assert made.run("retrain") == 2
        shown = capfd.readouterr()
        assert "endsong_0.json" in shown.err
        assert found(left(made)) == []
        assert found(server()) == []
        assert found(iter([("log", f"{caplog.text}{shown.out}{shown.err}".encode())])) == []
