"""Drift with known answers: planted shifts are found, chance is not, and verdicts follow the numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Config
from schemas.errors import InputError
from schemas.monitoring import Monitor
from tasks import tracking
from tasks.metrics.binary import Interval
from tasks.metrics.bootstrap import drawn
from tasks.metrics.drift import Drift, codes, counted, drift, learned, stability
from tasks.metrics.recalibration import calibration, difference, entropy
from tasks.monitoring import scores
from tasks.monitoring.features import grade
from tasks.monitoring.model import holdout
from tasks.monitoring.verdict import NO_REASON, PAYS, TOO_LITTLE, of_lists, reasons, verdict
from tasks.monitoring.windows import DAY, stretches, unseen
from tasks.registry import Version

USERS, EACH = 60, 40


def test_stability_by_hand() -> None:
    """Half a row is added to each of two bins: (10.5, 30.5) of 41 against (20.5, 20.5) of 41."""
    told = float(stability(np.array([[20.0], [20.0]]), np.array([[10.0], [30.0]]))[0])
    a, b = np.array([10.5, 30.5]) / 41, np.array([0.5, 0.5])
    assert told == pytest.approx(float(((a - b) * np.log(a / b)).sum()))
    assert told == pytest.approx(0.2601, abs=1e-4)


@given(st.lists(st.integers(0, 500), min_size=2, max_size=8), st.lists(st.integers(0, 500), min_size=8))
def test_stability_is_symmetric_never_negative_and_zero_for_the_same(
    first: list[int], second: list[int]
) -> None:
    before = np.array(first, dtype=np.float64)[:, None]
    after = np.array(second[: len(first)], dtype=np.float64)[:, None]
    assert stability(before, after) == pytest.approx(stability(after, before))
    assert (stability(before, after) >= 0).all()
    assert stability(before, before)[0] == pytest.approx(0)


def test_bins_of_a_number_are_training_quantiles_and_values_beyond_fall_into_the_outer_ones() -> None:
    bins = learned(pl.Series("x", [float(value) for value in range(1, 101)]), 4)
    assert bins.edges == (25.0, 50.0, 75.0)
    assert bins.count == 5
    found = codes(bins, pl.Series("x", [-9.0, 25.0, 25.1, 75.0, 999.0, None]))
    assert found.tolist() == [0, 0, 1, 2, 3, 4]


def test_ties_share_a_bin_and_a_constant_has_one() -> None:
    assert learned(pl.Series("x", [0.0] * 95 + [1.0] * 5), 10).edges == (0.0,)
    assert learned(pl.Series("x", [3.0] * 9), 10).edges == ()
    assert learned(pl.Series("x", [None] * 9, dtype=pl.Float32), 10).count == 2


def test_bins_of_a_category_are_its_top_levels_others_and_missing() -> None:
    training = pl.Series("x", ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + [None]).cast(pl.Categorical)
    bins = learned(training, 2)
    assert bins.levels == ("a", "b")
    assert codes(bins, pl.Series("x", ["b", "a", "c", "new", None])).tolist() == [1, 0, 2, 2, 3]


def compared(
    values: pl.Series, periods: np.ndarray[Any, Any], users: np.ndarray[Any, Any], resamples: int = 304
) -> Drift:
    bins = learned(values.filter(pl.Series(periods < periods.max())), 10)
    counts = counted(codes(bins, values), bins.count, periods, users.astype(np.int32))
    units = int(users.max()) + 1
    weights = np.concatenate([drawn(units, 7, batch) for batch in range(resamples // 16)], axis=1)
    return drift(counts, weights)


def halves() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A training half and a newest half of the rows of each user."""
    users = np.repeat(np.arange(USERS), EACH)
    return (np.arange(users.size) % 2).astype(np.int64), users


@pytest.mark.parametrize("seed", range(12))
def test_no_drift_is_found_where_there_is_none(seed: int) -> None:
    random = np.random.default_rng(seed)
    periods, users = halves()
    found = compared(pl.Series("x", random.normal(size=users.size)), periods, users)
    assert found.psi.value < 0.02
    assert found.psi.low == 0.0
    assert found.missing == (0.0, 0.0)


def test_listeners_who_differ_are_no_drift() -> None:
    """A habit of each day moves the raw index far; days resampled whole know that it is chance."""
    random = np.random.default_rng(3)
    days = np.repeat(np.arange(40), 60)
    values = random.normal(size=40)[days] + 0.3 * random.normal(size=days.size)
    periods = (days >= 30).astype(np.int64)
    bins = learned(pl.Series("x", values[periods == 0]), 10)
    point = counted(codes(bins, pl.Series("x", values)), bins.count, periods, days.astype(np.int32))
    before, after = point.sum(axis=0)[:, :-1]  # nothing is missing
    raw = float(stability(before[:, None], after[:, None])[0])
    independent = 9 * (1 / before.sum() + 1 / after.sum())
    found = compared(pl.Series("x", values), periods, days)
    assert raw > 0.25 > 10 * independent
    assert found.psi.value < 0.6 * raw
    assert found.psi.low < 0.1


