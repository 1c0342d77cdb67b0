"""From raw relations to canonical tables: refusals, merged packages, order, lineage."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import tables
from schemas.config import Config, Source
from schemas.errors import InputError
from tasks import admitted, ordering
from tasks import ingest as module
from tasks.ingest import ingest, raw_files, resolve
from tasks.sources import kkbox
from tasks.sources.earlier import Earlier
from tasks.warehouse import Warehouse
from tests.sources.staged import lines

KKBOX = Path(__file__).parent / "fixtures" / "kkbox"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2020, 5, 1, 12, tzinfo=UTC)
FINE = "extended/audio_1.json"
COARSE = "account/StreamingHistory0.json"


class Fake:
    """A reader that has its raw relations already."""

    def __init__(self, **rows: list[dict[str, Any]]) -> None:
        self.frames = {
            name: pl.DataFrame(
                [dict.fromkeys(tables.columns(model)) | row for row in rows.get(name, [])],
                schema=tables.columns(model),
            )
            for name, model in tables.SOURCE_TABLES.items()
        }

    def files(self, settings: Source) -> list[Path]:
        return [path for root in settings.path for path in sorted(root.rglob("*.json"))]

    def stage(
        self, settings: Source, scratch: Path, warehouse: Warehouse, _earlier: Earlier, /
    ) -> Mapping[str, Any]:
        for name, frame in self.frames.items():
            path = scratch / f"raw_{name}.parquet"
            # as DuckDB's own readers give times: in microseconds
            frame.with_columns(pl.col(pl.Datetime("ms", "UTC")).dt.cast_time_unit("us")).write_parquet(
                path
            )
            warehouse.relation(f"raw_{name}", path)
        return {"seen": len(self.frames)}


def play(end: datetime | None, ms: int | None = 60_000, track: str = "t", **more: Any) -> dict[str, Any]:
    """A raw play as a reader of a timed source gives it."""
    fine = more.get("file", FINE).startswith("extended")
    known = end is not None and ms is not None
    return {
        "user_id": "ann",
        "seq": 0,
        "track_id": track,
        "started_at": end - timedelta(milliseconds=ms) if known else None,  # type: ignore[operator, arg-type]
        "ended_at": end,
        "resolution": "second" if fine else "minute",
        "platform": "ios" if fine else None,
        "ms_played": ms,
        "file": FINE,
        "position": 0,
    } | more


def numbered(plays: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Positions by place in the list."""
    return [each | {"position": place} for place, each in enumerate(plays)]


def config(folder: Path, **source: Any) -> Config:
    values = {"kind": "spotify_export", "path": folder} | source
    return Config.model_validate({"source": values, "store": {"path": folder / "store"}})


def run(
    reader: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **source: Any
) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
    """Ingest with a fake reader; facts and tables."""
    monkeypatch.setattr(module, "READERS", {"spotify_export": reader, "kkbox": reader})
    out = Path(tempfile.mkdtemp(dir=folder))
    facts = ingest(config(folder, **source), NOW, out)
    found = {path.stem: pl.read_parquet(path) for path in sorted(out.iterdir())}
    assert set(found) == {*tables.SOURCE_TABLES, "quarantine"}
    for name, model in tables.SOURCE_TABLES.items():
        assert found[name].schema == pl.Schema(tables.columns(model))
        assert facts["rows"][name] == found[name].height
    return facts, found


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def test_bad_rows_go_to_quarantine_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = numbered(
        [
            play(minutes(0)),
            play(minutes(1), track=None),  # type: ignore[arg-type]
            play(minutes(2), ms=-4),
            play(minutes(3), ms=10**11),
            play(datetime(2004, 6, 1, tzinfo=UTC)),
            play(NOW + timedelta(seconds=1)),
            play(None),
            play(minutes(7), ms=None),
            play(minutes(8)),
        ]
    )
    facts, found = run(Fake(plays=rows), tmp_path, monkeypatch, max_refused_share=0.9)
    assert found["plays"]["position"].to_list() == [0, 8]
    assert found["quarantine"].sort("position").rows() == [
        ("plays", FINE, 1, "track_id", "track_id: missing"),
        ("plays", FINE, 2, "ms_played", "ms_played: not in 0..86400000"),
        ("plays", FINE, 3, "ms_played", "ms_played: not in 0..86400000"),
        ("plays", FINE, 4, "ended_at", "ended_at: before 2005-01-01"),
        ("plays", FINE, 5, "ended_at", "ended_at: in the future"),
        ("plays", FINE, 6, "ended_at", "ended_at: missing"),
        ("plays", FINE, 7, "ms_played", "ms_played: missing"),
    ]
    assert facts["read"]["plays"] == 9
    assert facts["refused"][0] == {
        "table": "plays", "column": "ms_played", "reason": "ms_played: not in 0..86400000", "rows": 2,
    }  # fmt: skip
    assert sum(each["rows"] for each in facts["refused"]) == 7
    assert facts["merged_duplicates"] == 0
    assert (facts["clock"], facts["reader"]) == ("time", {"seen": 4})
    assert facts["data_start"] == "2020-05-01T11:59:00+00:00"
    assert facts["data_end"] == "2020-05-01T12:08:00+00:00"


