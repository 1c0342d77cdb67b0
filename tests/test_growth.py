"""What an ingest that goes on from an earlier one makes is what reading everything makes."""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.config import Store
from schemas.loading import load
from schemas.tables import Quarantine
from tasks import admitted, growth, ingest, parts, stages, store
from tasks.admitted import Tally
from tasks.forgetting import removal, tombstones
from tasks.sources import spotify_export
from tasks.store import Entry, digest_file
from tasks.warehouse import Warehouse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2024, 5, 1, 8, tzinfo=UTC)
MINUTES = 90  # within which all moments lie: few, so that they meet
Record = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS", 4)
        yield


def ingested(raw: Path | list[Path], store: Path, now: datetime = NOW) -> Entry:
    roots = json.dumps(list(map(str, raw if isinstance(raw, list) else [raw])))
    given = ["source.kind=spotify_export", f"source.path={roots}", f"store.path={store}"]
    given += ["source.max_refused_share=.95"]
    return stages.ingested(load(None, given), None, now)


def same(grown: Entry, fresh: Entry) -> None:
    """Every table row by row, plays also in their order, and every fact."""
    assert grown.key == fresh.key
    assert grown.facts == fresh.facts
    assert set(grown.tables) == set(fresh.tables)
    for name, table in grown.tables.items():
        frames = [pl.read_parquet(each) for each in (table.path, fresh.tables[name].path)]
        if name != "plays":
            frames = [each.sort(pl.all().exclude(pl.List(pl.String))) for each in frames]
        assert frames[0].equals(frames[1]), name
        assert table.digest == fresh.tables[name].digest


