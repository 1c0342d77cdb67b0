"""Settings of ALS are judged by its own lists on windows before the judged ones, as within a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.config import Config
from schemas.errors import InputError
from schemas.tuning import Tune
from schemas.two_stage import Retrieval
from tasks import stages as training_stages
from tasks.tuning import of_lists, result, stages
from tasks.tuning.kinds import Material, values
from tasks.tuning.search import STRETCH
from tasks.tuning.stages import Tried
from tests import logs
from tests.tuning.searches import search
from tests.two_stage import test_als_tuning as kept

NO_ENTRY: Any = None
UNABLE = {"regularization": 1e6}  # beyond all plays: the order is noise


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("log")
    tracks = [{"track_id": f"t{code:02}"} for code in range(kept.TRACKS)]
    users = [{"user_id": f"u{code:02}"} for code in range(kept.USERS)]
    return logs.write(kept.tastes(1), folder, tracks, users)


@pytest.fixture
def made(history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Config, Material]:
    monkeypatch.setattr(training_stages, "past", lambda *_: history)
    config = kept.CONFIG.model_copy(
        update={
            "labels": kept.CONFIG.labels.model_copy(update={"target": "played"}),
            "store": kept.CONFIG.store.model_copy(update={"path": tmp_path}),
            "tune": Tune(trials=4, startup=2, parallel=2),
        }
    )
    entries = {"data": NO_ENTRY, "labels": NO_ENTRY}
    edges = [(span.cutoff, span.end) for span in kept.SPANS]
    return config, Material(entries, kept.SPANS, edges, ["plays 1"], {})


def test_a_search_is_judged_as_within_a_run_and_confirmed_on_the_newest_window(
    made: tuple[Config, Material], history: Any
) -> None:
    config, found = made
    done, verdict = search(config, found)
    with logs.warehouse(history.plays.parent) as house:
        read = list(kept.als_tuning.read(history, kept.SPANS, config, house))
    own = [kept.als_tuning.judge([window], config.retrieval, config)["ndcg"] for window in read]
    newest, *others = (values.to_list() for values in own)
    pooled = [*others[0], *others[1]]
    given = done[0].entry.facts
    assert given["value"] == pytest.approx(sum(pooled) / len(pooled))
    assert given["curve"] == [[0, pytest.approx(sum(others[0]) / len(others[0]))]]
    assert (given["windows"], given["users"]) == (2, len(pooled))
    assert verdict.facts["comparison"]["given"][0] == pytest.approx(sum(newest) / len(newest))
    assert verdict.facts["comparison"]["rows"] == len(newest)
    assert verdict.facts["comparison"]["unit"] == "user"


def test_settings_that_cannot_learn_are_given_up_after_a_window_and_beaten(
    made: tuple[Config, Material],
) -> None:
    config, found = made
    good = values(config, of_lists)
    done = [
        Tried(number, point, stages.tried(config, found, point, []))
        for number, point in enumerate([good, good | {"factors": 8}])
    ]
    bad = stages.tried(config, found, good | UNABLE, done)
    assert bad.facts["value"] is None
    assert [step for step, _ in bad.facts["curve"]] == [STRETCH * 0]
    hopeless = config.model_copy(
        update={"retrieval": Retrieval(als=config.retrieval.als.model_copy(update=UNABLE))}
    )
    more = hopeless.model_copy(update={"tune": Tune(trials=5, startup=6)})
    _, verdict = search(more, found)
    assert verdict.facts["best"] > 0
    assert verdict.facts["comparison"]["difference"][0] > 0.01
    again = result.settings(hopeless, verdict.facts, "so")
    assert "regularization: 1000000.0" not in again
    assert "trials: 0" in again  # not tuned again within each run


def test_settings_that_nothing_uses_and_windows_without_plays_are_refused(
    made: tuple[Config, Material],
) -> None:
    config, found = made
    without = config.model_copy(update={"retrieval": Retrieval(retrievers=("popular",))})
    with pytest.raises(InputError, match=r"ALS are not used \| place: retrieval\.retrievers"):
        stages.kind(without)
    late = kept.ms(kept.BASE.replace(year=2031))
    empty = [type(span)(late, late + 1) for span in found.windows]
    nothing = Material(found.entries, empty, found.edges, found.inputs, found.read)
    with pytest.raises(InputError, match="nobody played in the windows"):
        stages.tried(config, nothing, values(config, of_lists), [])
