"""`tune` from the command line: a YAML that runs, trials once in MLflow, a kill that changes nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.loading import load
from tasks.tuning import of_plays
from tests.flows.conftest import Place, artifacts, latest
from tests.flows.test_bad_input import refusal

FEW = ("tune.trials=3", "tune.startup=2", "tune.windows=1", "split.min_rows=50")


def runs(place: Place, target: str = "completed") -> tuple[Any, list[Any]]:
    """The search's run in MLflow and its trials, in their order; there is one of each."""
    client = place.registry().client
    experiment = client.get_experiment_by_name("encore").experiment_id
    (parent,) = client.search_runs(
        [experiment], f"tags.`encore.tunes` != '' and tags.target = '{target}'"
    )
    below = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    trials = client.search_runs([experiment], below)
    return parent, sorted(trials, key=lambda run: int(run.data.tags["encore.trial"]))


@pytest.fixture(scope="module")
def tuned(simulated: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A copy of a place where a model was trained, and a search in it."""
    folder = tmp_path_factory.mktemp("tuned")
    shutil.copytree(simulated.folder, folder, dirs_exist_ok=True)
    place = replace(simulated, folder=folder, settings=FEW)
    assert place.run("tune") == 0
    return place


def test_the_settings_can_be_trained_with_as_they_are(tuned: Place) -> None:
    told = load(tuned.output / "tuned.yaml", [])
    given = tuned.loaded
    assert told.model_copy(update={"models": given.models, "tune": given.tune}) == given
    client = tuned.registry().client
    parent, _ = runs(tuned)
    best = parent.data.params
    assert {
        name: str(getattr(told.models.lightgbm, name)) for name in of_plays.SPACE
    }.items() <= best.items()
    assert parent.data.tags["encore.found"] in ("better", "no better", "worse", "same")
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    report = (tuned.output / "TUNING.md").read_text()
    assert f"`python -m flows retrain --config {tuned.output / 'tuned.yaml'}`" in report
    assert (tuned.output / "figures" / "tuning_search.svg").is_file()
    assert (tuned.output / "RESULTS.md").is_file()  # beside what lay there


def test_each_trial_is_a_run_below_the_searchs_and_in_prefect(tuned: Place) -> None:
    flow_run, steps = latest("tune")
    names = {step.name for step in steps}
    assert {f"trial {number}" for number in range(4)} <= names
    kept = artifacts(flow_run)
    assert kept["verdict"].startswith("## ")
    assert len(json.loads(kept["trials"])) == 4
    assert kept["progress"] == 100
    _, trials = runs(tuned)
    assert [run.data.tags["encore.trial"] for run in trials] == ["0", "1", "2", "3"]
    client = tuned.registry().client
    for run in trials:
        assert set(run.data.params) == set(of_plays.SPACE)
        assert ("log_loss" in run.data.metrics) == (run.data.tags["encore.state"] == "complete")
        curve = client.get_metric_history(run.info.run_id, "log_loss_on_the_way")
        assert [each.step for each in curve] == sorted({each.step for each in curve})
    assert trials[0].data.tags["encore.state"] == "complete"
    assert trials[0].data.params["num_leaves"] == "31"


def test_killed_amid_a_batch_it_ends_the_same(
    tuned: Place, simulated: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards everything is there once: the same YAML to the last byte, no run twice."""
    shutil.copytree(simulated.folder, tmp_path, dirs_exist_ok=True)
    place = replace(tuned, folder=tmp_path)
    judged, calls = of_plays.judged, []

    def dies(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("no more")
        return judged(*given)

    monkeypatch.setattr(of_plays, "judged", dies)
    assert place.run("tune") == 1
    assert len(runs(place)[1]) == 2
    for _ in range(2):  # it goes on; and once more, which does nothing
        assert place.run("tune") == 0
        yaml = (place.output / "tuned.yaml").read_text().replace(str(tmp_path), str(tuned.folder))
        assert yaml == (tuned.output / "tuned.yaml").read_text()
    parent, trials = runs(place)
    assert [run.data.params for run in trials] == [run.data.params for run in runs(tuned)[1]]
    assert parent.info.status == "FINISHED"
    assert len(calls) <= 4 + 1 + 2


def test_lists_tune_als(tuned: Place, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("labels.target=played", "tune.trials=2", "lists.training_windows=1")
    assert tuned.run("tune", *few, f"output.dir={tuned.folder / 'lists'}") == 0
    assert "of ALS" in capsys.readouterr().out
    told = load(tuned.folder / "lists" / "tuned.yaml", [])
    assert told.labels.target == "played"
    assert told.retrieval.als.trials == 0
    _, trials = runs(tuned, "played")
    assert len(trials) == 3
    assert all("ndcg_at_10" in run.data.metrics for run in trials)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tune.trials=0", "bad setting | place: tune.trials | found: 0 | expected: at least 1"),
        ("tune.model=forest", "unknown setting | place: tune.model"),
        ("tune.windows=40", "do not bear that many windows | place: tune.windows | found: 40"),
        ("retrieval.retrievers=[popular]", "the settings of ALS are not used"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(
    tuned: Place, setting: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    more = ["labels.target=played"] if setting.startswith("retrieval") else []
    assert tuned.run("tune", setting, *more, f"output.dir={tmp_path}") == 2
    assert said in refusal(capsys)
    assert not list(tmp_path.iterdir())
