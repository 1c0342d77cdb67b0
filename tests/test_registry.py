"""The registry: whole models or none, found again by their key, and a store that cannot be used."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.config import Tracking
from schemas.errors import InputError
from tasks.registry import Registry
from tests.made import training


@pytest.fixture
def settings(empty_mlflow: Path, tmp_path: Path) -> Tracking:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return Tracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "mlflow")


@pytest.fixture
def impatient(settings: Tracking) -> Tracking:
    """Waits for a lock for less than SQLite's five seconds."""
    return settings.model_copy(update={"uri": f"{settings.uri}?timeout=0.2"})


def active(registry: Registry) -> list[Any]:
    return list(registry.client.search_runs([registry._experiment]))


def logged(registry: Registry) -> list[Any]:
    return list(registry.client.search_logged_models([registry._experiment]))


def test_what_is_recorded_is_found_again_and_not_made_twice(settings: Tracking, tmp_path: Path) -> None:
    registry = Registry(settings)
    told = training("k1", tmp_path / "model", 0.25)
    run_id, version = registry.record(told)
    assert (version.name, version.number) == ("encore-made-completed", 1)
    assert registry.version(version.name, "challenger") == registry.version(version.name, "1")
    parent = registry.client.get_run(run_id)
    assert parent.data.metrics == {"holdout_auc": 0.5}  # what is not finite is left out
    (model,) = logged(registry)
    of_child = registry.client.get_run(model.source_run_id).data
    assert {each.key: each.value for each in model.metrics} == of_child.metrics != {}
    assert model.params == of_child.params != {}
    assert parent.inputs is not None
    assert [each.dataset.digest for each in parent.inputs.dataset_inputs] == ["d" * 32]
    assert Registry(settings).record(told) == (run_id, registry.version(version.name, "1"))
    assert len(active(registry)) == 2

    folder = registry.ranker(version, tmp_path / "fetched")
    from tasks.training import load

    assert load(folder).facts == {"rate": 0.25}

    another, second = registry.record(training("k2", tmp_path / "other"))
    assert another != run_id
    assert second.number == 2
    challenger = registry.version(version.name, "challenger")
    assert challenger is not None
    assert challenger.number == 2