def write(path: Path, records: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(list(records), indent=1, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")


def extended(minute: int, song: int, ms: int, second: int = 0) -> Record:
    return {
        "ts": f"{START + timedelta(minutes=minute, seconds=second):%Y-%m-%dT%H:%M:%SZ}",
        "ms_played": ms,
        "platform": "Android OS 12 (a phone)",
        "master_metadata_track_name": f"Song {song}",
        "master_metadata_album_artist_name": f"Bänd {song % 3}",
        "master_metadata_album_album_name": "Album" if song % 2 else None,
        "spotify_track_uri": f"spotify:track:{song}",
        "reason_end": "trackdone",
    }


def account(minute: int, song: int, ms: int) -> Record:
    return {
        "endTime": f"{START + timedelta(minutes=minute):%Y-%m-%d %H:%M}",
        "artistName": f"Bänd {song % 3}",
        "trackName": f"Song {song}",
        "msPlayed": ms,
    }


def episode(minute: int, number: int) -> Record:
    return {
        "ts": f"{START + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}",
        "ms_played": 600_000,
        "episode_show_name": f"Bänd {number % 3}",
        "episode_name": f"Song {number}",
    }


def error(minute: int) -> Record:
    return {"timestamp_utc": f"{START + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S.250Z}"}


MINUTE, SONG = st.integers(0, MINUTES), st.integers(0, 4)
LENGTH = st.sampled_from([0, 900, 31_000, 200_000, 5_400_000])  # the last is longer than many gaps
HISTORY = {
    "MyData/StreamingHistory_music_0.json": st.builds(account, MINUTE, SONG, LENGTH),
    "MyData/StreamingHistory_music_1.json": st.builds(account, MINUTE, SONG, LENGTH),
    "Spotify Extended Streaming History/Streaming_History_Audio_2024_0.json": st.one_of(
        st.builds(extended, MINUTE, SONG, LENGTH, st.integers(0, 59)),
        st.builds(extended, MINUTE, SONG, st.just(-5)),  # refused
        st.builds(episode, MINUTE, st.integers(4, 6)),
    ),
    "newer/endsong_10.json": st.builds(extended, MINUTE, SONG, LENGTH, st.integers(0, 59)),
    "Spotify Technical Log Information/ConnectionError.json": st.builds(error, MINUTE),
    "Spotify Technical Log Information/Other.json": st.builds(error, MINUTE),
}
FILES = [f"{user}/{name}" for user in ("ann", "bob") for name in HISTORY]


@st.composite
def exports(draw: st.DrawFn) -> list[dict[str, list[Record]]]:
    """Records by file; then twice those that come later, at the end of some files or in new ones."""
    told = [{}, {}, {}]
    for step, (few, most) in zip(told, ((3, 8), (1, 5), (1, 5)), strict=True):
        for name in draw(st.sets(st.sampled_from(FILES), min_size=few)):
            step[name] = draw(st.lists(HISTORY[name.split("/", 1)[1]], max_size=most))
    told[0].setdefault(FILES[0], []).append(account(3, 1, 31_000))  # without a play all is refused
    return told


def test_parts_that_stand_are_further_names_of_the_same_files(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write(raw / "ann" / "endsong_0.json", [extended(at, at % 5, 31_000) for at in range(0, 60, 6)])
    first = ingested(raw, tmp_path / "store").tables["plays"].path
    appended(raw / "ann" / "endsong_0.json", extended(70, 1, 31_000))
    grown = ingested(raw, tmp_path / "store").tables["plays"]
    names = [f"{number:06}.parquet" for number in range(3)]
    assert [path.name for path in parts.files(first)] == names
    assert [parts.rows(path) for path in parts.files(grown.path)] == [4, 4, 3]
    assert [(first / name).samefile(grown.path / name) for name in names] == [True, True, False]
    assert parts.contents(grown.path, {}).digest == grown.digest


def featurized(raw: Path, store: Path) -> Entry:
    given = ["source.kind=spotify_export", f"source.path={raw}", f"store.path={store}"]
    config = load(None, [*given, "split.min_rows=1"])
    data = stages.ingested(config, None, NOW)
    return stages.featurized(config, data, stages.labelled(config, data))


def test_features_go_on_from_those_of_before(tmp_path: Path) -> None:
    raw, path = tmp_path / "raw", "ann/endsong_0.json"
    ends = ("trackdone", "fwdbtn")
    days = [extended(at * 360, at % 5, 31_000) | {"reason_end": ends[at % 2]} for at in range(40)]
    write(raw / path, days)
    first = featurized(raw, tmp_path / "store")
    appended(raw / path, extended(40 * 360, 1, 31_000))
    grown = featurized(raw, tmp_path / "store").tables["features"]
    pairs = list(zip(parts.files(first.tables["features"].path), parts.files(grown.path), strict=False))
    assert [old.samefile(new) for old, new in pairs] == [True] * 9 + [False]
    fresh = featurized(raw, tmp_path / "fresh").tables["features"]
    assert grown.digest == fresh.digest
    assert pl.read_parquet(grown.path).equals(pl.read_parquet(fresh.path))
    shutil.rmtree(first.path)  # what is gone cannot be gone on from, what goes on from it stays
    appended(raw / path, extended(41 * 360, 1, 31_000))
    last = featurized(raw, tmp_path / "store").tables["features"]
    assert last.digest == featurized(raw, tmp_path / "new").tables["features"].digest


@pytest.mark.parametrize(
    ("standing", "written", "shared"),
    [
        ([("ann", 0), ("ann", 1), ("bob", 0)], [("ann", 2), ("bob", 1), ("eve", 0)], []),
        ([], [("ann", 0), ("ann", 1), ("ann", 1)], [("ann", 1, 2)]),
        ([("ann", 0), ("ann", 1), ("bob", 0)], [("ann", 1), ("bob", 1)], [("ann", 1, 2)]),
    ],
)
def test_keys_are_compared_with_those_of_plays_that_stand(
    standing: list[Any], written: list[Any], shared: list[Any], tmp_path: Path
) -> None:
    columns = {"user_id": pl.String, "seq": pl.Int64}
    with Warehouse(Store(path=tmp_path)) as warehouse:
        warehouse.relation("standing_plays", pl.DataFrame(standing, columns, orient="row"))
        warehouse.relation("written_plays", pl.DataFrame(written, columns, orient="row"))
        assert warehouse.frame("checks/plays_key").rows() == shared


def test_a_part_is_told_by_what_is_known_of_its_file(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    table.mkdir()
    for number in range(3):
        pl.DataFrame({"n": [number, number + 1]}).write_parquet(parts.part(table, number))
    told = parts.contents(table, {})
    another = tmp_path / "another.parquet"
    parts.link(parts.part(table, 1), another)
    of = parts.identity(another)
    assert of is not None
    wrong = {of: parts.Sums(2, 3, 4)}
    assert parts.contents(table, wrong).sums == [told.sums[0], parts.Sums(2, 3, 4), told.sums[2]]
    assert [parts.identity(path) for path in parts.files(table)] == [None, of, None]
    whole = tmp_path / "whole.parquet"
    pl.read_parquet(table).write_parquet(whole)
    assert parts.contents(whole, {}).digest == told.digest


@settings(
    max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate]
)  # shrinking takes minutes
@given(exports())
def test_going_on_is_the_same_as_reading_everything(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, list[Record]]]
) -> None:
    folder = tmp_path_factory.mktemp("growth")
    raw = folder / "raw"
    before: dict[str, list[Record]] = {}
    grown = None
    for step in told:
        before |= {name: before.get(name, []) + records for name, records in step.items()}
        for name in step:
            write(raw / name, before[name])
        grown = ingested(raw, folder / "store")
    assert grown is not None
    same(grown, ingested(raw, folder / "fresh"))
    shutil.rmtree(folder)


def play_history(folder: Path) -> None:
    """One account with two packages, a podcast, a refused record, errors and a saved track."""
    plays = [account(at, at % 5, 31_000) for at in [*range(0, 60, 7), 164]]
    plays += [account(170, 9, 31_000)]
    write(folder / "StreamingHistory_music_0.json", plays)
    plays = [extended(at, at % 5, 31_000, 12) for at in range(0, 60, 7)]
    plays += [episode(70, 3), extended(80, 2, -5), extended(90, 2, 5_400_000)]
    plays += [
        extended(100, 1, 900),
        extended(100, 2, 31_400, 31),
    ]  # the first's end moves the second's start
    write(folder / "endsong_0.json", plays)
    write(folder / "ConnectionError.json", [error(3), error(50)])
    library(folder, 9)  # alone knows the uri of a song that only account data has


def library(folder: Path, song: int) -> None:
    saved = {
        "artist": f"Bänd {song % 3}",
        "track": f"song {song}",
        "album": "Kept",
        "uri": f"spotify:track:{song}x",
    }
    (folder / "YourLibrary.json").write_text(json.dumps({"tracks": [saved]}), encoding="utf-8")


def appended(path: Path, *records: Record) -> None:
    write(path, [*json.loads(path.read_text(encoding="utf-8")), *records])


def zipped(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*.json")):
            archive.write(path, path.relative_to(folder))


def newer_zip(raw: Path) -> None:
    """The second account's archive again, with more in it."""
    with zipfile.ZipFile(raw / "bob.zip") as archive:
        archive.extractall(raw.parent / "bob")
    appended(raw.parent / "bob" / "endsong_0.json", extended(95, 4, 900))
    zipped(raw.parent / "bob", raw / "bob.zip")


GROWING = {
    "a later play": lambda raw: appended(raw / "ann" / "endsong_0.json", extended(200, 1, 31_000)),
    "a late play": lambda raw: appended(raw / "ann" / "endsong_0.json", extended(20, 1, 900)),
    "a play of each package": lambda raw: (
        appended(raw / "ann" / "endsong_0.json", extended(61, 1, 31_000, 30)),
        appended(raw / "ann" / "StreamingHistory_music_0.json", account(61, 1, 31_000)),
    ),
    "a play that other data has to the minute": lambda raw: appended(
        raw / "ann" / "endsong_0.json", extended(164, 4, 31_000, 30)
    ),
    "a listen for the second time in one of two packages": lambda raw: appended(
        raw / "ann" / "StreamingHistory_music_0.json", account(7, 2, 31_000)
    ),
    "a play that ends between two": lambda raw: appended(
        raw / "ann" / "endsong_0.json", extended(100, 4, 500, 1)
    ),
    "only errors": lambda raw: appended(raw / "ann" / "ConnectionError.json", error(60)),
    "only refused plays": lambda raw: appended(raw / "ann" / "endsong_0.json", extended(300, 1, -1)),
    "an empty list that fills": lambda raw: appended(
        raw / "ann" / "endsong_1.json", extended(9, 1, 900)
    ),
    "another package": lambda raw: shutil.copytree(raw / "ann", raw / "ann" / "again"),
    "another account": lambda raw: play_history(raw / "carl"),
    "another library": lambda raw: library(raw / "ann", 2),
    "an archive with more in it": newer_zip,
    "the play of a known podcast": lambda raw: appended(
        raw / "ann" / "StreamingHistory_music_0.json", account(99, 3, 31_000)
    ),
}
CHANGED = {
    "another record": lambda raw: write(raw / "ann" / "ConnectionError.json", [error(4), error(50)]),
    "a record less": lambda raw: write(raw / "ann" / "ConnectionError.json", [error(3)]),
    "a file less": lambda raw: (raw / "ann" / "ConnectionError.json").unlink(),
    "a podcast that account data took for a track": lambda raw: appended(
        raw / "ann" / "endsong_0.json", episode(300, 4)
    ),
    "a user name to compare": lambda raw: appended(
        raw / "ann" / "endsong_0.json", extended(300, 1, 31_000) | {"username": "somebody"}
    ),
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two accounts, the second in an archive."""
    play_history(tmp_path / "raw" / "ann")
    write(tmp_path / "raw" / "ann" / "endsong_1.json", [])
    play_history(tmp_path / "bob")
    zipped(tmp_path / "bob", tmp_path / "raw" / "bob.zip")
    return tmp_path / "raw"


@pytest.mark.parametrize("what", GROWING)
def test_only_what_is_new_is_read(
    what: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(raw, tmp_path / "store")
    GROWING[what](raw)
    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        grown = ingested(raw, tmp_path / "store")
    same(grown, ingested(raw, tmp_path / "fresh"))


def forbidden(_: Path) -> growth.Base:
    raise AssertionError("everything is read again")


@pytest.mark.parametrize("what", CHANGED)
def test_where_old_records_changed_everything_is_read(
    what: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(raw, tmp_path / "store")
    CHANGED[what](raw)
    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        with pytest.raises(AssertionError, match="everything is read again"):
            ingested(raw, tmp_path / "store")
    same(ingested(raw, tmp_path / "store"), ingested(raw, tmp_path / "fresh"))


def test_each_file_is_hashed_once(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it grew; what lies in an archive is hashed by itself."""
    hashed: list[Path] = []

    def told(path: Path, ends: Iterable[int]) -> tuple[str, dict[int, str]]:
        hashed.append(path)
        return digest_file(path, ends)

    monkeypatch.setattr(store, "digest_file", told)
    monkeypatch.setattr(spotify_export, "digest_file", told)
    for grow in (lambda _: None, GROWING["a play of each package"], CHANGED["a record less"]):
        grow(raw)
        hashed.clear()
        ingested(raw, tmp_path / "store")
        loose = [path for path in hashed if path.is_relative_to(raw)]
        assert sorted(loose) == sorted(path for path in raw.rglob("*.*") if path.is_file())


def test_a_file_that_grows_while_it_is_read_is_hashed_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new digest is of the records that were read: the next reading goes on from there."""
    ingested(raw, tmp_path / "store")
    GROWING["a later play"](raw)
    before = ingest.ingest

    def late(*given: Any) -> dict[str, Any]:
        appended(raw / "ann" / "endsong_0.json", extended(210, 1, 31_000))
        return before(*given)

    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        patched.setattr(ingest, "ingest", functools.wraps(before)(late))
        ingested(raw, tmp_path / "store")
        patched.setattr(ingest, "ingest", before)
        appended(raw / "ann" / "endsong_0.json", extended(220, 1, 31_000))
        grown = ingested(raw, tmp_path / "store")
    same(grown, ingested(raw, tmp_path / "fresh"))


def test_a_play_of_the_future_may_have_happened_since(raw: Path, tmp_path: Path) -> None:
    """It was refused once; whether it still is only reading it again can tell."""
    minute = int((NOW - START) / timedelta(minutes=1))
    appended(raw / "ann" / "endsong_0.json", extended(minute + 10, 1, 31_000))
    first = ingested(raw, tmp_path / "store")
    assert any(growth.FUTURE in row["reason"] for row in first.facts["refused"])
    appended(raw / "ann" / "endsong_0.json", extended(300, 1, 31_000))
    later = NOW + timedelta(days=1)
    grown = ingested(raw, tmp_path / "store", later)
    assert grown.tables["plays"].rows == first.tables["plays"].rows + 2
    same(grown, ingested(raw, tmp_path / "fresh", later))


def test_forgotten_listeners_stay_so(raw: Path, tmp_path: Path) -> None:
    ingested(raw, tmp_path / "store")
    tombstones.bury(tmp_path / "store", "bob", [], [], NOW)
    for minute in (
        300,
        301,
    ):  # what another way of reading made is not gone on from, nor what left them out
        appended(raw / "ann" / "endsong_0.json", extended(minute, 1, 31_000))
        told = ingested(raw, tmp_path / "store")
        assert pl.read_parquet(told.tables["plays"].path)["user_id"].unique().to_list() == ["ann"]
        assert told.facts["forgotten"]["plays"] > 0
        assert not (told.path / "kept").exists()


def test_nothing_is_kept_of_who_has_a_file_but_no_plays(raw: Path, tmp_path: Path) -> None:
    (raw / "carl").mkdir()
    library(raw / "carl", 3)
    told = ingested(raw, tmp_path / "store")
    assert removal.search(tmp_path / "store", ("carl",)).with_them
    assert not removal.search(tmp_path / "store", ("dan",)).with_them
    tombstones.bury(tmp_path / "store", "carl", [], [], NOW)
    later = ingested(raw, tmp_path / "store")
    assert later.key != told.key
    assert (told.path / "kept").exists()
    assert not (later.path / "kept").exists()


def test_a_tombstone_of_somebody_else_changes_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstones.bury(tmp_path / "store", "dan", [], [], NOW)
    (tmp_path / "fresh").mkdir()
    shutil.copy(tmp_path / "store" / "forgotten.json", tmp_path / "fresh")
    ingested(raw, tmp_path / "store")
    GROWING["a later play"](raw)
    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        grown = ingested(raw, tmp_path / "store")
    same(grown, ingested(raw, tmp_path / "fresh"))


def listens(path: Path, *rows: str) -> None:
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(["user_name,artist_name,track_name,listened_at,duration_ms", *rows, ""])
    path.write_text(text, encoding="utf-8")


DAYS = {
    "1.csv": ["ann,Björk,Jóga,1588334400,300000", "bob,björk,jóga,1588334400,", "bob,,x,1588334500,"],
    "2.csv": ["bob,Björk,Jóga,1588420800,310000", "cat,Björk,Jóga,1588420801,305000"],
    "3.csv": ["ann,björk,jóga,1588334700,", "dan,Rez,Rez,1588420900,1", "dan,Rez,Rez,1588420900,1"],
}


def scrobbled(raw: Path | list[Path], store: Path, *more: str) -> Entry:
    roots = json.dumps(list(map(str, raw if isinstance(raw, list) else [raw])))
    given = ["source.kind=scrobbles", f"source.path={roots}", f"store.path={store}", *more]
    return stages.ingested(load(None, [*given, "source.max_refused_share=.9"]), None, NOW)


def test_of_scrobbles_only_new_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third has a late play, a spelling that makes another one the most frequent, and twins."""
    raw = tmp_path / "raw"
    listens(raw / "1.csv", *DAYS["1.csv"])
    scrobbled(raw, tmp_path / "store")
    for name in ("2.csv", "3.csv"):
        listens(raw / name, *DAYS[name])
        with monkeypatch.context() as patched:
            patched.setattr(growth, "nothing", forbidden)
            grown = scrobbled(raw, tmp_path / "store")
        same(grown, scrobbled(raw, tmp_path / f"fresh without {name}"))
    assert grown.facts["rows"] | {"tracks": 2, "plays": 7, "quarantine": 1} == grown.facts["rows"]
    tracks = pl.read_parquet(grown.tables["tracks"].path)
    assert tracks.filter(pl.col("artist").str.to_lowercase() == "björk")["duration_ms"].item() == 305_000
    listens(raw / "1.csv", *DAYS["1.csv"][1:])
    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        with pytest.raises(AssertionError, match="read again"):
            scrobbled(raw, tmp_path / "store")
    same(scrobbled(raw, tmp_path / "store"), scrobbled(raw, tmp_path / "fresh"))


def test_files_of_folders_with_one_name_stay_apart(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "raw#1", tmp_path / "b" / "raw#1"
    for folder, name in ((first, "1.csv"), (second, "3.csv")):
        folder.parent.mkdir()
        listens(folder / "1.csv", *DAYS[name])
    scrobbled([first], tmp_path / "store")
    grown = scrobbled([first, second], tmp_path / "store")
    assert grown.facts["rows"]["plays"] == 5
    same(grown, scrobbled([first, second], tmp_path / "fresh"))


def test_packages_of_folders_with_one_name_stay_apart(tmp_path: Path) -> None:
    """The third is called as the first would be, were it the third."""
    roots = [tmp_path / "x" / "raw#3", tmp_path / "a" / "raw", tmp_path / "b" / "raw"]
    for number, root in enumerate(roots, start=1):
        write(root / "endsong_0.json", [extended(9, 1, 900)] * number)
    ingested(roots[:2], tmp_path / "store")
    grown = ingested(roots, tmp_path / "store")
    assert grown.facts["read"]["plays"] == 6
    same(grown, ingested(roots, tmp_path / "fresh"))


def test_a_file_of_the_catalogue_that_becomes_one_of_the_source_is_read(tmp_path: Path) -> None:
    plays, described = tmp_path / "plays", tmp_path / "described"
    listens(plays / "1.csv", *DAYS["1.csv"])
    described.mkdir()
    text = "artist_name,track_name,listened_at,user_name,name,artist\nRez,Rez,1588420900,eve,Rez,Rez\n"
    (described / "2.csv").write_text(text)
    catalogue = f"catalogue.path={json.dumps([str(described)])}"
    scrobbled([plays], tmp_path / "store", catalogue)
    both = [plays, described]
    grown = scrobbled(both, tmp_path / "store", catalogue)
    assert grown.facts["rows"]["plays"] == 3
    same(grown, scrobbled(both, tmp_path / "fresh", catalogue))


def described(folder: Path, *tracks: str) -> str:
    """A catalogue's setting, of tracks by an artist of the same name."""
    folder.mkdir(exist_ok=True)
    text = "\n".join(["name,artist", *(f"{each},{each}" for each in tracks), ""])
    (folder / "tracks.csv").write_text(text, encoding="utf-8")
    return f"catalogue.path={json.dumps([str(folder)])}"


def test_a_catalogue_that_changes_meanwhile_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only it named goes with it, unless a play names it by now; what plays name stays."""
    plays = tmp_path / "plays"
    listens(plays / "1.csv", *DAYS["1.csv"])
    scrobbled([plays], tmp_path / "store", described(tmp_path / "music", "Rez", "Gone", "Stays"))
    listens(plays / "3.csv", *DAYS["3.csv"])
    changed = described(tmp_path / "music", "Stays", "New")
    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        grown = scrobbled([plays], tmp_path / "store", changed)
    same(grown, scrobbled([plays], tmp_path / "fresh", changed))
    tracks = pl.read_parquet(grown.tables["tracks"].path)
    assert sorted(tracks["name"]) == ["New", "Rez", "Stays", "jóga"]


UNNAMED = ["Song 1", "Song 5", "song 9", "Song 9"]


def test_tracks_that_only_earlier_plays_name_are_added_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if their own rows were refused: Song 1 has old plays, Song 5 new ones, song 9 both."""

    def valid(warehouse: Warehouse, table: str, tally: Tally) -> Iterator[pl.DataFrame]:
        for good in admitted.valid(warehouse, table, tally):
            yield good.filter(~pl.col("name").is_in(UNNAMED)) if table == "tracks" else good

    monkeypatch.setattr(ingest, "valid", valid)
    first = ingested(raw, tmp_path / "store")
    assert first.facts["added"]["tracks"] == 2
    appended(raw / "ann" / "endsong_0.json", *(extended(200 + song, song, 900) for song in (5, 9)))
    with monkeypatch.context() as patched:
        patched.setattr(growth, "nothing", forbidden)
        grown = ingested(raw, tmp_path / "store")
    assert grown.facts["added"] == {"tracks": 3, "users": 0}
    same(grown, ingested(raw, tmp_path / "fresh"))


def test_rows_that_came_bit_by_bit_are_written_together(tmp_path: Path) -> None:
    frame = pl.DataFrame({"table": list("abcdefghij"), "position": range(10)}).select(
        "table", pl.lit("f").alias("file"), "position", pl.lit("c").alias("column"),
        pl.lit("r").alias("reason"),
    )  # fmt: skip
    before = None
    for number, rows in enumerate((1, 3, 5, 7, 9, 10)):
        path = tmp_path / f"{number}.parquet"
        first = rows - 2 if before else 0
        with admitted.parquet(path, Quarantine, before, first) as add:
            add(frame[first:rows])
        before = path
    assert before is not None
    assert pl.read_parquet(before).equals(frame)
    told = pq.ParquetFile(before).metadata
    assert [told.row_group(place).num_rows for place in range(told.num_row_groups)] == [4, 4, 2]


def test_a_part_that_vanished_is_not_passed_over(raw: Path, tmp_path: Path) -> None:
    """As while `gc` removes what a run goes on from: everything is read, and nothing is lost."""
    write(raw / "ann" / "endsong_2.json", [extended(at, at % 5, 900) for at in range(300, 320)])
    first = ingested(raw, tmp_path / "store").tables["plays"].path
    appended(raw / "ann" / "endsong_2.json", extended(330, 1, 900))
    in_parts = admitted.in_parts

    @contextmanager
    def late(*given: Any) -> Iterator[Any]:
        parts.part(first, 1).unlink(missing_ok=True)
        with in_parts(*given) as add:
            yield add

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ingest, "in_parts", late)
        grown = ingested(raw, tmp_path / "store")
    same(grown, ingested(raw, tmp_path / "fresh"))
