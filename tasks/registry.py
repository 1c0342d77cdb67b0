"""The only door to MLflow: runs, data sets, models without pickle, versions and aliases.

A training is named by its key. Recording it again finds the finished run and does nothing; what
a killed run left half-done is removed first, so that the registry never holds half a model.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.config import Tracking
from tasks import tracking_runs
from tasks.ranking.protocol import Column
from tasks.tracking_store import opening, using

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mlflow", "lightgbm", "numpy", "polars", "scikit-learn")
KEY, COMPLETE, REFIT = tracking_runs.KEY, tracking_runs.COMPLETE, "encore.refit"


@dataclass(frozen=True)
class Child:
    """One ranker of a training: its fitted folder, its columns and its numbers."""

    name: str
    folder: Path
    columns: tuple[Column, ...]
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """All that a parent run records."""

    key: str
    name: str
    model: str
    candidate: str
    parameters: Mapping[str, Any]
    configuration: Mapping[str, Any]
    metrics: Mapping[str, float]
    datasets: Mapping[str, tuple[str, str]]
    children: Sequence[Child]
    version_tags: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]


class Registry:
    """A tracking and registry store."""

    def __init__(self, settings: Tracking) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is raised as well
        self._mlflow = mlflow
        self._settings = settings
        mlflow.set_tracking_uri(settings.uri)
        mlflow.set_registry_uri(settings.uri)
        with opening(settings):
            self.client: MlflowClient = mlflow.MlflowClient()
            self._experiment = self._experiment_id()

    def _experiment_id(self) -> str:
        found = self.client.get_experiment_by_name(self._settings.experiment)
        if found is not None:
            return str(found.experiment_id)
        local = self._settings.uri.startswith("sqlite:")
        where = self._settings.artifacts.resolve().as_uri() if local else None
        return str(self.client.create_experiment(self._settings.experiment, artifact_location=where))

    def record(self, training: Training) -> tuple[str, Version]:
        """The parent run's id and the candidate's version; made unless both are complete.

        The version gets the alias ``challenger``. What killed runs of any training left is cleared.
        """
        with using(self._settings):
            tracking_runs.clear(self.client, self._experiment)
            done = self._complete(training)
            if done is None:
                self._remove_half(training)
                done = self._record(training)
            return done

    def _record(self, training: Training) -> tuple[str, Version]:
        mlflow = self._mlflow
        with mlflow.start_run(
            experiment_id=self._experiment, run_name=training.name, tags=tracking_runs.tags(training.key)
        ) as parent:
            mlflow.log_params(dict(training.parameters))
            mlflow.log_dict(dict(training.configuration), "config.json")
            mlflow.log_metrics(_finite(training.metrics))
            for name, (digest, source) in training.datasets.items():
                mlflow.log_input(_dataset(name, digest, source), context="training")
            uris = {child.name: self._child(training, child) for child in training.children}
        tags = {**training.version_tags, KEY: training.key}
        uri, run_id = uris[training.candidate], parent.info.run_id
        version = self._make_version(training.model, uri, run_id, tags)
        self.client.set_registered_model_alias(training.model, "challenger", str(version.number))
        self.client.set_tag(run_id, COMPLETE, str(version.number))
        return run_id, version

    def _child(self, training: Training, child: Child) -> str:
        mlflow = self._mlflow
        with mlflow.start_run(
            experiment_id=self._experiment,
            run_name=child.name,
            nested=True,
            tags=tracking_runs.tags(training.key) | {"encore.ranker": child.name},
        ):
            mlflow.log_params(dict(child.parameters))
            uri = self._log_model(child.folder, child.columns, child.name)
            # the run's and its model's at once: of what a run has before, MLflow copies one by one
            mlflow.log_metrics(_finite(child.metrics), model_id=uri.removeprefix("models:/"))
            return uri

    def _log_model(self, folder: Path, columns: tuple[Column, ...], name: str) -> str:
        import pandas as pd
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        # An invented row, so that no listener's data lies in the model's folder.
        example = pd.DataFrame(
            {column.name: ["other" if column.category else 0.0] for column in columns}
        )
        inputs: list[Any] = [
            ColSpec("string" if column.category else "double", column.name, required=False)
            for column in columns
        ]
        info = self._mlflow.pyfunc.log_model(
            name=name,
            python_model=str(ROOT / "tasks" / "ranking" / "served.py"),
            artifacts={"ranker": str(folder)},
            code_paths=[str(ROOT / "tasks"), str(ROOT / "schemas")],
            signature=ModelSignature(Schema(inputs), Schema([ColSpec("double")])),
            input_example=example,
            pip_requirements=[f"{package}=={installed(package)}" for package in PACKAGES],
        )
        return str(info.model_uri)

    def _make_version(self, name: str, uri: str, run_id: str, tags: Mapping[str, str]) -> Version:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return self._version_of(name, uri, run_id, tags)

    def _version_of(self, name: str, uri: str, run_id: str, tags: Mapping[str, str]) -> Version:
        """A version of the model logged at ``models:/<id>``; a server wants the id by itself too."""
        model = uri.removeprefix("models:/")
        tracking_runs.settle(self.client, self._experiment, tags[KEY], run_id)
        made = self.client.create_model_version(
            name, source=uri, run_id=run_id, tags=dict(tags), model_id=model
        )
        return self._only(_version(made))

    def _only(self, version: Version) -> Version:
        """This version, without twins: a server killed before it answers has made one, and is asked
        for it again."""
        for found in self._versions(version.name):
            same = (found.run_id, found.tags.get(KEY)) == (version.run_id, version.tags[KEY])
            if same and found.number != version.number:
                self.client.delete_model_version(found.name, str(found.number))
        return version

    def publish(
        self, training: Training, child: Child, evaluated: Version, tags: Mapping[str, str]
    ) -> Version:
        """Register the refit on all data beside its evaluated version; it links to it by a tag."""
        with using(self._settings):
            for found in self._versions(training.model):
                if found.tags.get(KEY) == training.key and "evaluated_version" in found.tags:
                    return self._only(found)
            for run in self._runs(training.key):
                if REFIT in run.data.tags:  # of a killed run: no version came of it
                    tracking_runs.remove(self.client, self._experiment, run)
            return self._publish(training, child, evaluated, tags)

    def _publish(
        self, training: Training, child: Child, evaluated: Version, tags: Mapping[str, str]
    ) -> Version:
        mlflow = self._mlflow
        linked = {**training.version_tags, **tags, "evaluated_version": str(evaluated.number)}
        own = tracking_runs.tags(training.key)
        with (
            mlflow.start_run(run_id=evaluated.run_id, tags=own),
            mlflow.start_run(
                experiment_id=self._experiment,
                run_name=f"{child.name} on all data",
                nested=True,
                tags={**own, "encore.ranker": child.name, REFIT: "true"},
            ) as run,
        ):
            mlflow.log_params(dict(child.parameters))
            uri = self._log_model(child.folder, child.columns, child.name)
        tags = {**linked, KEY: training.key}
        return self._version_of(training.model, uri, run.info.run_id, tags)

    def package(
        self, name: str, folder: Path, key: str, ranker: Version, tags: Mapping[str, str]
    ) -> Version:
        """Register the recommender in ``folder`` as ``name`` and champion; once for each ``key``.

        It is logged in the run of ``ranker``, the version that it ranks with.
        """
        with using(self._settings):
            for found in self._versions(name):
                if found.tags.get(KEY) == key:
                    self.client.set_registered_model_alias(name, "champion", str(found.number))
                    return self._only(found)
            uri = self._log_recommender(folder, ranker.run_id)
            version = self._make_version(name, uri, ranker.run_id, {**tags, KEY: key})
            self.client.set_registered_model_alias(name, "champion", str(version.number))
            return version

    def _log_recommender(self, folder: Path, run_id: str) -> str:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        given = (("string", "user_id", True), ("long", "k", False), ("string", "heard", False))
        asked = Schema([ColSpec(kind, name, required=needed) for kind, name, needed in given])
        key = self.client.get_run(run_id).data.tags[KEY]
        with self._mlflow.start_run(run_id=run_id, tags=tracking_runs.tags(key)):
            info = self._mlflow.pyfunc.log_model(
                name="recommender",
                python_model=str(ROOT / "tasks" / "two_stage" / "served.py"),
                artifacts={"recommender": str(folder)},
                code_paths=[str(ROOT / "tasks"), str(ROOT / "schemas")],
                signature=ModelSignature(asked),
                pip_requirements=[f"{package}=={installed(package)}" for package in PACKAGES],
            )
        return str(info.model_uri)

    def version(self, name: str, which: str) -> Version | None:
        """The version of an alias or number; None if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            if which.isdigit():
                return _version(self.client.get_model_version(name, which))
            return _version(self.client.get_model_version_by_alias(name, which))
        except MlflowException:
            return None

    def set_alias(self, version: Version, alias: str) -> None:
        """Point an alias at a version."""
        with using(self._settings):
            self.client.set_registered_model_alias(version.name, alias, str(version.number))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with using(self._settings):
            for name, value in tags.items():
                self.client.set_model_version_tag(version.name, str(version.number), name, value)

    def describe(self, version: Version, text: str) -> None:
        """Set what MLflow's page of a version says first."""
        with using(self._settings):
            self.client.update_model_version(version.name, str(version.number), description=text)

    def ranker(self, version: Version, folder: Path) -> Path:
        """Download a version's ranker into ``folder``; returns where it lies."""
        source = f"models:/{version.name}/{version.number}"
        path = Path(self._mlflow.artifacts.download_artifacts(source, dst_path=str(folder)))
        (saved,) = path.rglob("ranker.json")
        return saved.parent

    def measure(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to a run."""
        self._mlflow.log_metrics(_finite(metrics), run_id=run_id)

    def note(
        self, run_id: str, told: Mapping[str, Any], curves: Mapping[str, Sequence[tuple[int, float]]]
    ) -> None:
        """Add parameters, and metrics as pairs of step and value, to a run, all in one go."""
        made, now = self._mlflow.entities, int(time.time() * 1000)
        curve = [made.Metric(name, at[1], now, at[0]) for name, each in curves.items() for at in each]
        self.client.log_batch(run_id, curve, [made.Param(*map(str, each)) for each in told.items()])

    def attach(self, run_id: str, folder: Path, place: str) -> None:
        """Copy a folder's files to the run's artifacts."""
        self.client.log_artifacts(run_id, str(folder), place)

    def attach_json(self, run_id: str, content: Any, place: str) -> None:
        """Write JSON to the run's artifacts."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / Path(place).name
            path.write_text(json.dumps(content, indent=1, sort_keys=True, default=str), encoding="utf-8")
            parent = str(Path(place).parent)
            self.client.log_artifact(run_id, str(path), None if parent == "." else parent)

    def _versions(self, name: str) -> list[Version]:
        escaped = name.replace("'", "")
        return [_version(found) for found in self.client.search_model_versions(f"name='{escaped}'")]

    def _complete(self, training: Training) -> tuple[str, Version] | None:
        for run in self._runs(training.key):
            number = run.data.tags.get(COMPLETE)
            version = self.version(training.model, number) if number else None
            if version is not None:
                return run.info.run_id, version
        return None

    def _remove_half(self, training: Training) -> None:
        for found in self._versions(training.model):
            if found.tags.get(KEY) == training.key:
                self.client.delete_model_version(found.name, str(found.number))
        for run in self._runs(training.key):
            tracking_runs.remove(self.client, self._experiment, run)

    def _runs(self, key: str) -> list[Any]:
        return tracking_runs.of(self.client, self._experiment, key)


def _version(found: Any) -> Version:
    return Version(found.name, int(found.version), found.run_id, dict(found.tags))


def _dataset(name: str, digest: str, source: str) -> Any:
    import mlflow.data.sources
    from mlflow.data.meta_dataset import MetaDataset

    sources: Any = mlflow.data.sources  # its classes are made at run time
    made: Any = MetaDataset
    return made(sources.LocalArtifactDatasetSource(source), name=name, digest=digest[:36])


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {
        name: value for name, value in metrics.items() if value == value and abs(value) != float("inf")
    }