@pytest.mark.parametrize(
    "place", ["_log_model", "_make_version", "client.set_registered_model_alias", "client.set_tag"]
)
def test_what_a_killed_run_left_half_done_is_removed(
    settings: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    told = training("k1", tmp_path / "model")
    broken = Registry(settings)
    owner, name = (broken.client, place.split(".")[1]) if "." in place else (broken, place)
    whole = getattr(owner, name)

    def killed(*arguments: Any, **named: Any) -> Any:
        if name == "_log_model":  # logged, but nothing further came
            whole(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(KeyboardInterrupt):
        broken.record(told)

    registry = Registry(settings)
    run_id, version = registry.record(told)
    assert registry._versions(version.name) == [registry.version(version.name, "challenger")]
    assert {run.info.run_id for run in active(registry)} == {
        run_id,
        *(
            run.info.run_id
            for run in active(registry)
            if run.data.tags.get("mlflow.parentRunId") == run_id
        ),
    }
    assert len(active(registry)) == 2
    assert {run.info.status for run in active(registry)} == {"FINISHED"}
    assert len(logged(registry)) == 1


def test_a_half_done_refit_is_removed(
    settings: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = training("k1", tmp_path / "model")
    broken = Registry(settings)
    _, version = broken.record(told)

    def killed(*arguments: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(broken.client, "create_model_version", killed)
    with pytest.raises(KeyboardInterrupt):
        broken.publish(told, told.children[0], version, {})
    registry = Registry(settings)
    made = registry.publish(told, told.children[0], version, {"trained_until": "300"})
    assert made.number == 2
    assert made.tags["evaluated_version"] == "1"
    assert made.tags["trained_until"] == "300"
    assert registry.publish(told, told.children[0], version, {}) == made
    assert len(active(registry)) == 3
    assert len(logged(registry)) == 2


def asked_twice(registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The server dies after each of these calls, before it answers, and is asked once more."""
    once, made = getattr(registry.client, name), []

    def twice(*arguments: Any, **named: Any) -> Any:
        made.append(once(*arguments, **named))
        return once(*arguments, **named)

    # what MLflow's own functions ask goes through other clients
    monkeypatch.setattr(type(registry.client), name, lambda _, *a, **named: twice(*a, **named))
    return made


@pytest.mark.parametrize("call", ["create_model_version", "create_run", "_create_logged_model"])
def test_what_a_dying_server_did_without_an_answer_is_there_once(
    settings: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    told, registry = training("k1", tmp_path / "model"), Registry(settings)
    made = asked_twice(registry, call, monkeypatch)
    run_id, evaluated = registry.record(told)
    published = registry.publish(told, told.children[0], evaluated, {})
    assert len(made) == {"create_model_version": 2, "create_run": 3, "_create_logged_model": 2}[call]
    assert {each.number for each in registry._versions(told.model)} == {
        evaluated.number, published.number,
    }  # fmt: skip
    runs = active(registry)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert {str(each.status) for each in logged(registry)} == {"READY"}
    assert len(logged(registry)) == 2
    # and nothing is done when they are asked for again
    again, version = Registry(settings).record(told)
    assert (again, version.number) == (run_id, evaluated.number)
    assert registry.publish(told, told.children[0], evaluated, {}) == published
    assert len(active(registry)) == 3


def test_a_twin_version_is_removed_after_a_kill_as_well(
    settings: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, broken = training("k1", tmp_path / "model"), Registry(settings)
    _, evaluated = broken.record(told)

    def killed(version: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        asked_twice(broken, "create_model_version", patched)
        patched.setattr(broken, "_only", killed)
        with pytest.raises(KeyboardInterrupt):
            broken.publish(told, told.children[0], evaluated, {})
    registry = Registry(settings)
    assert len(registry._versions(told.model)) == 3
    published = registry.publish(told, told.children[0], evaluated, {})
    assert len(registry._versions(told.model)) == 2
    assert registry.publish(told, told.children[0], evaluated, {}) == published
    assert len(active(registry)) == 3


@pytest.fixture
def exclusive(tmp_path: Path, settings: Tracking) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    yield connection
    connection.close()


def test_a_locked_store_is_said_in_a_line(impatient: Tracking, exclusive: sqlite3.Connection) -> None:
    exclusive.execute("begin exclusive")
    with pytest.raises(InputError, match=r"locked \| file: sqlite:.*mlflow.db.* \| what to do: stop"):
        Registry(impatient)
    exclusive.execute("rollback")
    Registry(impatient)


def test_a_store_that_gets_locked_on_the_way_is_said_in_a_line_too(
    settings: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def locked(*arguments: Any, **named: Any) -> Any:
        raise MlflowException("(sqlite3.OperationalError) database is locked")  # after 20 s of trying

    registry = Registry(settings)
    with monkeypatch.context() as patched:
        patched.setattr(registry.client, "set_registered_model_alias", locked)
        with pytest.raises(InputError, match="the MLflow store is locked"):
            registry.record(training("k1", tmp_path / "model"))
    _, version = registry.record(training("k1", tmp_path / "model"))
    assert registry.version(version.name, "challenger") == version


def older(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = '451aebb31d03'")


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")


def garbage(path: Path) -> None:
    path.write_text("no database at all\n" * 100)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            older,
            r"of another version .* found: .*451aebb31d03.* what to do: back it up and run "
            r"`MLFLOW_DISABLE_TELEMETRY=true mlflow db upgrade sqlite:///",
        ),
        (newer, r"of another version .* found: .*ffffffffffff.* or choose another tracking.uri"),
        (garbage, r"cannot be used .* found: .*file is not a database"),
    ],
)
def test_a_store_that_is_not_this_mlflows_is_refused_and_left_alone(
    settings: Tracking, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(tmp_path / "mlflow.db")
    before = (tmp_path / "mlflow.db").read_bytes()
    with pytest.raises(InputError, match=said) as refused:
        Registry(settings)
    assert "\n" not in str(refused.value)
    assert (tmp_path / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("uri", ["mlruns", "sqlite:////dev/null/mlflow.db"])
def test_a_store_that_cannot_be_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        Registry(Tracking(uri=uri, artifacts=tmp_path))


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    uri = "postgresql+nosuchdriver://someone:s3cr3t@localhost:1/mlflow"
    with pytest.raises(InputError) as refused:
        Registry(Tracking(uri=uri, artifacts=tmp_path))
    assert "s3cr3t" not in str(refused.value)
