"""The stages of lists, one after the other through the store: honest, done once, clear when refused."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas import config
from schemas.config import Config, LightGBM, Models, Store
from schemas.errors import InputError
from schemas.two_stage import Als, Lists, Retrieval
from tasks import stages, store
from tasks.split import Span
from tasks.store import Entry
from tasks.two_stage import lists
from tasks.two_stage import stages as two_stage
from tasks.two_stage.evaluation import scored
from tests import logs
from tests.logs import BASE, Log, Row, play

DAYS, USERS, TRACKS = 56, 12, 90
CATALOGUE: list[Row] = [
    {"track_id": f"t{code:02}", "artist": f"artist {code % 10}", "duration_ms": 200_000,
     "genres": [f"genre {code % 3}"]}
    for code in range(TRACKS)
]  # fmt: skip
PEOPLE: list[Row] = [{"user_id": f"u{code:02}", "age": 20 + code} for code in range(USERS)]
SETTINGS = Config(
    retrieval=Retrieval(candidates=20, neighbours=20, als=Als(factors=4, iterations=5)),
    lists=Lists(horizon_days=7, horizon_share=0.12, training_windows=2, k=5, max_users=8),
    models=Models(lightgbm=LightGBM(max_trees=15, min_data_in_leaf=5, early_stopping=5)),
    evaluation=config.Evaluation(resamples=100),
)
SHORT = SETTINGS.model_copy(update={"lists": SETTINGS.lists.model_copy(update={"training_windows": 1})})
QUICK = SHORT.model_copy(
    update={
        "lists": SHORT.lists.model_copy(
            update={"rankers": ("lightgbm",), "champion_candidate": "lightgbm"}
        )
    }
)


def world(clock: str, seed: int = 0, size: int = 900) -> Log:
    """Plays over ``DAYS`` by users who keep to the tracks of one genre, and some more than others."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, DAYS * 24 * 60, size))
    user = rng.integers(0, USERS, size)
    track = np.minimum(rng.exponential(8, size), 29).astype(int) * 3 + user % 3
    rows = []
    for place in range(size):
        pair = {"user_id": f"u{user[place]:02}", "track_id": f"t{track[place]:02}", "position": place}
        if clock == "time":
            rows.append(play(at[place], 150, **pair, skipped=bool(rng.random() < 0.3)))
        else:
            repeated = bool(rng.random() < 0.5)
            rows.append({**pair, "resolution": "order", "source_type": "album", "repeated": repeated})
    target = "completed" if clock == "time" else "repeat"
    return Log(rows, [], config.Labels(target=target, maturity_rows=20), clock)


@dataclass(frozen=True)
class Done:
    """What the stages made: data, labels, all windows' candidates, rankers, evaluation."""

    settings: Config
    data: Entry
    outcomes: Entry
    spans: list[Span]
    windows: list[Entry]
    fits: Mapping[str, Entry]
    judged: Entry


def ingested(
    log: Log, settings: Config, tracks: Sequence[Row] = CATALOGUE, users: Sequence[Row] = PEOPLE
) -> tuple[Entry, Entry]:
    """The log's tables in the store, as the step before would have left them, and their labels."""

    def work(folder: Path) -> Mapping[str, Any]:
        history = logs.write(log, folder, tracks, users)
        for path in history.labels.values():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {"clock": log.clock}

    key = hashlib.sha256(repr((log, tracks, users)).encode()).hexdigest()
    data = store.Store(settings.store.path).once("ingest", key, work)
    return data, stages.labelled(settings.model_copy(update={"labels": log.settings}), data)


def ran(log: Log, folder: Path, settings: Config = SETTINGS, **tables: Any) -> Done:
    """All stages, as the backtest wires them for one judged window."""
    settings = settings.model_copy(update={"store": Store(path=folder, memory_limit="200MB", threads=1)})
    data, outcomes = ingested(log, settings, **tables)
    spans = two_stage.spans(settings, data)
    training = settings.lists.training_windows
    windows = [
        two_stage.candidates_at(settings, data, outcomes, span, number < training)
        for number, span in enumerate(spans)
    ]
    fits: Mapping[str, Entry] = {
        ranker: two_stage.lists_fitted(settings, ranker, data, windows[:training], windows[training])
        for ranker in settings.lists.rankers
    }
    judged = two_stage.lists_evaluated(settings, data, [(windows[-1], fits)])
    return Done(settings, data, outcomes, spans, windows, fits, judged)


