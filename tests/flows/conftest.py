"""One Prefect server for all flows run in this process, and places that hold all they write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.__main__ import main
from schemas.config import Config, Tracking
from schemas.loading import load

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    "simulation.users=4",
    "simulation.plays=4000",
    "simulation.tracks=400",
    "models.lightgbm.max_trees=30",
    "evaluation.resamples=100",
    "audit.plays=3",
    "retrieval.als.trials=1",
)


@dataclass(frozen=True)
class Place:
    """A folder with everything that flows write: store, tracking, report."""

    folder: Path
    config: str
    settings: tuple[str, ...] = ()

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def overrides(self) -> list[str]:
        return [
            *QUICK,
            f"output.dir={self.output}",
            f"store.path={self.store}",
            f"tracking.uri=sqlite:///{self.folder / 'mlflow.db'}",
            f"tracking.artifacts={self.folder / 'mlflow'}",
            *self.settings,
        ]

    @property
    def loaded(self) -> Config:
        return load(ROOT / "configs" / f"{self.config}.yaml", self.overrides)

    def arguments(self, flow: str, *settings: str) -> list[str]:
        told = [flow, "--config", str(ROOT / "configs" / f"{self.config}.yaml")]
        for setting in (*self.overrides, *settings):
            told += ["--set", setting]
        return told

    def run(self, flow: str, *settings: str) -> int:
        """The command line, in this process; its exit code."""
        return main(self.arguments(flow, *settings))

    def entry(self, step: str) -> Path:
        """The first entry of a step in the store."""
        return min(
            (path for path in (self.store / step).iterdir() if not path.name.startswith(".")),
            key=lambda path: (path / "entry.json").stat().st_mtime_ns,
        )

    def facts(self, step: str) -> dict[str, Any]:
        """What the first entry of a step says of itself: facts, tables, sizes, seconds."""
        told = json.loads((self.entry(step) / "entry.json").read_text())
        return {**told["facts"], "tables": told["tables"]}

    def scored(self) -> pl.DataFrame:
        return pl.read_csv(self.output / "scored_samples.csv", schema_overrides={"user_id": pl.String})

    def registry(self) -> Any:
        from tasks.registry import Registry

        return Registry(Tracking(uri=self.loaded.tracking.uri, artifacts=self.folder / "mlflow"))


def latest(flow: str) -> tuple[Any, list[Any]]:
    """The newest run of a flow in Prefect, and its task runs."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
        return run, client.read_task_runs(flow_run_filter=wanted, limit=100)


def artifacts(run: Any) -> dict[str, Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        return {
            str(found.key): found.data
            for found in client.read_artifacts(artifact_filter=wanted, limit=100)
        }


def logs(run: Any) -> list[str]:
    """What a flow run wrote to Prefect's log; it arrives with a delay."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    with get_client(sync_client=True) as client:
        return [line.message for line in client.read_logs(log_filter=wanted)]


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """Prefect's own server in a process beside, with a database of its own."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),  # its end takes a second a flow
    ):
        yield


@pytest.fixture(scope="session")
def place(
    prefect: None, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Place]:
    """Makes a fresh place for one way of running."""

    def make(config: str, *settings: str) -> Place:
        folder = tmp_path_factory.mktemp(config)
        shutil.copy(empty_mlflow, folder / "mlflow.db")
        return Place(folder, config, settings)

    return make


@pytest.fixture(scope="session")
def first(place: Callable[..., Place]) -> tuple[Place, Any]:
    """The embedded default, retrained once, and its run in Prefect."""
    made = place("demo")
    assert made.run("retrain") == 0
    return made, latest("retrain")[0]


@pytest.fixture(scope="session")
def simulated(first: tuple[Place, Any]) -> Place:
    """The embedded default, retrained once."""
    return first[0]


@pytest.fixture(scope="session")
def real_spotify(place: Callable[..., Place], real_data: Path) -> Place:
    """A person's real account data, retrained once."""
    made = place("spotify", f"source.path={real_data / 'spotify_account'}")
    assert made.run("retrain") == 0
    return made


@pytest.fixture(scope="session")
def real_kkbox(place: Callable[..., Place], real_data: Path) -> Place:
    """The start of the real KKBox files, retrained once."""
    made = place("kkbox", f"source.path={real_data / 'kkbox'}")
    assert made.run("retrain") == 0
    return made


@pytest.fixture(scope="session")
def simulated_kkbox(place: Callable[..., Place]) -> Place:
    """A simulated world read through its KKBox files, retrained once."""
    world = ("simulation.format=kkbox", "simulation.plays=25000", "simulation.tracks=2000")
    made = place("demo", *world, "labels.target=repeat", "dataset=world", "split.min_rows=50")
    assert made.run("retrain") == 0
    return made
