"""kill -9 in the middle of a step, then the same command again: the same numbers, and nothing left over.

The runs are processes of their own against a Prefect server of its own, as a deployment has it.
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from flows.__main__ import ENVIRONMENT
from tests.flows.conftest import ROOT, Place

pytestmark = pytest.mark.timeout(900)  # five processes, each with its imports and a server to talk to

# step → where its temporary folder appears, below the place
WHERE = {
    "world": "store/world/.*",
    "ingest": "store/ingest/.*",
    "label": "store/labels/.*",
    "featurize": "store/features/.*",
    "audit": "store/audit/.*",
    "fit base_rate": "store/fit-base_rate/.*",
    "fit heuristic": "store/fit-heuristic/.*",
    "fit logistic": "store/fit-logistic/.*",
    "fit lightgbm": "store/fit-lightgbm/.*",
    "evaluate": "store/evaluate/.*",
    "record": "mlflow/models/*",
    "promote": "store/refit/.*",
    "playlist": "store/playlist/.*",
    "report": "store/report/.*",
    "publish": "output/.encore-*",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prefect server in a process of its own; the environment of those who use it."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= ENVIRONMENT | {"PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-services"]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(600):
            assert process.poll() is None, (home / "server.log").read_text()
            try:
                if httpx.get(f"{url}/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield environment | {"PREFECT_API_URL": url}
    finally:
        process.terminate()
        process.wait(30)


def start(made: Place, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *made.arguments("retrain")],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_in(step: str, made: Place, environment: dict[str, str]) -> None:
    """Run until the step's temporary folder appears, and kill the run then."""
    before = set(made.folder.glob(WHERE[step]))
    running = start(made, environment)
    while not set(made.folder.glob(WHERE[step])) - before:
        if running.poll() is not None:
            pytest.fail(f"ended before {step}: {running.communicate()[0]}")
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL


def finish(made: Place, environment: dict[str, str]) -> str:
    running = start(made, environment)
    shown, _ = running.communicate(timeout=240)
    assert running.returncode == 0, shown
    return shown


def numbers(made: Place) -> list[dict[str, str]]:
    """Every number of the comparison but the seconds."""
    with (made.output / "model_comparison.csv").open(encoding="utf-8", newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def whole(made: Place, undisturbed: Place) -> None:
    """The numbers of a run that nobody killed, and nothing half-done anywhere."""
    assert numbers(made) == numbers(undisturbed)
    for name in ("scored_samples.csv", "top_resume_playlist.csv", "feature_importance.csv"):
        assert (made.output / name).read_bytes() == (undisturbed.output / name).read_bytes(), name
    assert not list(made.output.glob(".*"))

    assert made.run("gc") == 0
    assert not [path for path in made.store.rglob(".*") if path.is_dir()]
    assert all((path / "entry.json").is_file() for path in made.store.glob("*/*"))
    stored = {place.split("/")[1] for place in WHERE.values() if place.startswith("store/")}
    assert {path.name for path in made.store.iterdir()} == stored | {"rebuilt"}  # the audit's rows

    registry, name = made.registry(), made.loaded.model_name
    versions = registry._versions(name)
    assert sorted(version.number for version in versions) == [
        registry.version(name, "challenger").number,
        registry.version(name, "champion").number,
    ]
    experiment = registry.client.get_experiment_by_name("encore")
    runs = registry.client.search_runs([experiment.experiment_id])
    assert len(runs) == 6  # the training, four models, the refit
    assert {run.info.status for run in runs} == {"FINISHED"}
    models = registry.client.search_logged_models([experiment.experiment_id])
    assert len(models) == 5


def ask(environment: dict[str, str], what: str, told: dict[str, Any]) -> list[dict[str, Any]]:
    answer = httpx.post(f"{environment['PREFECT_API_URL']}/{what}/filter", json=told)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(
    place: Callable[..., Place], simulated: Place, server: dict[str, str]
) -> None:
    made = place("demo")
    for step in ("ingest", "record", "promote"):
        kill_in(step, made, server)
    shown = finish(made, server)
    assert "Promotion: the first model of this name" in shown
    assert "reused" in shown
    whole(made, simulated)

    # the server saw it all
    newest = ask(server, "flow_runs", {"sort": "START_TIME_DESC", "limit": 1})[0]
    assert (newest["name"], newest["state_name"]) == ("retrain demo, target completed", "Completed")
    keys = {"flow_runs": {"id": {"any_": [newest["id"]]}}}
    found = {artifact["key"]: artifact["data"] for artifact in ask(server, "artifacts", keys)}
    assert found["progress"] == 100
    assert {"model-comparison", "audit", "promotion", "verdict"} <= set(found)


@pytest.mark.bench
@pytest.mark.parametrize("step", WHERE)
def test_a_kill_in_any_step_changes_nothing(
    step: str, place: Callable[..., Place], simulated: Place, server: dict[str, str]
) -> None:
    made = place("demo")
    kill_in(step, made, server)
    finish(made, server)
    whole(made, simulated)
