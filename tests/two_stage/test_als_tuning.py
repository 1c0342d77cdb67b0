"""Settings of ALS are compared on windows before the judged ones, and only a better one is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from schemas.config import Config, Evaluation, Labels, Store
from schemas.two_stage import Als, Lists, Retrieval
from tasks.split import Span
from tasks.two_stage import als_tuning, stages
from tasks.two_stage.als_tuning import IMPLICIT
from tests import logs
from tests.logs import BASE, Log, Row, play
from tests.two_stage.test_candidates import ms

CONFIG = Config(
    retrieval=Retrieval(als=Als(factors=4, iterations=4, trials=3)),
    lists=Lists(max_users=500),
    store=Store(threads=1),
    evaluation=Evaluation(resamples=200),
)
USERS, TRACKS, DAYS = 40, 30, 40
SPANS = [
    Span(ms(BASE + timedelta(days=day)), ms(BASE + timedelta(days=day + 10))) for day in (10, 20, 30)
]


def tastes(seed: int) -> Log:
    """Users of three kinds, each of whom plays the tracks of their kind, a few a day."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for day in range(DAYS):
        for user in range(USERS):
            track = 3 * int(rng.integers(TRACKS // 3)) + user % 3
            names = {"user_id": f"u{user:02}", "track_id": f"t{track:02}"}
            rows.append(play(day * 1_440 + user, 180, **names, position=len(rows)))
    return Log(rows, [], Labels(), "time")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("log")
    tracks = [{"track_id": f"t{code:02}"} for code in range(TRACKS)]
    users = [{"user_id": f"u{code:02}"} for code in range(USERS)]
    return logs.write(tastes(1), folder, tracks, users), folder


def written(
    history: Any, folder: Path, config: Config = CONFIG, spans: list[Span] = SPANS
) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    given, home = history
    with logs.warehouse(home) as house:
        facts = als_tuning.write(given, spans, config, house, folder)
    return pl.read_parquet(folder / "trials.parquet"), facts


def with_als(**changes: Any) -> Config:
    als = CONFIG.retrieval.als.model_copy(update=changes)
    return CONFIG.model_copy(update={"retrieval": CONFIG.retrieval.model_copy(update={"als": als})})


def test_settings_that_cannot_learn_are_replaced(history: Any, tmp_path: Path) -> None:
    """With a penalty beyond all plays the order is noise: what learns wins, and by how much is told."""
    trials, facts = written(history, tmp_path, with_als(regularization=1e6))
    assert trials.height == 2 + 3
    assert trials["regularization"][:2].to_list() == [1e6, IMPLICIT.regularization]
    assert (trials["difference"][0], trials["low"][0]) == (0.0, 0.0)
    best = trials.sort("ndcg").row(-1, named=True)
    assert best["low"] > 0
    assert best["ndcg"] == pytest.approx(trials["ndcg"][0] + best["difference"])
    chosen = Als.model_validate(facts["als"])
    assert chosen.trials == 0
    assert {**chosen.model_dump(exclude={"trials"})}.items() <= best.items()
    assert facts["windows"] == 3


def test_settings_that_nothing_beats_stay(
    history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that do the same, do no worse and no better beyond noise."""
    same = CONFIG.retrieval.als.model_copy(update={"trials": 0})
    monkeypatch.setattr(als_tuning, "drawn", lambda given, seed: [same, same, same])
    trials, facts = written(history, tmp_path)
    assert trials["ndcg"].n_unique() == 1
    assert facts["als"] == same.model_dump(mode="json")


def test_what_lies_after_the_windows_changes_nothing(history: Any, tmp_path: Path) -> None:
    (given, home), one, other = history, tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    before, facts = written(history, one, spans=SPANS[:2])
    plays = pl.read_parquet(given.plays)
    end = pl.col("started_at").dt.epoch("ms") < SPANS[1].end
    later = plays.filter(~end).with_columns(track_id=pl.lit("t00"))
    pl.concat([plays.filter(end), later.head(100)]).write_parquet(other / "plays.parquet")
    edited = (replace(given, plays=other / "plays.parquet"), home)
    after, told = written(edited, other, spans=SPANS[:2])
    assert before.equals(after)
    assert facts == told


def test_windows_are_taken_from_the_newest_until_there_are_users_enough(history: Any) -> None:
    given, home = history
    few = CONFIG.model_copy(update={"lists": Lists(max_users=USERS + 7)})
    with logs.warehouse(home) as house:
        windows = list(als_tuning.read(given, SPANS, few, house))
    assert [window.listening.at for window in windows] == [SPANS[2].cutoff, SPANS[1].cutoff]
    assert [len(window.users) for window in windows] == [USERS, 7]
    for window in windows:
        assert set(window.relevant["user"]) == set(window.users.tolist())
        assert window.listening.tick.max() < window.listening.at


def test_a_user_counts_once_a_window_for_both_kinds_of_tracks(history: Any) -> None:
    given, home = history
    with logs.warehouse(home) as house:
        windows = list(als_tuning.read(given, SPANS, CONFIG, house))
    told = als_tuning.judge(windows, CONFIG.retrieval, CONFIG)
    assert told.select("user", "cutoff").is_unique().all()
    assert told.height == sum(len(window.users) for window in windows)
    assert told["ndcg"].is_between(0, 1).all()
    assert told["ndcg"].to_numpy().mean() > 0.5  # ten tracks a kind, some of them heard


def test_without_a_play_in_any_window_the_given_settings_stay(history: Any, tmp_path: Path) -> None:
    late = ms(BASE + timedelta(days=900))
    trials, facts = written(history, tmp_path, spans=[Span(late, late + 86_400_000)])
    assert trials.height == 5
    assert (facts["users"], facts["windows"]) == (0, 0)
    assert facts["als"] == CONFIG.retrieval.als.model_copy(update={"trials": 0}).model_dump(mode="json")


def test_draws_follow_the_seed_and_begin_with_those_given() -> None:
    given = CONFIG.retrieval.als
    assert als_tuning.drawn(given, 1) == als_tuning.drawn(given, 1) != als_tuning.drawn(given, 2)
    first, second, *others = als_tuning.drawn(given.model_copy(update={"trials": 50}), 3)
    assert (first, second) == (given.model_copy(update={"trials": 0}), IMPLICIT)
    assert len({each.model_dump_json() for each in others}) == 50
    assert als_tuning.drawn(given.model_copy(update={"trials": 0}), 3) == [first, IMPLICIT]


def test_there_is_something_to_tune_only_with_als_and_trials() -> None:
    assert stages.tunes(CONFIG)
    assert not stages.tunes(with_als(trials=0))
    without = CONFIG.retrieval.model_copy(update={"retrievers": ("popular",)})
    assert not stages.tunes(CONFIG.model_copy(update={"retrieval": without}))
