"""Lists since training: no cry where listeners go on as they did, one where their tastes turned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.config import Evaluation
from schemas.monitoring import Monitor
from schemas.two_stage import Lists
from tasks.metrics.binary import Interval
from tasks.monitoring.lists import quality
from tasks.monitoring.verdict import of_lists
from tasks.two_stage import stages as two_stage
from tests.logs import Log, Row
from tests.two_stage.test_stages import QUICK, Done, ingested, ran, world

UNTIL = 42 * 24 * 60  # minutes; what the lists are trained on
DAY = 86_400_000
RANKER = "logistic"
SETTINGS = QUICK.model_copy(
    update={
        "lists": QUICK.lists.model_copy(
            update={"max_users": 12, "rankers": (RANKER,), "champion_candidate": RANKER}
        ),
        "evaluation": Evaluation(resamples=300, min_users=5),
    }
)


def minutes(row: Row, first: Row) -> float:
    return float((row["started_at"] - first["started_at"]).total_seconds() / 60)


def turned(row: Row) -> Row:
    """The same play of a listener who has gone over to the next genre."""
    code = int(row["track_id"][1:])
    return {**row, "track_id": f"t{code // 3 * 3 + (code + 1) % 3:02}"}


@pytest.fixture(scope="module")
def whole() -> Log:
    return world("time", size=2400)


@pytest.fixture(scope="module")
def trained(whole: Log, tmp_path_factory: pytest.TempPathFactory) -> Done:
    first = whole.plays[0]
    known = whole.with_plays([row for row in whole.plays if minutes(row, first) < UNTIL])
    return ran(known, tmp_path_factory.mktemp("store"), SETTINGS)


@pytest.mark.parametrize("drifts", [False, True])
def test_only_lists_that_lost_their_lead_are_a_reason(whole: Log, trained: Done, drifts: bool) -> None:
    first = whole.plays[0]
    rows = [turned(row) if drifts and minutes(row, first) >= UNTIL else row for row in whole.plays]
    data, outcomes = ingested(replace(whole, plays=rows), trained.settings)
    spans = two_stage.matured(trained.settings, data, trained.spans[-1].end, 1)
    (span,) = spans
    windows = [two_stage.candidates_at(trained.settings, data, outcomes, span, False)]
    judged = two_stage.lists_evaluated(trained.settings, data, [(windows[0], trained.fits)])
    then = quality(trained.judged, RANKER, {})["now"]
    found = quality(judged, RANKER, {name: Interval(**each) for name, each in then.items()})
    lists, *_ = of_lists(600, False, (600, 1800), [], found, Monitor())
    assert (found["best"] == "popular") == drifts  # which knows nobody's tastes
    assert (found["now"]["ndcg"]["value"] < then["ndcg"]["value"] - 0.5) == drifts
    assert lists.says == ("retrain" if drifts else "nothing"), lists.told


def test_windows_since_training_follow_each_other_and_have_passed(trained: Done) -> None:
    """Data of 42 days, windows of 7."""
    settings, data = trained.settings, trained.data
    end = trained.spans[-1].end
    found = two_stage.matured(settings, data, end - 17 * DAY, 9)
    assert [(end - span.cutoff) / DAY for span in found] == [17, 10]
    assert [span.end - span.cutoff for span in found] == [7 * DAY] * 2
    assert two_stage.matured(settings, data, end - 17 * DAY, 1) == found[1:]
    assert two_stage.matured(settings, data, end, 9) == []
    weeks: Any = two_stage.matured(settings, data, 0, 100)  # of other data: all but the first moment
    assert len(weeks) == 5
    assert Lists().horizon_days == 28
