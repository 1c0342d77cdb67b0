"""What the world writes: layouts to the letter, the same bytes each time, and a truth that fits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas.config import Simulation
from schemas.errors import InputError
from tasks import simulation
from tasks.simulation import kkbox
from tasks.simulation.world import World, simulate

SMALL = Simulation(users=3, plays=40_000, tracks=800, days=420)
EXTENDED_KEYS = [
    "ts", "platform", "ms_played", "conn_country", "ip_addr", "master_metadata_track_name",
    "master_metadata_album_artist_name", "master_metadata_album_album_name", "spotify_track_uri",
    "episode_name", "episode_show_name", "spotify_episode_uri", "audiobook_title", "audiobook_uri",
    "audiobook_chapter_uri", "audiobook_chapter_title", "reason_start", "reason_end", "shuffle",
    "skipped", "offline", "offline_timestamp", "incognito_mode",
]  # fmt: skip


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def records(folder: Path, pattern: str) -> list[dict[str, Any]]:
    return [record for path in sorted(folder.glob(pattern)) for record in json.loads(path.read_text())]


@pytest.fixture(scope="module")
def spotify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spotify")
    facts = simulation.write(SMALL, folder)
    assert facts["accounts"] == 3
    return folder


@pytest.fixture(scope="module")
def competition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kkbox")
    simulation.write(SMALL.model_copy(update={"format": "kkbox"}), folder)
    return folder


def test_same_settings_same_bytes(spotify: Path, competition: Path, tmp_path: Path) -> None:
    simulation.write(SMALL, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(spotify)
    simulation.write(SMALL.model_copy(update={"format": "kkbox"}), tmp_path / "kkbox")
    assert digest(tmp_path / "kkbox") == digest(competition)
    simulation.write(SMALL.model_copy(update={"seed": 8}), tmp_path / "other")
    other, first = digest(tmp_path / "other"), digest(spotify)
    assert all(other[path] != first[path] for path in other if "History" in path and path in first)


def test_accounts_have_all_packages_under_spotifys_names(spotify: Path) -> None:
    for account in (spotify / "export").iterdir():
        assert {package.name for package in account.iterdir()} == {
            "Spotify Account Data", "Spotify Extended Streaming History",
            "Spotify Technical Log Information",
        }  # fmt: skip
        history = [path.name for path in (account / "Spotify Extended Streaming History").iterdir()]
        assert "Streaming_History_Audio_2022-2023_0.json" in history
        assert {"StreamingHistory_music_0.json", "StreamingHistory_podcast_0.json"} <= {
            path.name for path in (account / "Spotify Account Data").iterdir()
        }
        assert {path.name for path in (account / "Spotify Technical Log Information").iterdir()} == {
            "ConnectionError.json", "PlaybackError.json", "AccountMutated.json",
        }  # fmt: skip


def test_extended_records_are_to_the_letter(spotify: Path) -> None:
    found = records(spotify / "export", "*/Spotify Extended Streaming History/*.json")
    assert all(list(record) == EXTENDED_KEYS for record in found)
    for record in found:
        is_track = record["master_metadata_track_name"] is not None
        assert is_track == (record["spotify_track_uri"] is not None) == (record["episode_name"] is None)
        skipped = record["reason_end"] in ("fwdbtn", "endplay", "backbtn")
        assert record["skipped"] in (skipped, None)
        assert record["skipped"] is not None or record["reason_end"] != "trackdone"
        assert (record["offline_timestamp"] is not None) == record["offline"]
        assert record["ip_addr"].startswith("192.0.2.")
    assert 0 < sum(record["episode_name"] is not None for record in found) < 0.03 * len(found)
    assert any('"' in (record["master_metadata_track_name"] or "") for record in found)


def test_account_history_is_the_last_year_of_the_extended_one(spotify: Path) -> None:
    for account in (spotify / "export").iterdir():
        extended = [
            (r["ts"][:16].replace("T", " "), r["master_metadata_album_artist_name"],
             r["master_metadata_track_name"], r["ms_played"])
            for r in records(account, "Spotify Extended Streaming History/*.json")
            if r["master_metadata_track_name"] is not None and r["ts"] > "2022-02-25"
        ]  # fmt: skip
        music = records(account, "Spotify Account Data/StreamingHistory_music_*.json")
        assert list(music[0]) == ["endTime", "artistName", "trackName", "msPlayed"]
        assert [tuple(record.values()) for record in music] == extended
        for path in account.glob("Spotify Account Data/StreamingHistory_*.json"):
            assert len(json.loads(path.read_text())) <= 10_000
    podcasts = records(spotify / "export", "*/Spotify Account Data/StreamingHistory_podcast_*.json")
    assert list(podcasts[0]) == ["endTime", "podcastName", "episodeName", "msPlayed"]


def test_technical_log_is_flat_and_within_the_world(spotify: Path) -> None:
    for kind in ("ConnectionError", "PlaybackError", "AccountMutated"):
        found = records(spotify / "export", f"*/Spotify Technical Log Information/{kind}.json")
        assert found
        for record in found:
            assert record["timestamp_utc"][:4] in ("2022", "2023")
            assert not any(isinstance(value, dict | list) for value in record.values())


def test_truth_joins_every_play_of_a_track_once(spotify: Path) -> None:
    truth = pl.read_parquet(spotify / "truth.parquet")
    assert truth.schema == {
        "user_id": pl.String,
        "ended_at": pl.Datetime("ms", "UTC"),
        "ms_played": pl.Int64,
        "track_name": pl.String,
        "artist_name": pl.String,
        "probability": pl.Float64,
    }
    assert truth["probability"].is_between(0, 1).all()
    key = ["user_id", "ended_at", "ms_played", "track_name", "artist_name"]
    assert not truth.select(key).is_duplicated().any()
    plays = [
        (account.name, r["ts"], r["ms_played"], r["master_metadata_track_name"],
         r["master_metadata_album_artist_name"])
        for account in (spotify / "export").iterdir()
        for r in records(account, "Spotify Extended Streaming History/*.json")
        if r["master_metadata_track_name"] is not None
    ]  # fmt: skip
    moment = pl.col("ended_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="ms", time_zone="UTC")
    exported = pl.DataFrame(plays, schema=key, orient="row").with_columns(moment)
    assert exported.sort(key).equals(truth.select(key).sort(key))


def test_planted_values_are_there_to_be_searched_for(spotify: Path) -> None:
    profile = json.loads(next((spotify / "export").rglob("Userdata.json")).read_text())
    assert profile["username"].startswith("planted-user-")
    assert profile["email"].endswith("@example.invalid")
    truth = (spotify / "truth.parquet").read_bytes()
    assert b"planted" not in truth
    assert b"192.0.2." not in truth


def test_large_histories_are_split(tmp_path: Path) -> None:
    simulation.write(Simulation(users=1, plays=45_000, tracks=300, days=400), tmp_path)
    files = sorted((tmp_path / "export").rglob("Streaming_History_Audio_*.json"))
    assert len(files) == 3
    assert all(path.stat().st_size < 12_100_000 for path in files)
    assert sum(len(json.loads(path.read_text())) for path in files) > 44_000


def test_competition_files_are_to_the_letter(competition: Path) -> None:
    header = {
        path.name: path.read_text().split("\n", 1)[0] for path in (competition / "export").iterdir()
    }
    assert header == {
        "train.csv": "msno,song_id,source_system_tab,source_screen_name,source_type,target",
        "test.csv": "id,msno,song_id,source_system_tab,source_screen_name,source_type",
        "songs.csv": "song_id,song_length,genre_ids,artist_name,composer,lyricist,language",
        "members.csv": "msno,city,bd,gender,registered_via,registration_init_time,expiration_date",
        "song_extra_info.csv": "song_id,name,isrc",
    }


def test_competition_layouts_match_the_real_files(competition: Path, real_data: Path) -> None:
    for real in sorted((real_data / "kkbox").glob("*.csv")):
        ours = (competition / "export" / real.name).read_text().split("\n", 1)[0]
        with real.open(encoding="utf-8") as lines:
            assert ours == lines.readline().strip()


def test_competition_values_are_as_careless_as_real_ones(tmp_path: Path) -> None:
    settings = Simulation(format="kkbox", users=1_500, plays=60_000, tracks=3_000, days=200)
    simulation.write(settings, tmp_path)
    members = pl.read_csv(tmp_path / "export" / "members.csv")
    assert 0.45 < (members["bd"] == 0).mean() < 0.7
    assert ((members["bd"] < 0) | (members["bd"] > 100)).any()
    assert 0.45 < members["gender"].is_null().mean() < 0.7
    assert members["msno"].str.contains(r"^[A-Za-z0-9+/]{43}=$").all()
    for column in ("registration_init_time", "expiration_date"):
        assert members[column].cast(pl.String).str.to_date("%Y%m%d").is_not_null().all()
    songs = pl.read_csv(tmp_path / "export" / "songs.csv", schema_overrides={"genre_ids": pl.String})
    assert songs["genre_ids"].str.contains("|", literal=True).any()
    codes = pl.read_csv(tmp_path / "export" / "song_extra_info.csv")["isrc"]
    assert codes.drop_nulls().str.contains(r"^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$").all()
    assert 0.05 < codes.is_null().mean() < 0.2
    train = pl.read_csv(tmp_path / "export" / "train.csv")
    assert train.select("msno", "song_id").is_unique().all()
    assert set(train["target"].unique()) == {0, 1}


def test_competition_rows_are_split_in_order_and_the_truth_is_of_the_test(competition: Path) -> None:
    world = simulate(SMALL)
    rows = kkbox.first_plays(world)
    train = pl.read_csv(competition / "export" / "train.csv")
    test = pl.read_csv(competition / "export" / "test.csv")
    assert len(train) == int(0.8 * len(rows))
    assert test["id"].to_list() == list(range(len(rows) - len(train)))
    assert train["target"].to_list() == rows["target"].to_list()[: len(train)]
    truth = pl.read_parquet(competition / "truth.parquet")
    assert truth.schema == {"id": pl.Int64, "target": pl.Int64}
    assert truth["target"].to_list() == rows["target"].to_list()[len(train) :]


def test_competition_targets_equal_a_hand_count() -> None:
    world = simulate(Simulation(users=4, plays=6_000, tracks=400, days=150))
    expected = by_hand(world)
    rows = kkbox.first_plays(world)
    found = dict(zip(zip(rows["user"], rows["track"], strict=True), rows["target"], strict=True))
    assert found == expected
    assert 0 < sum(expected.values()) < len(expected)


def by_hand(world: World) -> dict[tuple[int, int], int]:
    """(user, track) → played again within 30 days, play by play."""
    day = 86_400_000
    heard: dict[tuple[int, int], list[int]] = {}
    for user in range(len(world.first) - 1):
        for row in range(world.first[user], world.first[user + 1]):
            if world.log.track[row] >= 0:
                start = int(world.log.ended[row] - world.log.ms_played[row])
                heard.setdefault((user, int(world.log.track[row])), []).append(start)
    return {
        pair: int(any(0 < later - starts[0] < 30 * day for later in starts[1:]))
        for pair, starts in heard.items()
        if world.start_ms + 60 * day <= starts[0] <= world.end_ms - 30 * day
    }


def test_competition_rows_are_in_order_of_time() -> None:
    world = simulate(Simulation(users=4, plays=6_000, tracks=400, days=150))
    rows = kkbox.first_plays(world)
    first: dict[tuple[int, int], int] = {}
    for user in range(len(world.first) - 1):
        for row in range(world.first[user], world.first[user + 1]):
            start = int(world.log.ended[row] - world.log.ms_played[row])
            first.setdefault((user, int(world.log.track[row])), start)
    at = [first[pair] for pair in zip(rows["user"], rows["track"], strict=True)]
    assert np.all(np.diff(at) >= 0)


def test_too_short_a_world_for_the_competition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"simulation\.days.*found: 90"):
        simulation.write(Simulation(format="kkbox", users=2, plays=500, tracks=50, days=90), tmp_path)
