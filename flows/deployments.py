"""Deployments as code: prefect.yaml, with the values of configs/*.yaml, brought into Prefect.

Applied again, whatever is there is kept under its id, a schedule also as a person turned it on or
off. ``python -m prefect deploy --all`` reads the same file, without what this machine's settings say.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists
from prefect.utilities.callables import parameter_schema
from prefect.utilities.templating import apply_values

from flows.automations import automate
from flows.services import addresses
from schemas.config import Config
from schemas.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
# Named, or the worker begins a Python of its own in between, which takes seconds.
ENGINE = shlex.join([sys.executable, "-m", "prefect.engine"])
WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"


def configurations() -> dict[str, Any]:
    """The values of configs/*.yaml by name, as a step of prefect.yaml puts them into deployments."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "configs").glob("*.yaml"))
    }


def declared(config: Config) -> Iterator[dict[str, Any]]:
    """The deployments of prefect.yaml, with what this machine's settings say for all of them."""
    read = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    everywhere = _everywhere(config)
    for each in apply_values(read["deployments"], {"configs": configurations()}):
        if each["name"] == "tell":
            each["parameters"] = {"where": config.services.failures}
        else:
            values = each.get("parameters", {}).get("config", {})
            merged = {name: values.get(name, {}) | told for name, told in everywhere.items()}
            each["parameters"] = {"config": values | merged}
        yield each


def apply(config: Config) -> dict[str, Any]:
    """Bring work pool, deployments, schedules and automations into Prefect, each once.

    Returns their numbers. Raises ``InputError`` where prefect.yaml and the server disagree.
    """
    with get_client(sync_client=True) as client:
        _pool(client, config.services.work_pool)
        before = {each.name: each for each in client.read_deployments(limit=200)}
        ids = {
            each["name"]: _applied(client, config, each, before.get(each["name"]))
            for each in declared(config)
        }
        made = automate(client, ids)
    return {"work pool": config.services.work_pool, "deployments": len(ids), "automations": made}


def _applied(
    client: SyncPrefectClient, config: Config, each: dict[str, Any], before: DeploymentResponse | None
) -> UUID:
    """One deployment's id: made, or brought to what is declared."""
    path, _, name = each["entrypoint"].partition(":")
    flow: Flow[..., Any] = getattr(importlib.import_module(path[:-3].replace("/", ".")), name)
    limit = each.get("concurrency_limit")
    values: dict[str, Any] = {
        "parameters": each["parameters"],
        "parameter_openapi_schema": parameter_schema(flow).model_dump(exclude_unset=True),
        "enforce_parameter_schema": True,
        "description": each["description"],
        "tags": each["tags"],
        "entrypoint": each["entrypoint"],
        "path": None,
        "pull_steps": [{WORKING_DIRECTORY: {"directory": str(ROOT)}}],
        "work_pool_name": config.services.work_pool,
        "job_variables": _job(config) | each["work_pool"].get("job_variables", {}),
        "concurrency_limit": limit and limit["limit"],
        "concurrency_options": limit
        and ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
    }
    schedules = _schedules(each, before)
    if before is None:
        made = [DeploymentScheduleCreate(**told) for told in schedules]
        return client.create_deployment(client.create_flow(flow), each["name"], schedules=made, **values)
    kept = [DeploymentScheduleUpdate(**told) for told in schedules]
    client.update_deployment(before.id, DeploymentUpdate(schedules=kept, **values))
    return before.id


def _job(config: Config) -> dict[str, Any]:
    """How a worker begins a run: with the worker's log in place of a pipe to the worker.

    So the run outlives its worker; into a pipe that nobody reads its next line would end it.
    """
    log = shlex.quote(str(config.services.logs.resolve() / "worker.log"))
    begin = f"[ -w {log} ] && exec >>{log} 2>&1; exec {ENGINE}"
    return {"command": shlex.join(["sh", "-c", begin]), "working_dir": str(ROOT)}


def _schedules(each: dict[str, Any], before: DeploymentResponse | None) -> list[dict[str, Any]]:
    """A source without a path cannot run by itself; once it has one, its schedule is turned on.

    Of a schedule that is there, nothing is said about being on or off: that is the person's.
    """
    ready, was_ready = _has_path(each["parameters"]), before and _has_path(before.parameters)
    made = []
    for told in each.get("schedules", []):
        cron = {"cron": told["cron"], "timezone": told["timezone"]}
        schedule: dict[str, Any] = {"schedule": cron, "slug": told["slug"]}
        known = before is not None and any(has.slug == told["slug"] for has in before.schedules)
        if not known:
            schedule["active"] = told.get("active", True) or ready
        elif ready and not was_ready:
            schedule["active"] = True
        made.append(schedule)
    return made


def _has_path(parameters: dict[str, Any]) -> bool:
    return bool(parameters.get("config", {}).get("source", {}).get("path"))


def _everywhere(config: Config) -> dict[str, Any]:
    """What holds on this machine for every deployment: its store, its log, and MLflow by its server.

    By its server: no run is handed the password of a database.
    """
    given = config.model_dump(mode="json", exclude_defaults=True, include={"store", "tracking", "logs"})
    given["tracking"] = given.get("tracking", {}) | {"uri": addresses(config)["MLflow"]}
    return given


def _pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", description="runs of Encore on this machine")
        )
    except ObjectAlreadyExists:
        found = client.read_work_pool(name)
        if found.type != "process":
            raise InputError(
                "the work pool is of another type", place="services.work_pool",
                found=f"{name}: {found.type}", expected="process", do="choose another name",
            ) from None  # fmt: skip
