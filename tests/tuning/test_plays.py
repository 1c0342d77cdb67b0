"""LightGBM's settings are judged before the holdout, on rows that no fit has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from schemas.config import Config, Evaluation, LightGBM, Models, Split, Store
from schemas.errors import InputError
from schemas.tuning import Tune
from tasks import stages as training_stages
from tasks.metrics.binary import Interval
from tasks.split import Windows
from tasks.tuning import of_plays, result, stages
from tasks.tuning.kinds import Compared, Judged, Material, values, with_values
from tasks.tuning.stages import Tried
from tests.tuning.searches import WINDOWS, entry, features, search, told

Made = Callable[..., tuple[Config, Material]]
UNABLE = {"lambda_l2": 1e5}  # a step so small that trees go on and come nowhere


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Settings of a small search and what it is made on, of a feature table."""

    def make(frame: pl.DataFrame | None = None, where: str = "store", **tune: Any) -> Any:
        asked = {"trials": 3, "startup": 2, "windows": 1} | tune
        config = Config(
            tune=Tune(**asked),
            models=Models(lightgbm=LightGBM(max_trees=60, early_stopping=10)),
            store=Store(path=tmp_path / where, threads=2),
            split=Split(min_rows=50),
            evaluation=Evaluation(resamples=100),
        )
        table = entry(features() if frame is None else frame, config.store.path)
        monkeypatch.setattr(training_stages, "featurized", lambda *_: table)
        return config, stages.material(config, table, table)

    return make


def test_windows_end_before_the_holdout_and_the_newest_is_validation(made: Made) -> None:
    _, found = made(windows=2)
    first, second, newest = found.windows
    minute = 60_000
    assert newest == Windows(0, 1_734 * minute, 2_040 * minute, 2_400 * minute)  # 15 % of 2,040: 306
    assert (newest.cutoff, newest.end) == (WINDOWS["validation"], WINDOWS["cutoff"])
    assert (second.cutoff, second.end) == (1_680 * minute, 2_040 * minute)
    assert (first.cutoff, first.end) == (1_320 * minute, 1_680 * minute)
    for each in found.windows:
        assert each.start < each.validation < each.cutoff < each.end


def test_dates_mean_the_same_windows(made: Made) -> None:
    _, by_share = made()
    config, _ = made()
    dated = Split(min_rows=50, holdout="1970-01-02T16:00", validation="1970-01-02T10:00")
    again = stages.material(
        config.model_copy(update={"split": dated}), *[by_share.entries["features"]] * 2
    )
    assert again.windows[-1].cutoff == by_share.windows[-1].cutoff
    assert again.windows[-1].end == by_share.windows[-1].end


def test_too_few_plays_before_the_holdout_are_one_line(made: Made) -> None:
    with pytest.raises(
        InputError, match=r"do not bear that many windows \| place: tune\.windows \| found: 9"
    ):
        made(windows=9)


def test_settings_that_nothing_uses_are_refused(made: Made) -> None:
    config, _ = made()
    models = Models(rankers=("logistic",), champion_candidate="logistic")
    with pytest.raises(InputError, match="LightGBM's settings are not used"):
        stages.kind(config.model_copy(update={"models": models}))


def test_nothing_of_the_holdout_is_read(made: Made) -> None:
    """Other outcomes, features and users there: the same trials, the same YAML."""
    config, found = made()
    late = pl.col("tick") >= WINDOWS["cutoff"]
    noise = pl.Series(np.random.default_rng(9).uniform(0, 1, 3_000), dtype=pl.Float32)
    other = features().with_columns(
        target=pl.when(late).then(~pl.col("target")).otherwise("target"),
        user=pl.when(late).then(7).otherwise("user").cast(pl.Int32),
        track_completion_rate=pl.when(late).then(noise).otherwise("track_completion_rate"),
    )
    done, verdict = search(config, found)
    edited, after = made(other, "another")
    redone, again = search(edited, after)
    assert redone[0].entry.key != done[0].entry.key  # of other data, and done again
    assert told(again) == told(verdict)
    assert result.settings(config, verdict.facts, "so") == result.settings(
        edited, again.facts, "so"
    ).replace("/another", "/store")


def test_judged_rows_have_no_part_in_the_fit(made: Made) -> None:
    config, found = made()
    window = found.windows[-1]
    inside = pl.col("tick").is_between(window.cutoff, window.end, closed="left")
    flipped = features().with_columns(target=pl.when(inside).then(~pl.col("target")).otherwise("target"))
    first = of_plays.judged(config, found, [window], lambda *_: None).rows
    _, other = made(flipped)
    second = of_plays.judged(config, other, [window], lambda *_: None).rows
    assert_array_equal(first["target"], ~second["target"])
    assert_array_equal(first["probability"], second["probability"])
    right = np.where(first["target"], first["probability"], 1 - first["probability"].to_numpy())
    np.testing.assert_allclose(first["value"], -np.log(right))


