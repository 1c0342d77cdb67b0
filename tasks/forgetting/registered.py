"""A listener in MLflow: recommenders that hold them, files that name them, models trained with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import polars as pl

from tasks.forgetting.published import names
from tasks.forgetting.tombstones import INSTEAD, Tombstone
from tasks.registry import Registry

OURS = "encore-"
RECOMMENDER = "recommender"  # what `package` logs is called
PARENT = "mlflow.parentRunId"
EVERY = 3  # MLflow's ViewType.ALL: what is deleted there still has its files
TEXTS = (".json", ".md", ".csv", ".html", ".svg", ".txt", ".yaml")


@dataclass(frozen=True)
class Recommender:
    """A logged recommender: its id (None if only its files are left), where its files are."""

    model_id: str | None
    uri: str


@dataclass(frozen=True)
class Models:
    """Registered versions, one line each."""

    with_them: list[str]
    unknown: list[str]


def holding(registry: Registry, ids: Sequence[str]) -> list[Recommender]:
    """Every logged recommender with one of these listeners, registered or not, also deleted ones of
    which a local store still has the files.
    """
    found = [
        Recommender(model.model_id, model.artifact_location)
        for model in _logged(registry)
        if _served(model.artifact_location, ids)
    ]
    seen = {each.uri.rstrip("/") for each in found}
    left = [uri for uri in _left(registry) if uri not in seen and _served(uri, ids)]
    return found + [Recommender(None, uri) for uri in left]


def delete(registry: Registry, found: Sequence[Recommender]) -> list[str]:
    """Delete recommenders: their versions, then their files, then what MLflow knows of them.

    MLflow only marks models as deleted, so the files are removed here. Returns the versions' names.
    """
    told = []
    for each in found:
        for version in _versions(registry, RECOMMENDER) if each.model_id else ():
            if each.model_id in (version.source or "") or each.model_id == version.model_id:
                registry.client.delete_model_version(version.name, version.version)
                told.append(f"{version.name} version {version.version}")
        _files(each.uri).delete_artifacts()
        if each.model_id:
            registry.client.delete_logged_model(each.model_id)
    return sorted(told)


def mask(registry: Registry, ids: Sequence[str]) -> int:
    """Put another word for their name into the files of runs that have it; returns how many.

    Runs hold no listener's plays, but lists of raw files, which may be named after an account, and
    the settings of a run, which may name whom lists were made for.
    """
    pattern, masked = names(ids), 0
    for run in _runs(registry):
        files = _files(run.info.artifact_uri)
        for path in _texts(files, ""):
            with tempfile.TemporaryDirectory() as scratch:
                local = Path(files.download_artifacts(path, scratch))
                text = local.read_text(encoding="utf-8", errors="surrogateescape")
                plain = pattern.sub(INSTEAD, text)
                if plain == text:
                    continue
                local.write_text(plain, encoding="utf-8", errors="surrogateescape")
                files.log_artifact(str(local), str(Path(path).parent) if "/" in path else None)
                masked += 1
    return masked


def trained(registry: Registry, tomb: Tombstone) -> Models:
    """Registered versions whose training data held the listener, and those of which that is not known.

    A run tells the digests of its data; ``tomb`` those of the tables that held them or did not.
    """
    with_them, unknown = [], []
    runs = {run.info.run_id: run for run in _runs(registry)}
    for version in _versions(registry, ""):
        digests = _digests(runs, version.run_id)
        aliases = registry.client.get_registered_model(version.name).aliases
        own = [name for name, number in aliases.items() if str(number) == str(version.version)]
        line = " ".join([version.name, f"version {version.version}", *(f"({name})" for name in own)])
        if any(known.startswith(each) for known in tomb.held for each in digests):
            with_them.append(line)
        elif not any(known.startswith(each) for known in tomb.free for each in digests):
            unknown.append(line)
    return Models(sorted(with_them), sorted(unknown))


def _digests(runs: Mapping[str, Any], run_id: str) -> set[str]:
    """Of the plays and users of a run, or of the run's that it is a part of; none if it is gone."""
    run = runs.get(run_id)
    if run is None:
        return set()
    found = run.inputs.dataset_inputs if run.inputs else []
    if not found and PARENT in run.data.tags:
        return _digests(runs, run.data.tags[PARENT])
    return {each.dataset.digest for each in found if each.dataset.name in ("plays", "users")}


def _experiments(registry: Registry) -> list[Any]:
    return list(registry.client.search_experiments(view_type=EVERY))


def _runs(registry: Registry) -> Iterator[Any]:
    experiments = [each.experiment_id for each in _experiments(registry)]
    yield from _paged(
        lambda token: registry.client.search_runs(experiments, "", EVERY, page_token=token)
    )


def _logged(registry: Registry) -> Iterator[Any]:
    experiments = [each.experiment_id for each in _experiments(registry)]
    for model in _paged(
        lambda token: registry.client.search_logged_models(experiments, page_token=token)
    ):
        if model.name == RECOMMENDER:
            yield model


def _versions(registry: Registry, ending: str) -> Iterator[Any]:
    for model in _paged(lambda token: registry.client.search_registered_models(page_token=token)):
        if model.name.startswith(OURS) and model.name.endswith(ending):
            yield from registry.client.search_model_versions(f"name='{model.name}'")


def _paged(ask: Any) -> Iterator[Any]:
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _left(registry: Registry) -> Iterator[str]:
    """Folders of models below a local store's experiments."""
    for experiment in _experiments(registry):
        place = urlparse(experiment.artifact_location)
        if place.scheme in ("", "file"):
            root = Path(unquote(place.path)) / "models"
            yield from (path.as_uri() for path in sorted(root.glob("*/artifacts")))


def _served(uri: str, ids: Sequence[str]) -> bool:
    """Whether the model's table of users has them."""
    files = _files(uri)
    for path in _found(files, "", ".parquet"):
        if Path(path).name != "users.parquet":
            continue
        with tempfile.TemporaryDirectory() as scratch:
            users = pl.read_parquet(files.download_artifacts(path, scratch), columns=["user_id"])
            if users["user_id"].is_in(list(ids)).any():
                return True
    return False


def _files(uri: str) -> Any:
    """MLflow's repository of the artifacts at an address: lists, fetches, adds and deletes them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri)


def _texts(files: Any, folder: str) -> Iterator[str]:
    for ending in TEXTS:
        yield from _found(files, folder, ending)


def _found(files: Any, folder: str, ending: str) -> Iterator[str]:
    """Paths of artifacts below a folder that end so; code that is logged with a model is passed by."""
    for each in files.list_artifacts(folder or None):
        if each.is_dir:
            if Path(each.path).name != "code":
                yield from _found(files, each.path, ending)
        elif each.path.endswith(ending):
            yield each.path
