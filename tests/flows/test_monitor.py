"""`monitor` on a model that was trained before: what it writes, says, notes and reports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Place, artifacts, latest
from tests.flows.test_bad_input import refusal

FILES = {"MONITOR.md", "monitor.html", "monitor.json", "figures/monitor_drift.svg"}


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is told to whoever listens."""
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("flows.monitor.emit_event", lambda name, **more: told.append((name, more)))
    return told


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_new_labels_make_retraining_pay(
    simulated: Place, tmp_path: Path, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """The evaluated version has not seen the holdout, a fifth of the plays."""
    settings = ("evaluation.model=1", "monitor.growth=0.1", f"output.dir={tmp_path}")
    assert simulated.run("monitor", *settings) == 0
    assert written(tmp_path) == FILES | {"figures/monitor_calibration.svg"}
    told = json.loads((tmp_path / "monitor.json").read_text())
    assert told["verdict"] == "retraining pays"
    # on its own holdout the model is what was logged of it
    sizes = simulated.facts("features")["sizes"]
    assert told["model"]["rows"] == told["labels"]["new"] == sizes["holdout"]["rows"]
    for metric in ("auc", "log_loss", "brier"):
        assert told["model"]["now"][metric] == pytest.approx(told["model"]["then"][metric])
        assert told["model"]["change"][metric]["value"] == pytest.approx(0)
    assert {row["feature"] for row in told["features"]} == set(simulated.facts("features")["names"])
    assert sum(row["gain"] for row in told["features"]) == pytest.approx(1)
    # its probabilities there, until the newest four weeks and in them: of one world, and none its own
    assert sum(told["scores"]["rows"]) >= sizes["holdout"]["rows"]
    assert told["scores"]["version"] == 1
    assert told["scores"]["drift"] == "none"
    text = (tmp_path / "MONITOR.md").read_text()
    assert "| (the probability itself) |" in text
    assert text.startswith("# encore-demo-completed version 1: retraining pays\n\n**Retraining pays: ")
    assert "http" not in (tmp_path / "monitor.html").read_text().replace("http://www.w3.org", "")
    ((name, event),) = events
    assert name == "encore.drift.reported"
    assert event["resource"] == {"prefect.resource.id": "encore.dataset.demo"}
    assert event["payload"]["verdict"] == "retraining pays"
    assert "labels" in event["payload"]["reasons"]
    json.dumps(event["payload"])
    kept = artifacts(latest("monitor")[0])
    assert kept["verdict"].startswith("## Retraining pays")
    drift = json.loads(kept["drift"])
    assert len(drift) == len(told["features"])
    # a large index that is no drift says why, where the training had such stretches
    assert [row["usual"] == "–" for row in drift] == [not row["usual"] for row in told["features"]]
    # noted once in MLflow, without a listener's name
    registry = simulated.registry()
    assert simulated.run("monitor", *settings) == 0
    (run,) = registry.client.search_runs(
        [registry.client.get_experiment_by_name("encore").experiment_id],
        filter_string="tags.`encore.verdict` = 'retraining pays'",
    )
    assert run.data.metrics["labels_since_training"] == sizes["holdout"]["rows"]
    assert run.data.metrics["psi_max"] >= 0


def test_a_model_that_knows_all_of_the_data_cannot_be_judged(
    simulated: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], events: list[Any]
) -> None:
    """The champion was fitted again on all plays; beside another report lies a folder below it."""
    output = tmp_path / "output"
    shutil.copytree(simulated.output, output)
    before = written(output)
    assert simulated.run("monitor", f"output.dir={output}") == 0
    assert "verdict: Too little new data to say: " in capsys.readouterr().out
    assert written(output) - before == {f"monitor/{name}" for name in FILES}
    told = json.loads((output / "monitor" / "monitor.json").read_text())
    assert told["cut"]["seen"]
    assert told["cut"]["new"] == 0
    assert told["model"] is None
    assert not events


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("dataset=nobody", "no registered model to monitor | place: evaluation.model | found: champion"),
        ("labels.target=played", "no registered model to monitor"),
        ("monitor.min_rows=9000", "too few rows to compare in the newest stretch"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    simulated: Place, setting: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert simulated.run("monitor", setting, f"output.dir={tmp_path}") == 2
    assert said in refusal(capsys)
    assert not written(tmp_path)