def test_a_play_ending_now_is_not_of_the_future(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, _ = run(Fake(plays=[play(NOW)]), tmp_path, monkeypatch)
    assert facts["refused"] == []


def test_too_many_refused_plays_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = numbered([play(minutes(i), ms=-1 if i % 10 == 0 else 5) for i in range(100)])
    run(Fake(plays=rows), tmp_path, monkeypatch, max_refused_share=0.1)  # just as many as allowed
    with pytest.raises(InputError) as caught:
        run(Fake(plays=rows), tmp_path, monkeypatch, max_refused_share=0.09)
    for words in ("10 of 100 plays", "ms_played: not in", "10 rows", f"{FINE} at record 0", "0.09"):
        assert words in str(caught.value)


def test_without_a_valid_play_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no plays in it.*check source\.path"):
        run(Fake(), tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"all 1 plays are refused.*ms_played"):
        run(Fake(plays=[play(NOON, ms=-1)]), tmp_path, monkeypatch, max_refused_share=1)


def test_overlapping_packages_are_merged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = timedelta(seconds=17)
    extended = numbered(
        [
            play(minutes(0) + second),
            play(minutes(1) + second),
            play(minutes(2) + second, track="twice"),
            play(minutes(2) + second, track="twice"),  # two rows of one package are two plays
            play(minutes(4) + second),
        ]
    )
    account = numbered(
        [
            play(minutes(0), file=COARSE),  # of these, extended has one
            play(minutes(0), file=COARSE),
            play(minutes(1), file=COARSE),  # extended has it
            play(minutes(1), track="other", file=COARSE),  # other track
            play(minutes(1), ms=59_999, file=COARSE),  # other length
            play(minutes(2), track="twice", file=COARSE),
            play(minutes(1), user_id="bob", file="bob/StreamingHistory0.json"),  # other user
        ]
    )
    again = [each | {"file": "again/StreamingHistory0.json"} for each in account]  # asked for twice
    facts, found = run(Fake(plays=account + again + extended), tmp_path, monkeypatch)
    plays = found["plays"].filter(pl.col("user_id") == "ann")
    kept = Counter(plays.select("track_id", "ms_played", "resolution").rows())
    assert kept == {
        ("t", 60_000, "second"): 3,
        ("twice", 60_000, "second"): 2,
        ("t", 60_000, "minute"): 1,  # the account's second play at 12:00
        ("other", 60_000, "minute"): 1,
        ("t", 59_999, "minute"): 1,
    }
    assert plays.filter(pl.col("resolution") == "second")["platform"].null_count() == 0
    assert plays.filter(pl.col("file").str.starts_with("extended"))["position"].sort().to_list() == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert facts["merged_duplicates"] == len(account + again + extended) - found["plays"].height == 10
    assert found["users"]["user_id"].sort().to_list() == ["ann", "bob"]


def test_one_package_is_never_deduplicated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = numbered([play(NOON)] * 3 + [play(NOON, file="extended/audio_2.json")] * 2)
    facts, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    assert (found["plays"].height, facts["merged_duplicates"]) == (5, 0)


def test_minute_rounding_does_not_scramble_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "account/StreamingHistory{}.json".format
    rows = [
        # file 10 comes after 9, though not by letters; rows come in any order
        play(minutes(5), ms=30_000, track="e", file=name(10), position=0),
        play(minutes(5), ms=20_000, track="d", file=name(9), position=1),
        play(minutes(5), ms=200_000, track="c", file=name(9), position=0),
        play(minutes(1), ms=50_000, track="a", file=name(2), position=7),
        play(minutes(4), ms=170_000, track="b", file=name(2), position=8),
        play(minutes(9), ms=60_000, track="f", file=name(10), position=1),
    ]
    _, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    plays = found["plays"]
    assert plays["track_id"].to_list() == ["a", "b", "c", "d", "e", "f"]
    assert plays["seq"].to_list() == [0, 1, 2, 3, 4, 5]
    starts = [(each - NOON).total_seconds() for each in plays["started_at"]]
    # b's own start, 1:10, is after a's end; c's is not after b's, and d and e have no room left
    assert starts == [10, 70, 240, 300, 300, 480]
    assert [(each - NOON).total_seconds() for each in plays["ended_at"]] == [60, 240, 300, 300, 300, 540]


def test_second_resolution_plays_are_ordered_by_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        play(minutes(10), ms=60_000, track="late", position=0),
        play(minutes(10.5), ms=600_000, track="long", position=1),  # overlaps: another device
        play(minutes(10), ms=60_000, track="late too", position=2),
        play(minutes(9), ms=60_000, track="bob's", user_id="bob", position=3),
    ]
    _, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    assert found["plays"].select("user_id", "seq", "track_id").rows() == [
        ("ann", 0, "long"), ("bob", 0, "bob's"), ("ann", 1, "late"), ("ann", 2, "late too"),
    ]  # fmt: skip
    assert found["plays"]["started_at"][0] == minutes(0.5)  # not clamped: it is exact