@pytest.fixture(scope="module", params=["time", "order"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return ran(world(request.param), tmp_path_factory.mktemp("store"))


def test_windows_are_those_of_the_settings(done: Done) -> None:
    """Two to train on, one for validation, one to judge; each known by what lies before it."""
    assert len(done.spans) == 4
    clock = done.data.facts["clock"]
    plays = pl.read_parquet(done.data.tables["plays"].path)
    tick = plays["started_at"].dt.epoch("ms") if clock == "time" else plays["seq"]
    assert done.spans[-1].end - 60_000 <= tick.max() < done.spans[-1].end  # type: ignore[operator]
    length = 7 * 86_400_000 if clock == "time" else round(0.12 * 900)
    assert {span.end - span.cutoff for span in done.spans} == {length}
    for span, entry in zip(done.spans, done.windows, strict=True):
        assert (entry.facts["cutoff"], entry.facts["end"]) == (span.cutoff, span.end)
        heard = plays.filter(tick < span.cutoff).select("user_id", "track_id").unique()
        assert entry.tables["heard"].rows == heard.height
    assert [entry.facts["users"] for entry in done.windows] == [8, 8, USERS, USERS]


def test_without_a_clock_every_label_before_the_cutoff_is_known(done: Done) -> None:
    """Those of the last rows too, and none after; with a clock each matures in its own time."""
    if done.data.facts["clock"] == "time":
        return
    plays = pl.read_parquet(done.data.tables["plays"].path)
    for entry in done.windows:
        known = plays.filter(pl.col("seq") < entry.facts["cutoff"])
        expected = known.group_by("user_id").len().sort("user_id")
        users = pl.read_parquet(entry.tables["users"].path)
        assert users["user_id"].to_list() == expected["user_id"].to_list()
        told = users["user_labels"].to_numpy()
        np.testing.assert_allclose(told, np.log1p(expected["len"].to_numpy()), rtol=1e-6)


def test_rankers_beat_chance_and_recall_grows(done: Done) -> None:
    """Of new and old tracks alike: genres are kept to, and the retrievers find that."""
    ndcg = {
        row["system"]: row["value"]
        for row in done.judged.facts["metrics"]
        if (row["mode"], row["metric"]) == ("include", "ndcg")
    }
    assert set(ndcg) == {*SETTINGS.retrieval.retrievers, *SETTINGS.lists.rankers}
    assert min(ndcg[ranker] for ranker in SETTINGS.lists.rankers) > 0.25
    recall = pl.read_parquet(done.judged.path / "recall.parquet")
    for part in ("all", "repeats", "discoveries"):
        told = recall.filter(pl.col("part") == part, pl.col("k") == 200)
        union = told.filter(pl.col("retriever") == "union")["recall"].item()
        best: Any = told.filter(pl.col("retriever") != "union")["recall"].max()
        if union is not None:
            assert union >= best
    assert 0 < done.judged.facts["k"] == 5


def test_all_of_it_is_done_once(done: Done) -> None:
    log = world(done.data.facts["clock"])
    again = ran(log, done.settings.store.path)
    entries = [again.data, again.outcomes, *again.windows, *again.fits.values(), again.judged]
    assert all(entry.reused for entry in entries)
    assert again.judged.key == done.judged.key


def test_other_settings_are_other_work_only_where_they_are_read(done: Done) -> None:
    log = world(done.data.facts["clock"])
    longer = done.settings.lists.model_copy(update={"k": 4})
    other = ran(log, done.settings.store.path, done.settings.model_copy(update={"lists": longer}))
    assert all(entry.reused for entry in (*other.windows, *other.fits.values()))
    assert not other.judged.reused
    assert other.judged.facts["k"] == 4


def orders(done: Done) -> dict[str, pl.DataFrame]:
    """What each ranker thinks of the judged window's candidates, by ids."""
    place = done.windows[-1].path
    found = pl.read_parquet(place / "candidates.parquet", columns=["user", "track"])
    users, tracks = (
        pl.read_parquet(place / f"{side}s.parquet")[f"{side}_id"] for side in ("user", "track")
    )
    return {
        name: pl.DataFrame(
            {
                "user": users[found["user"]],
                "track": tracks[found["track"]],
                "order": scored(place, lists.load(entry.path)),
            }
        )
        for name, entry in done.fits.items()
    }


@pytest.mark.parametrize("clock", ["time", "order"])
def test_what_came_after_the_cutoff_changes_no_list(clock: str, tmp_path: Path) -> None:
    """Plays in the judged window edited, deleted and added, by new users and of new tracks, whose
    tables tell what no earlier one does: every ranker is fitted the same and orders the same."""
    log = world(clock)
    before = ran(log, tmp_path / "before", SHORT)
    cutoff = before.spans[-1].cutoff
    rng = np.random.default_rng(5)
    last = log.plays[-1]
    rows = []
    for row in log.plays[:-1]:
        tick = int(row["started_at"].timestamp() * 1000) if clock == "time" else row["position"]
        if tick >= cutoff:
            fate = rng.integers(0, 3)
            if fate == 0 and clock == "time":  # without a clock, rows count
                continue
            if fate <= 1:
                row = {**row, "user_id": "a stranger", "track_id": "a new one", "skipped": None}
                row |= {"repeated": True} if clock == "order" else {}
            else:
                row = {**row, "track_id": f"t{rng.integers(0, TRACKS):02}"}
        rows.append(row)
    known = {"city": "C", "country": "SE", "gender": "female", "registered_via": "9"}
    after = ran(
        log.with_plays([*rows, last]),
        tmp_path / "after",
        SHORT,
        tracks=[{"track_id": "a new one", "artist": "artist 1", "year": 1999, "language": "3",
                 "composers": ["c"], "isrc_country": "DE", "isrc_registrant": "r",
                 "genres": ["genre 0"]}, *CATALOGUE],
        users=[{"user_id": "a stranger", **known}, *PEOPLE],
    )  # fmt: skip
    assert after.spans == before.spans
    assert after.data.tables["plays"].digest != before.data.tables["plays"].digest
    assert after.windows[-1].facts["played_pairs"] != before.windows[-1].facts["played_pairs"]
    one, other = orders(before), orders(after)
    for name in SETTINGS.lists.rankers:
        assert_frame_equal(one[name], other[name], check_exact=True)
        assert one[name]["order"].n_unique() > 3


def test_the_newest_cutoff_has_no_labels(done: Done) -> None:
    """For what is published: candidates at the end, whose targets nobody knows."""
    end = done.spans[-1].end
    entry = two_stage.candidates_at(
        done.settings, done.data, done.outcomes, Span(end, end), training=False
    )
    found = pl.read_parquet(entry.tables["candidates"].path)
    assert found["target"].null_count() == found.height > 0
    assert entry.tables["relevant"].rows == 0
    columns = set(pl.read_parquet_schema(done.windows[0].tables["candidates"].path))
    assert set(found.columns) == columns
    order = scored(entry.path, lists.load(done.fits["lambdamart"].path))
    assert len(order) == found.height
    assert np.isfinite(order).all()


# Bad input


def test_too_little_history(tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"lists": QUICK.lists.model_copy(update={"horizon_days": 28})})
    with pytest.raises(InputError, match=r"too little history .*room for 0 windows .*expected: 3"):
        ran(world("time"), tmp_path, settings)


def test_a_user_with_one_play(tmp_path: Path) -> None:
    """A year before everyone: served as well as can be, of what others play."""
    log = world("time")
    lone = play(-5 * 24 * 60, 60, user_id="u with one", track_id="t00", position=-1)
    made = ran(log.with_plays([lone, *log.plays]), tmp_path, QUICK,
               users=[*PEOPLE, {"user_id": "u with one"}])  # fmt: skip
    users = pl.read_parquet(made.windows[-1].tables["users"].path)
    assert users.height == USERS + 1
    place = users["user_id"].to_list().index("u with one")
    assert users["user_plays"][place] == pytest.approx(math.log1p(1))
    found = pl.read_parquet(made.windows[-1].tables["candidates"].path)
    mine = found.filter(pl.col("user") == place)
    assert 1 < mine.height <= 20
    assert mine["heard"].sum() == 1


def test_a_catalogue_with_one_track(tmp_path: Path) -> None:
    """Everyone always plays it: no list can be wrong, and nothing can be learnt."""
    log = world("time")
    same = log.with_plays([{**row, "track_id": "t00"} for row in log.plays])
    with pytest.raises(InputError, match=r"every candidate was played .* for training .*what to do"):
        ran(same, tmp_path, QUICK, tracks=CATALOGUE[:1])


def test_only_strangers_play_in_the_judged_window(tmp_path: Path) -> None:
    """The window of the newest play is never empty; but whoever plays there may be unknown."""
    log = world("time")
    cutoff = BASE + timedelta(days=DAYS - 7)
    rows = [row for row in log.plays if row["started_at"] < cutoff - timedelta(minutes=2)]
    end = DAYS * 24 * 60
    rows.append(play(end - 1, 30, user_id="a stranger", track_id="a new one", position=10_000))
    tables = {
        "tracks": [*CATALOGUE, {"track_id": "a new one"}],
        "users": [*PEOPLE, {"user_id": "a stranger"}],
    }
    with pytest.raises(InputError, match=r"nobody played anything known .*what to do"):
        ran(log.with_plays(rows), tmp_path, QUICK, **tables)


@pytest.mark.parametrize("name", ["again", "item_knn"])
def test_a_single_retriever(name: Any, tmp_path: Path) -> None:
    """One that finds nothing new, and one that may find nothing at all."""
    retrieval = QUICK.retrieval.model_copy(update={"retrievers": (name,)})
    made = ran(world("time"), tmp_path, QUICK.model_copy(update={"retrieval": retrieval}))
    systems = {row["system"] for row in made.judged.facts["metrics"]}
    assert systems == {name, *QUICK.lists.rankers}


def test_one_candidate_a_user(tmp_path: Path) -> None:
    """The unheard track that the first retriever puts first: half a place is none for a heard one."""
    retrieval = SETTINGS.retrieval.model_copy(
        update={"candidates": 1, "retrievers": ("item_knn", "popular")}
    )
    made = ran(world("time", size=600), tmp_path, SETTINGS.model_copy(update={"retrieval": retrieval}))
    found = pl.read_parquet(made.windows[-1].tables["candidates"].path)
    assert found["user"].n_unique() == found.height == USERS
    assert not found["heard"].any()
    assert set(found["item_knn_rank"]) == {1.0}


def test_tracks_and_users_without_any_metadata(tmp_path: Path) -> None:
    made = ran(
        world("time"), tmp_path, QUICK,
        tracks=[{"track_id": row["track_id"]} for row in CATALOGUE],
        users=[{"user_id": row["user_id"]} for row in PEOPLE],
    )  # fmt: skip
    assert {row["mode"] for row in made.judged.facts["metrics"]} == {"include", "exclude", "only"}


def test_ids_of_any_characters(tmp_path: Path) -> None:
    """Commas, quotes, newlines, 10 KB: the same lists as under plain ids in the same order."""
    log = world("time")
    odd = sorted(
        [
            f"{head}{code}"
            for code in range(10, 40)
            for head in ('a,"b" ', "line\nline\r\n", "x" * 10_240)
        ]
    )
    tracks = {f"t{code:02}": odd[code] for code in range(TRACKS)}
    users = {f"u{code:02}": odd[code] for code in range(USERS)}
    renamed = [
        {**row, "user_id": users[row["user_id"]], "track_id": tracks[row["track_id"]]}
        for row in log.plays
    ]
    plain = ran(log, tmp_path / "plain", QUICK)
    other = ran(
        log.with_plays(renamed), tmp_path / "odd", QUICK,
        tracks=[{**row, "track_id": tracks[row["track_id"]]} for row in CATALOGUE],
        users=[{**row, "user_id": users[row["user_id"]]} for row in PEOPLE],
    )  # fmt: skip
    one, two = orders(plain), orders(other)
    for name, frame in one.items():
        named = frame.with_columns(
            pl.col("user").replace_strict(users), pl.col("track").replace_strict(tracks)
        )
        assert_frame_equal(named, two[name], check_exact=True)
    assert plain.judged.facts["metrics"] == other.judged.facts["metrics"]
