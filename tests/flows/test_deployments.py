"""Deployments and automations as code: every flow has one, applying twice changes nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.help import FLOWS
from schemas.config import Config
from schemas.loading import load

ROOT = Path(__file__).resolve().parents[2]
READ = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def config() -> Config:
    return load(None, [])


@pytest.fixture(scope="module")
def applied(prefect: None, config: Config) -> dict[str, Any]:
    """What applying said, done once in a server that may have had none of it."""
    from flows.deployments import apply

    return apply(config)


def test_every_flow_has_a_deployment_and_every_configuration_a_retrain() -> None:
    deployed = {each["entrypoint"] for each in READ["deployments"]}
    assert {f"flows/{name}.py:{name}" for name in FLOWS} <= deployed
    names = [each["name"] for each in READ["deployments"]]
    assert len(names) == len(set(names))
    assert {f"retrain-{path.stem}" for path in (ROOT / "configs").glob("*.yaml")} == {
        name for name in names if name.startswith("retrain-")
    }


def test_a_retrain_has_a_schedule_a_second_try_and_one_run_at_a_time(config: Config) -> None:
    from flows.deployments import configurations, declared

    for each in declared(config):
        assert each["description"]
        assert each["tags"]
        if not each["name"].startswith("retrain-"):
            continue
        name = each["name"].removeprefix("retrain-")
        assert each["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
        assert each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_DEFAULT_RETRIES"] == "1"
        (schedule,) = each["schedules"]
        assert schedule.get("active", True) is (name == "demo")
        values = each["parameters"]["config"]
        told = configurations()[name]
        assert {key: values[key] for key in told} == told
        assert values["tracking"]["uri"] == "http://127.0.0.1:5000"
        source = {"source": values["source"] | {"path": "somewhere"}}
        assert Config.model_validate(values | source).dataset == name


@pytest.mark.parametrize(
    ("told", "path", "before", "active"),
    [
        ({}, None, None, True),  # a simulated world needs no path
        ({"active": False}, None, None, False),
        ({"active": False}, "here", None, True),
        ({"active": False}, None, {}, "unsaid"),
        ({"active": False}, "here", {}, True),  # it has just got one
        ({"active": False}, "here", {"config": {"source": {"path": "here"}}}, "unsaid"),
    ],
)
def test_a_schedule_is_on_once_its_source_has_a_path_and_then_the_persons(
    told: dict[str, Any], path: str | None, before: dict[str, Any] | None, active: object
) -> None:
    from prefect.client.schemas.responses import DeploymentResponse

    from flows.deployments import _schedules

    values = {"source": {"path": path} if path else {}}
    schedule = {"cron": "0 4 * * 1", "timezone": "UTC", "slug": "weekly", **told}
    each = {"parameters": {"config": values}, "schedules": [schedule]}
    known = None
    if before is not None:
        has = DeploymentResponse.model_fields["schedules"].annotation
        assert has is not None
        known = DeploymentResponse.model_construct(
            parameters=before, schedules=[type("Schedule", (), {"slug": "weekly"})()]
        )
    (made,) = _schedules(each, known)
    assert made.get("active", "unsaid") == active


def snapshot() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(limit=200)
        automations = client.read_automations()
    return {
        "deployments": {each.name: each.id for each in deployments},
        "schedules": {
            (each.name, told.slug): (told.id, told.active, str(told.schedule))
            for each in deployments
            for told in each.schedules
        },
        "automations": {each.name: (each.id, each.enabled) for each in automations},
        "numbers": (len(deployments), len(automations)),
    }


def test_applying_twice_changes_nothing_and_keeps_what_a_person_turned_off(
    applied: dict[str, Any], config: Config
) -> None:
    from prefect.client.orchestration import get_client

    from flows.deployments import apply

    first = snapshot()
    assert applied["deployments"] == first["numbers"][0] == len(READ["deployments"])
    assert applied["automations"] == first["numbers"][1]
    with get_client(sync_client=True) as client:
        off = first["schedules"]["retrain-demo", "nightly"][0]
        client.update_deployment_schedule(first["deployments"]["retrain-demo"], off, active=False)
        client.pause_automation(first["automations"]["silent runs"][0])
    turned = snapshot()
    assert turned["schedules"]["retrain-demo", "nightly"][1] is False
    assert turned["automations"]["silent runs"][1] is False
    apply(config)
    assert snapshot() == turned


def test_the_form_says_what_is_allowed_and_takes_a_path_as_text(applied: dict[str, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    wrong: list[dict[str, Any]] = [{"source": {"path": 3}}, {"store": {"keep": 0}}, {"nope": 1}]
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name("retrain/retrain-spotify")
        schema = found.parameter_openapi_schema
        keep = schema["definitions"]["Store"]["properties"]["keep"]  # type: ignore[index]
        assert keep["description"].endswith("; allowed: whole number at least 1")
        logistic = schema["definitions"]["Logistic"]["properties"]["c"]  # type: ignore[index]
        assert logistic["title"] == "Inverse L2 strength (C)"
        for path in ("here", ["here", "there"]):
            values = {"config": {"source": {"kind": "spotify_export", "path": path}}}
            made = client.create_flow_run_from_deployment(found.id, parameters=values)
            client.delete_flow_run(made.id)
        for each in wrong:
            with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
                client.create_flow_run_from_deployment(found.id, parameters={"config": each})


@pytest.fixture
def failed(prefect: None) -> Any:
    """A run that failed."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Failed

    @flow(name="failing")
    def failing() -> None: ...

    with get_client(sync_client=True) as client:
        return client.create_flow_run(failing, state=Failed(message="the disk is full"))


@pytest.fixture
def listener() -> Iterator[tuple[str, list[Any]]]:
    """An address, and what it was sent; below /refused it takes nothing."""
    taken: list[Any] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(json.loads(body))
            self.send_response(403 if self.path == "/refused?token=secret" else 204)
            self.end_headers()

        def log_message(self, *words: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


def test_a_failure_is_a_line_in_a_file(failed: Any, tmp_path: Path) -> None:
    from flows.tell import tell

    file = tmp_path / "folder" / "failures.jsonl"
    for _ in range(2):
        tell.fn(str(failed.id), str(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["why"] for line in lines] == ["the disk is full"] * 2
    assert lines[0]["state"] == "Failed"
    assert lines[0]["page"].endswith(f"/runs/flow-run/{failed.id}")


def test_a_failure_is_sent_to_an_address_that_only_the_environment_knows(
    failed: Any, listener: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.tell import tell

    address, taken = listener
    monkeypatch.setenv("ENCORE_HOOK", f"{address}/hook?token=secret")
    tell.fn(str(failed.id), "$ENCORE_HOOK")
    assert taken[0]["why"] == "the disk is full"
    monkeypatch.setenv("ENCORE_HOOK", f"{address}/refused?token=secret")
    with pytest.raises(OSError, match="it answers 403") as refused:
        tell.fn(str(failed.id), "$ENCORE_HOOK")
    assert "secret" not in str(refused.value)
    monkeypatch.delenv("ENCORE_HOOK")
    with pytest.raises(ValueError, match="ENCORE_HOOK is not set"):
        tell.fn(str(failed.id), "$ENCORE_HOOK")