def test_mixed_resolutions_interleave_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        play(minutes(3), ms=170_000, track="coarse", file=COARSE, position=0),
        play(minutes(1.5), ms=60_000, track="fine", position=0),
        play(minutes(6.5), ms=180_000, track="fine too", position=1),
    ]
    _, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    assert found["plays"]["track_id"].to_list() == ["fine", "coarse", "fine too"]
    assert found["plays"]["started_at"].to_list() == [minutes(0.5), minutes(1.5), minutes(3.5)]


listens = st.tuples(st.integers(0, 4), st.sampled_from(["x", "y"]), st.sampled_from([0, 40_000]))
packages = st.lists(
    st.tuples(st.booleans(), st.lists(st.tuples(listens, st.integers(0, 59)), max_size=8)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(listeners=st.lists(packages, min_size=1, max_size=15), seed=st.integers(0, 1_000))
def test_merging_keeps_the_largest_multiplicity_whatever_the_order(
    listeners: list[Any], seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, Any]] = []
    wanted: Counter[Any] = Counter()
    wanted_fine: Counter[Any] = Counter()
    for user, (number, (fine, package)) in (
        (f"user{user}", each) for user, listener in enumerate(listeners) for each in enumerate(listener)
    ):
        count = Counter((user, *listen) for listen, _ in package)
        wanted |= count
        wanted_fine |= count if fine else Counter()
        for place, ((minute, track, ms), second) in enumerate(package):
            end = minutes(minute) + timedelta(seconds=second if fine else 0)
            file = f"{'extended' if fine else 'account'}{number}/{user}/part{place % 3}.json"
            rows.append(play(end, ms, track, user_id=user, file=file, position=place))
    if not rows:
        return
    _, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    plays = found["plays"]
    minute = (pl.col("ended_at") - NOON).dt.total_minutes().alias("minute")
    key = ("user_id", minute, "track_id", "ms_played")
    assert Counter(plays.select(key).rows()) == wanted
    assert Counter(plays.filter(pl.col("resolution") == "second").select(key).rows()) == wanted_fine
    assert plays.select("file", "position").is_unique().all()  # no raw record twice
    assert plays.equals(plays.sort("started_at", "user_id", "seq"))
    for _, own in plays.group_by("user_id"):
        assert own["seq"].to_list() == list(range(own.height))
    assert (plays["started_at"] <= plays["ended_at"]).all()
    random.Random(seed).shuffle(rows)
    assert run(Fake(plays=rows), tmp_path, monkeypatch)[1]["plays"].equals(plays)


def test_what_only_plays_and_errors_name_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = {"at": NOON, "kind": "playback", "file": "log.json", "position": 0}
    reader = Fake(
        plays=numbered([play(minutes(0), track="known"), play(minutes(2), track="unknown")]),
        tracks=[{"track_id": "known", "name": "Known"}, {"track_id": "unheard", "name": "Unheard"}],
        users=[{"user_id": "ann", "age": 30}, {"user_id": "cid"}, {"user_id": None}],
        errors=[error | {"user_id": "dan"}, error | {"user_id": "ann", "kind": "odd"}],
    )
    facts, found = run(reader, tmp_path, monkeypatch)
    assert found["tracks"].select("track_id", "name").sort("track_id").rows() == [
        ("known", "Known"), ("unheard", "Unheard"), ("unknown", None),
    ]  # fmt: skip
    assert found["users"].select("user_id", "age").rows() == [("ann", 30), ("cid", None), ("dan", None)]
    assert found["errors"]["user_id"].to_list() == ["dan"]
    assert facts["added"] == {"tracks": 1, "users": 1}
    assert found["quarantine"].select("table", "position", "reason").sort("table").rows() == [
        ("errors", 0, "kind: not one of connection, playback"),
        ("users", 2, "user_id: missing"),
    ]


def test_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = numbered(
        [play(minutes(i % 7), ms=-1 if i == 23 else 100, track=f"t{i % 5}") for i in range(50)]
    )
    users: list[dict[str, Any]] = [{"user_id": f"user{i}"} for i in range(30)] + [{"user_id": None}]
    whole = run(Fake(plays=rows, users=users), tmp_path, monkeypatch)
    for each in (ordering, admitted):
        monkeypatch.setattr(each, "BATCH", 4)
    parts = run(Fake(plays=rows, users=users), tmp_path, monkeypatch)
    assert parts[0] == whole[0]
    for name, frame in whole[1].items():
        assert parts[1][name].equals(frame), name
    assert (parts[1]["quarantine"].filter(pl.col("table") == "users"))["position"].to_list() == [30]


def test_without_a_clock_row_order_stays(tmp_path: Path) -> None:
    facts = ingest(
        config(KKBOX, kind="kkbox").model_copy(update={"store": _store(tmp_path)}), NOW, tmp_path
    )
    plays = pl.read_parquet(tmp_path / "plays.parquet")
    assert plays["seq"].to_list() == [0, 1, 2, 3, 6, 7]
    assert plays["started_at"].null_count() == 6
    assert (facts["clock"], facts["data_start"], facts["data_end"]) == ("order", 0, 7)
    assert facts["added"] == {"tracks": 1, "users": 0}
    assert pl.read_parquet(tmp_path / "tracks.parquet")["track_id"].to_list() == [
        "s1=", "s2=", "s3=", "s4=", "s9=",
    ]  # fmt: skip


def test_malformed_kkbox_rows_are_in_quarantine(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(KKBOX, tmp_path / "kkbox"))
    (folder / "train.csv").open("a").write("ann=\n")
    (folder / "members.csv").open("a").write("dan=,1\n")
    settings = config(folder, kind="kkbox", max_refused_share=0.5)
    ingest(settings.model_copy(update={"store": _store(tmp_path)}), NOW, tmp_path)
    assert pl.read_parquet(tmp_path / "quarantine.parquet").rows() == [
        ("plays", "train.csv", 6, "user_id", "user_id: missing"),
        ("users", "users", 3, "user_id", "user_id: missing"),
    ]


def _store(folder: Path) -> Any:
    return Config.model_validate({"store": {"path": folder / "store"}}).store


def test_a_broken_reader_is_our_own_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Fake(plays=[play(NOON)])
    reader.frames["plays"] = reader.frames["plays"].drop("country")
    with pytest.raises(ValueError, match="Plays: columns"):
        run(reader, tmp_path, monkeypatch)
    twice = [{"track_id": "t", "name": name} for name in ("one", "two")]
    monkeypatch.setattr(admitted, "BATCH", 1)
    with pytest.raises(ValueError, match="checks/tracks_key: 1 rows"):
        run(Fake(plays=[play(NOON)], tracks=twice), tmp_path, monkeypatch)


def test_nothing_is_left_behind_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError):
        run(Fake(), tmp_path, monkeypatch)
    (left,) = [path for path in tmp_path.iterdir() if path.name != "store"]
    assert list(left.iterdir()) == []