def test_the_bias_taken_off_is_the_one_of_independent_rows_where_rows_are_independent() -> None:
    """Of rows that are units of their own it is (bins - 1)(1/n + 1/m)."""
    random = np.random.default_rng(5)
    before, after = 1500, 500
    periods = np.repeat([0, 1], [before, after])
    rows = np.arange(before + after)
    # shifted, or the index without its bias would be cut off at 0
    shifted = pl.Series("x", random.normal(size=rows.size) + 0.5 * periods)
    bins = learned(shifted.head(before), 10)
    point = counted(codes(bins, shifted), bins.count, periods, np.zeros(rows.size, np.int32))[0][:, :-1]
    raw = float(stability(point[0][:, None], point[1][:, None])[0])
    taken = raw - compared(shifted, periods, rows).psi.value
    assert taken == pytest.approx(9 * (1 / before + 1 / after), rel=0.5)


def test_a_planted_shift_is_found_at_its_size() -> None:
    """Shares .5/.5 become .9/.1: the index is .4 ln 9 = .879."""
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(USERS), 20 * EACH)
    periods = np.arange(users.size) % 2
    chance = np.where(periods == 1, 0.9, 0.5)
    values = (random.random(users.size) < chance).astype(np.float64)
    found = compared(pl.Series("x", values), periods, users)
    assert found.psi.value == pytest.approx(0.4 * np.log(9), abs=0.06)
    assert found.psi.low > 0.6
    assert found.psi.low < found.psi.value < found.psi.high


def test_values_that_went_missing_are_drift() -> None:
    random = np.random.default_rng(2)
    periods, users = halves()
    values = pl.Series("x", random.normal(size=users.size))
    gone = (periods == 1) & (random.random(users.size) < 0.4)
    found = compared(pl.select(pl.when(pl.Series(~gone)).then(values)).to_series(), periods, users)
    assert found.missing[0] == 0.0
    assert found.missing[1] == pytest.approx(0.4, abs=0.04)
    assert found.missing_change.low > 0.3
    assert found.psi.low > 0.25


