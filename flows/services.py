"""The servers of Prefect and MLflow and the worker: what each is told, and whether it answers.

Settings with a password in them go to the services through their environment alone: a command line
is there for every user of the machine to read.
"""

from __future__ import annotations

import os
import socket
import sys
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from json import dumps, loads
from pathlib import Path
from typing import Any

from flows.processes import Service
from schemas.config import Config
from schemas.errors import InputError
from tasks.commands import OPT_OUT, PREFECT_HOME

NAMES = {"prefect": "Prefect's server", "mlflow": "MLflow's server", "worker": "the worker"}
LEASES = "prefect.server.concurrency.lease_storage.filesystem"


def addresses(config: Config) -> dict[str, str]:
    """Where the two servers are asked; MLflow's may be elsewhere, at ``tracking.uri``."""
    ours, uri = config.services, config.tracking.uri
    host = "127.0.0.1" if ours.host == "0.0.0.0" else ours.host  # noqa: S104 - compared, not bound
    mlflow = uri if elsewhere(config) else f"http://{host}:{ours.mlflow_port}"
    return {"Prefect": f"http://{host}:{ours.prefect_port}", "MLflow": mlflow, "home": home()}


def environment(config: Config) -> dict[str, str]:
    """What every service is told; what the person has set themselves comes first."""
    api = f"{addresses(config)['Prefect']}/api"
    made = {**OPT_OUT["mlflow"], **OPT_OUT["prefect"]} | {
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": api,  # else its pages look for it at the default port
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # a run from the form begins sooner than in ten
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # a busy machine is not a locked database
        # in its memory, as is Prefect's default, a server that dies takes along who holds which slot:
        # it would stop a run that is five minutes old, and might never let another of its kind begin
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # runs have a link of their own
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    if password := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        made["PREFECT_API_AUTH_STRING"] = password
    return made | os.environ | {"PREFECT_HOME": home(), "PREFECT_API_URL": api}


def services(config: Config) -> dict[str, Service]:
    """What is to be run, by name."""
    ours, told_all = config.services, environment(config)
    database = ours.prefect_database
    prefect = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database} if database else {}
    tracking = {
        "MLFLOW_BACKEND_STORE_URI": config.tracking.uri,
        "MLFLOW_ARTIFACTS_DESTINATION": str(config.tracking.artifacts.resolve()),
    }
    if ours.mlflow_allowed_hosts:
        tracking["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(ours.mlflow_allowed_hosts)
    listen = ("--host", ours.host, "--port")
    pool = ("--pool", ours.work_pool, "--type", "process", "--name", worker(), "--limit", str(ours.runs))
    commands: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
        "prefect": (("prefect", "server", "start", *listen, str(ours.prefect_port)), prefect),
        "mlflow": (("mlflow", "server", *listen, str(ours.mlflow_port), "--workers", "1"), tracking),
        "worker": (("prefect", "worker", "start", *pool), {}),
    }
    if elsewhere(config):
        del commands["mlflow"]
    return {
        name: Service(
            name, (sys.executable, "-m", *words), {**told_all, **more}, ours.logs / f"{name}.log"
        )
        for name, (words, more) in commands.items()
    }


def free(config: Config) -> None:
    """Refuse a port that somebody else listens on."""
    ours = config.services
    for name in ("prefect", "mlflow")[: 1 if elsewhere(config) else 2]:
        port = getattr(ours, f"{name}_port")
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((ours.host, port))
            except OSError as error:
                raise InputError(
                    f"{NAMES[name]} cannot listen there", place=f"services.{name}_port",
                    found=f"{ours.host}:{port}: {error.strerror}",
                    do="stop the program that listens there, or choose another port",
                ) from error  # fmt: skip


def worker() -> str:
    """The worker's name, which Prefect notes on each run that it takes: whose machine that is."""
    return f"encore-{socket.gethostname()}"


def works(config: Config, since: datetime) -> bool:
    """Whether the worker has reported to Prefect's server since then."""
    path = f"/api/work_pools/{config.services.work_pool}/workers/filter"
    return any(
        each["name"] == worker() and datetime.fromisoformat(each["last_heartbeat_time"]) >= since
        for each in asked(addresses(config)["Prefect"], "POST", path) or ()
    )


def answers(address: str, path: str) -> bool:
    return asked(address, "GET", path) is not None


def asked(address: str, method: str, path: str, told: Mapping[str, Any] | None = None) -> Any:
    """A server's answer; None as long as there is none. No proxy is asked on the way."""
    connection = HTTPConnection(address.partition("://")[2], timeout=5)
    headers = {"Content-Type": "application/json"}
    if password := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {b64encode(password.encode()).decode()}"
    body = dumps(told or {}) if method == "POST" else None
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            return None
        return loads(text) if "json" in answer.headers.get("Content-Type", "") else text
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


def home() -> str:
    return str(Path(os.environ.get("PREFECT_HOME", PREFECT_HOME)).resolve())


def elsewhere(config: Config) -> bool:
    """MLflow's server is not ours to start."""
    return config.tracking.uri.startswith(("http://", "https://"))