def test_the_key_holds_contents_and_relative_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READERS", {"spotify_export": Fake()})
    first, second = tmp_path / "here" / "export", tmp_path / "there" / "export"
    (first / "ann").mkdir(parents=True)
    (first / "ann" / "a.json").write_text("[1]")
    (first / "b.json").write_text("[1]")
    found = lines(config(first))
    assert [each.split(" ", 1)[1] for each in found] == ["0/export/ann/a.json", "0/export/b.json"]
    assert raw_files(config(first)) == [first / "ann" / "a.json", first / "b.json"]
    shutil.copytree(first, second)
    assert lines(config(second)) == found
    (second / "ann").rename(second / "bob")
    assert lines(config(second)) != found
    (first / "b.json").write_text("[2]")
    assert lines(config(first)) != found
    monkeypatch.setattr(module, "READERS", {"spotify_export": Fake(), "kkbox": kkbox})
    assert len(lines(config(KKBOX, kind="kkbox"))) == 5


def test_a_simulated_source_is_read_in_its_format(tmp_path: Path) -> None:
    simulated = Config.model_validate({"simulation": {"format": "kkbox"}})
    source = resolve(simulated, tmp_path)
    assert (source.kind, source.path) == ("kkbox", (tmp_path / "export",))
    with pytest.raises(ValueError, match="world"):
        resolve(simulated, None)
    real = config(tmp_path)
    assert resolve(real, None) == real.source