def test_a_setting_that_cannot_learn_is_given_up_early(made: Made) -> None:
    config, found = made(startup=2, windows=2)
    good = values(config, of_plays) | {"learning_rate": 0.3}
    points = [good, good | {"num_leaves": 7}]
    done = [
        Tried(number, point, stages.tried(config, found, point, []))
        for number, point in enumerate(points)
    ]
    rungs = [step for step, _ in done[0].trial.curve]
    assert rungs[:2] == [0, 1]  # 7 trees of a rate of .3, and 14
    assert of_plays.END in rungs
    bad = stages.tried(config, found, good | UNABLE, done)
    assert bad.facts["value"] is None
    assert [step for step, _ in bad.facts["curve"]] == [0, 1, 2]  # at 27 trees, by what others had at 7
    unhurried = config.model_copy(update={"tune": config.tune.model_copy(update={"startup": 3})})
    assert stages.tried(unhurried, found, good | UNABLE, done).facts["value"] > 0.6
    # nothing is given up that is confirmed
    assert stages.confirmed(config, found, good | UNABLE).facts["value"] > 0


def test_a_setting_that_begins_slowly_is_judged_by_where_it_ends(made: Made) -> None:
    """By a hair behind at every step: given up after the first window and not before."""
    config, found = made(startup=1, windows=2)
    point = values(config, of_plays) | {"learning_rate": 0.3}
    entry = stages.tried(config, found, point, [])
    better = [(step, value - 1e-9) for step, value in entry.facts["curve"]]
    others = [Tried(0, point, replace(entry, facts={**entry.facts, "curve": better}))]
    late = stages.tried(config, found, point, others)
    assert late.facts["value"] is None
    assert late.facts["curve"][-1][0] == of_plays.END


def test_trials_share_the_threads(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    config, found = made(parallel=2)
    threads: list[int] = []

    def judged(config: Config, *_: Any) -> Judged:
        threads.append(config.store.threads)
        return Judged(pl.DataFrame({"value": [1.0]}), {})

    monkeypatch.setattr(of_plays, "judged", judged)
    for parallel in (1, 2, 8):
        tune = config.tune.model_copy(update={"parallel": parallel})
        point = {**values(config, of_plays), "num_leaves": 8 + parallel}
        stages.tried(config.model_copy(update={"tune": tune}), found, point, [])
    assert threads == [2, 1, 1]


def test_a_killed_search_goes_on_and_ends_the_same(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    config, found = made(parallel=2, trials=5)
    _, undisturbed = search(config, found)
    config, found = made(where="killed", parallel=2, trials=5)
    judged, calls = of_plays.judged, []

    def dies(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # the second of the second batch
            raise KeyboardInterrupt
        return judged(*given)

    monkeypatch.setattr(of_plays, "judged", dies)
    with pytest.raises(KeyboardInterrupt):
        search(config, found)
    _, resumed = search(config, found)
    assert len(calls) == 4 + 3 + 2 - (undisturbed.facts["best"] == 0)
    assert told(resumed) == told(undisturbed)
    assert resumed.key == undisturbed.key


def test_more_trials_go_on_from_fewer(made: Made) -> None:
    fewer, found = made(parallel=2, trials=3)
    first, _ = search(fewer, found)
    more = fewer.model_copy(update={"tune": fewer.tune.model_copy(update={"trials": 5})})
    done, _ = search(more, found)
    assert [each.point for each in done[:4]] == [each.point for each in first]
    assert all(each.entry.reused for each in done[:4])


@pytest.mark.parametrize(
    ("number", "interval", "won", "said"),
    [
        (3, (-0.01, -0.02, -0.001), True, "better"),
        (3, (-0.01, -0.02, 0.001), True, "no better"),
        (3, (0.01, -0.02, 0.03), False, "no better"),
        (3, (-0.01, float("nan"), float("nan")), True, "no better"),
        (3, (0.01, 0.001, 0.02), False, "worse"),
        (0, (0.0, 0.0, 0.0), False, "same"),
    ],
)
def test_better_is_what_validation_shows(number: int, interval: Any, won: bool, said: str) -> None:
    assert stages.found_out(number, Interval(*interval), won) == said


@pytest.mark.parametrize(("difference", "used"), [(-0.01, "best"), (0.01, "given"), (0.0, "given")])
def test_what_did_no_better_on_validation_is_not_written(
    difference: float, used: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, found = made(trials=1)
    done = [
        Tried(number, {"num_leaves": number}, stages.tried(config, found, values(config, of_plays), []))
        for number in range(2)
    ]
    given = stages.confirmed(config, found, values(config, of_plays))
    around = Interval(difference, -0.02, 0.02)
    told = Compared(Interval(1, 1, 1), Interval(1, 1, 1), around, "user", 40, 100)
    monkeypatch.setattr(of_plays, "compared", lambda *_: told)
    monkeypatch.setattr(stages, "best", lambda *_: done[1])
    verdict = stages.concluded(config, found, done, given, given)
    assert verdict.facts["found"] == "no better"
    assert verdict.facts["settings"] == done[1 if used == "best" else 0].point


def test_values_are_put_where_they_belong() -> None:
    point = values(Config(), of_plays) | {"num_leaves": 5}
    put = with_values(Config(), of_plays, point)
    assert put.models.lightgbm == LightGBM(num_leaves=5)
    assert put.model_copy(update={"models": Models()}) == Config()