def test_what_grows_with_every_stretch_is_usual() -> None:
    """A count of the past: always far from all before it, and not more than before."""
    rows = 6000
    random = np.random.default_rng(4)
    values = pl.Series("x", np.arange(rows) / 1000 + random.random(rows))
    periods = np.repeat([0, 0, 1, 2, 3, 4], rows // 6)
    found = compared(values, periods, np.arange(rows) % USERS)
    assert found.psi.low > 0.25
    assert found.usual is not None
    assert found.usual.value > 0.25
    assert grade("user_plays", found, Config()) == "none"
    alone = Drift(found.psi, None, None, found.missing, found.missing_change)
    assert grade("user_plays", alone, Config()) == "strong"
    assert grade("month", alone, Config()) == "calendar"


def test_stretches_with_a_clock() -> None:
    ticks = np.arange(400 * 24) * (DAY // 24)
    cut = stretches(ticks, "time", 390 * DAY, Monitor(days=28))
    assert (cut.recent, cut.known, cut.new, cut.seen) == (390 * DAY, 390 * DAY, 240, False)
    cut = stretches(ticks, "time", 300 * DAY, Monitor(days=28))
    assert cut.end - cut.recent == 28 * DAY
    assert cut.known == 300 * DAY  # what lies between is neither
    assert np.diff([*cut.earlier, cut.known]).tolist() == [28 * DAY] * 4
    periods = cut.periods(ticks)
    assert set(periods.tolist()) == {-1, 0, 1, 2, 3, 4, 5}
    assert (periods == 5).sum() == 28 * 24
    assert set(periods[(ticks >= 300 * DAY) & (ticks < cut.recent)].tolist()) == {-1}
    cut = stretches(ticks, "time", int(ticks[-1]) + 1, Monitor(days=28))
    assert (cut.new, cut.seen, cut.known) == (0, True, cut.recent)


def test_stretches_without_a_clock_are_shares_of_rows() -> None:
    cut = stretches(np.arange(5000), "order", 5000, Monitor(share=0.1))
    assert cut.end - cut.recent == pytest.approx(500, abs=1)
    assert cut.seen


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"what the model was trained on \| found: 0 .*200"):
        stretches(np.arange(5000) * DAY, "time", 0, Monitor(days=300))
    with pytest.raises(InputError, match=r"the newest stretch \| found: 2[89] .*raise monitor.days"):
        stretches(np.arange(5000) * DAY, "time", 5000 * DAY, Monitor(days=28))


def forecasts(slope: float, rows: int = 6000) -> tuple[Any, Any, Any]:
    """Outcomes of true log-odds z, forecasts of log-odds z / slope: the fitted slope is ``slope``."""
    random = np.random.default_rng(6)
    z = random.normal(size=rows)
    target = random.random(rows) < 1 / (1 + np.exp(-z))
    return target, 1 / (1 + np.exp(-z / slope)), (np.arange(rows) % 50).astype(np.int32)


def test_right_forecasts_gain_nothing_by_being_set_right() -> None:
    found = calibration(*forecasts(1.0))
    assert found.slope.low < 1 < found.slope.high
    assert found.large.low < 0 < found.large.high
    assert found.gain.low < 0.001


def test_bold_forecasts_have_a_slope_below_one_and_gain() -> None:
    found = calibration(*forecasts(0.4))
    assert found.slope.value == pytest.approx(0.4, abs=0.05)
    assert found.slope.high < 1
    assert found.gain.low > 0.02


def test_a_slope_without_both_outcomes_is_unknown() -> None:
    target, probability, blocks = forecasts(1.0, 100)
    found = calibration(np.ones_like(target), probability, blocks)
    assert np.isnan(found.slope.value)
    assert np.isnan(found.gain.value)
    assert found.large.value == pytest.approx(1 - probability.mean())


def test_difference_of_two_samples_adds_their_widths_in_squares() -> None:
    told = difference(Interval(5.0, 2.0, 8.0), Interval(1.0, -3.0, 5.0))
    assert (told.value, told.low, told.high) == (4.0, -1.0, 9.0)
    assert entropy(0.5) == pytest.approx(np.log(2))
    assert entropy(1.0) == pytest.approx(0.0)


STILL = {"value": 0.0, "low": -0.01, "high": 0.01}
WORSE = {"value": 0.03, "low": 0.01, "high": 0.05}


def facts(change: dict[str, float] = STILL, gain: dict[str, float] = STILL) -> dict[str, Any]:
    return {
        "now": {"skill": STILL}, "then": {"skill": STILL}, "change": {"skill": change},
        "calibration": {"gain": gain, "large": STILL, "slope": STILL},
    }  # fmt: skip


def feature(gain: float, grade: str) -> dict[str, Any]:
    return {"feature": "platform", "gain": gain, "drift": grade, "psi": asdict(Interval(0.9, 0.5, 1.3))}


def moved(grade: str) -> dict[str, Any]:
    return {"psi": asdict(Interval(0.4, 0.3, 0.5)), "usual": STILL, "drift": grade}


@pytest.mark.parametrize(
    ("new", "labels", "features", "model", "wanted", "why"),
    [
        (3000, (500, 9000), [feature(0.3, "none")], facts(), NO_REASON, None),
        (3000, (500, 9000), [feature(0.3, "none")], facts(change=WORSE), PAYS, "skill"),
        (3000, (500, 9000), [feature(0.3, "none")], facts(gain=WORSE), PAYS, "probabilities"),
        (3000, (500, 9000), [feature(0.3, "strong")], facts(), PAYS, "features"),
        (3000, (500, 9000), [feature(0.05, "strong")], facts(), NO_REASON, None),
        (3000, (2500, 9000), [feature(0.3, "slight")], facts(), PAYS, "labels"),
        (3000, (0, 9000), [feature(0.3, "none")], None, NO_REASON, None),
        (50, (50, 9000), [feature(0.9, "strong")], None, TOO_LITTLE, None),
    ],
)
def test_the_verdict_follows_the_numbers(
    new: int, labels: tuple[int, int], features: Any, model: Any, wanted: str, why: str | None
) -> None:
    told = reasons(new, new < 200, labels, features, moved("slight"), model, Monitor())
    assert verdict(told) == wanted
    assert [each.name for each in told if each.says == "retrain"] == ([why] if why else [])
    assert [each.name for each in told] == ["skill", "probabilities", "features", "scores", "labels"]
    assert all(each.told for each in told)


def test_probabilities_that_moved_are_a_reason() -> None:
    given = (3000, False, (500, 9000), [feature(0.3, "none")])
    far, unknown = (reasons(*given, scores, facts(), Monitor()) for scores in (moved("strong"), None))
    assert [each.name for each in far if each.says == "retrain"] == ["scores"]
    assert "PSI of the probabilities on new plays" in far[3].told
    assert (verdict(far), verdict(unknown)) == (PAYS, NO_REASON)
    assert unknown[3].says == "cannot tell"


LESS = {"value": -0.03, "low": -0.05, "high": -0.01}


@pytest.mark.parametrize(
    ("change", "wanted", "said"),
    [
        ({"lead": LESS, "ndcg": STILL}, PAYS, "best single retriever, again, is +.000 "),
        ({"lead": STILL, "ndcg": LESS}, NO_REASON, "not worse"),  # all lists got harder to make
        ({"ndcg": LESS}, NO_REASON, "not logged"),
        (None, NO_REASON, "no window of lists"),
    ],
)
def test_lists_are_judged_by_what_they_are_ahead(change: Any, wanted: str, said: str) -> None:
    known = {"lead": STILL, "ndcg": STILL}
    lists = {"k": 10, "best": "again", "now": known, "then": known, "change": change}
    told = of_lists(
        3000, False, (900, 9000), [feature(0.3, "none")], None if change is None else lists, Monitor()
    )
    assert [each.name for each in told] == ["lists", "features", "labels"]
    assert verdict(told) == wanted
    assert said in told[0].told
    assert "900 plays came since training" in told[2].told


def test_probabilities_are_compared_with_the_holdout_before_the_newest_stretch() -> None:
    ticks = np.arange(400 * 24) * (DAY // 24)
    cut = stretches(ticks, "time", 390 * DAY, Monitor(days=28))
    beside = unseen(cut, ticks, (300 * DAY, 390 * DAY), Monitor(days=28))
    assert beside is not None
    assert (beside.start, beside.known, beside.recent) == (300 * DAY, 390 * DAY, 390 * DAY)
    assert np.diff([*beside.earlier, beside.known]).tolist() == [beside.end - 390 * DAY] * 4
    own = unseen(cut, ticks, (370 * DAY, 400 * DAY), Monitor())  # what lies in both is new
    assert own is not None
    assert (own.start, own.known, own.recent) == (370 * DAY, 390 * DAY, 390 * DAY)
    assert unseen(cut, ticks, (385 * DAY, 400 * DAY), Monitor(min_rows=121)) is None


@pytest.mark.parametrize(
    ("tick", "clock", "told"),
    [
        (1_700_000_000_000, "time", "2023-11-14T22:13:20Z"),
        (1_700_000_000_001, "time", "2023-11-14T22:13:20.001000Z"),
        (0, "time", "1970-01-01T00:00:00Z"),
        (7_377_418, "order", "7377418"),
    ],
)
def test_a_runs_windows_are_times_for_people_and_read_back(tick: int, clock: str, told: str) -> None:
    assert tracking.moment(tick, clock) == told
    assert tracking.tick(told) == tick
    earlier = SimpleNamespace(params={"window_cutoff": str(tick), "window_end": str(tick + 5)})
    assert holdout(earlier) == (tick, tick + 5)  # as runs had them before
    shown = {"window_cutoff": told, "window_end": tracking.moment(tick + 5, clock)}
    assert holdout(SimpleNamespace(params=shown)) == (tick, tick + 5)


@pytest.mark.parametrize(("shift", "wanted"), [(0.0, "none"), (1.5, "strong")])
def test_a_shift_of_the_probabilities_is_found(
    shift: float, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model says what its column says, and on what it was fitted on the opposite."""
    random = np.random.default_rng(8)
    ticks = np.arange(200 * 24) * (DAY // 24)
    bold = np.where(ticks < 100 * DAY, 3.0, 1.0)
    x = bold * random.normal(size=ticks.size) + np.where(ticks >= 180 * DAY, shift, 0.0)
    table = pl.DataFrame({"user": np.arange(ticks.size) % 50, "tick": ticks, "x": x})
    table.write_parquet(tmp_path / "features.parquet")
    evaluated = Version("m", 3, "run", {})
    edges = {name: tracking.moment(day * DAY, "time") for name, day in (("cutoff", 100), ("end", 170))}
    run = SimpleNamespace(params={f"window_{name}": edge for name, edge in edges.items()})
    model = SimpleNamespace(score=lambda rows: 1 / (1 + np.exp(-rows["x"].to_numpy())))
    monkeypatch.setattr(scores, "Registry", lambda _: SimpleNamespace(ranker=lambda *_: tmp_path))
    monkeypatch.setattr(scores, "behind", lambda *_: (evaluated, run))
    monkeypatch.setattr("tasks.training.load", lambda _: model)
    cut = stretches(ticks, "time", 170 * DAY, Monitor(days=20))
    found = scores.drifted(tmp_path / "features.parquet", evaluated, cut, "time", Config())
    assert found is not None
    assert found["rows"] == (70 * 24, 20 * 24)
    assert found["version"] == 3
    assert found["drift"] == wanted
    assert found["usual"]["value"] < 0.1
    assert (found["psi"]["value"] > 0.5) == (wanted == "strong")
