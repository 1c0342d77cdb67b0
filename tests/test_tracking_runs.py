"""Runs of MLflow that a killed process left: ended where they are whole, else removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.config import Tracking
from tasks import tracking_runs
from tasks.registry import Registry
from tests.made import training


@pytest.fixture
def registry(empty_mlflow: Path, tmp_path: Path) -> Registry:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return Registry(Tracking(uri=uri, artifacts=tmp_path / "mlflow"))


@pytest.fixture
def dead() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def left(registry: Registry, key: str, pid: int) -> str:
    """A run that is under way in this process, as MLflow has it."""
    told = tracking_runs.tags(key)
    told[tracking_runs.PROCESS] = f"{told[tracking_runs.PROCESS].rpartition(':')[0]}:{pid}"
    return str(registry.client.create_run(registry._experiment, tags=told).info.run_id)


def statuses(registry: Registry) -> dict[str, str]:
    found = registry.client.search_runs([registry._experiment])
    return {run.info.run_id: run.info.status for run in found}


def test_half_a_training_is_removed_with_its_models_by_the_next_of_any_kind(
    registry: Registry, tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("os.getpid", lambda: dead)
        child = registry._child(told := training("half", tmp_path / "half"), told.children[0])
    parent = left(registry, "half", dead)
    assert child
    assert statuses(registry)[parent] == "RUNNING"
    run_id, version = registry.record(training("whole", tmp_path / "whole"))
    assert set(statuses(registry).values()) == {"FINISHED"}
    assert len(statuses(registry)) == 2
    models = registry.client.search_logged_models([registry._experiment])
    assert {model.source_run_id for model in models} < set(statuses(registry))
    assert registry.record(training("whole", tmp_path / "whole")) == (
        run_id,
        registry.version(version.name, str(version.number)),
    )


def test_a_whole_training_that_was_opened_again_is_ended_and_kept(
    registry: Registry, tmp_path: Path, dead: int
) -> None:
    told = training("whole", tmp_path / "whole")
    run_id, version = registry.record(told)
    left_open = registry.client.get_run(run_id).data.tags[tracking_runs.PROCESS].rpartition(":")[0]
    registry.client.update_run(run_id, status="RUNNING")
    registry.client.set_tag(run_id, tracking_runs.PROCESS, f"{left_open}:{dead}")
    refit = left(registry, "whole", dead)
    registry.record(training("other", tmp_path / "other"))
    found = statuses(registry)
    assert found[run_id] == "FINISHED"
    assert refit not in found
    assert set(found.values()) == {"FINISHED"}
    assert registry.record(told) == (run_id, registry.version(version.name, "1"))


def test_what_runs_is_left_alone(registry: Registry, tmp_path: Path, dead: int) -> None:
    alive = left(registry, "alive", os.getpid())
    elsewhere = left(registry, "elsewhere", dead)
    registry.client.set_tag(elsewhere, tracking_runs.PROCESS, f"another:{dead}")
    registry.record(training("mine", tmp_path / "mine"))
    found = statuses(registry)
    assert (found[alive], found[elsewhere]) == ("RUNNING", "RUNNING")