def test_a_skip_listed_before_the_whole_track_of_its_minute_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "account/StreamingHistory0.json"
    rows = [
        play(minutes(4), ms=200_000, track="before", file=name, position=0),
        play(minutes(8), ms=2_000, track="skip", file=name, position=1),
        play(minutes(8), ms=204_000, track="whole", file=name, position=2),
    ]
    _, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    assert found["plays"]["track_id"].to_list() == ["before", "whole", "skip"]


def test_a_start_less_than_a_second_before_the_end_of_the_play_before_is_that_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "account/Streaming_History_Audio_2024_0.json"
    rows = [
        play(minutes(3), ms=60_000, track="a", file=name, position=0, resolution="second"),
        play(minutes(4), ms=60_900, track="rounded", file=name, position=1, resolution="second"),
        play(minutes(5), ms=90_000, track="overlapping", file=name, position=2, resolution="second"),
    ]
    _, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    starts = [(each - NOON).total_seconds() for each in found["plays"]["started_at"]]
    assert starts == [120, 180, 210]


def test_two_histories_loose_in_one_folder_are_two_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("me/endsong_0.json", "me/endsong_1.json", "me/Streaming_History_Audio_2021-2022_1.json")
    rows = [
        play(minutes(3), ms=60_000, track="a", file=file, position=0, resolution="second")
        for file in (files[0], files[2])
    ] + [play(minutes(5), ms=60_000, track="b", file=files[1], position=0, resolution="second")]
    told, found = run(Fake(plays=rows), tmp_path, monkeypatch)
    assert found["plays"]["track_id"].to_list() == ["a", "b"]
    assert told["merged_duplicates"] == 1
