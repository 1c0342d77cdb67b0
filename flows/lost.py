"""Runs whose process has died without a word: Prefect's server is told, for it would never know.

A worker tells of a run that is killed; of one that dies after its worker, or on a command line, nobody
does. Only processes of this machine are looked for. A command line notes the machine's name beside its
pid. A worker notes a pid alone, and its own name on the run: ours is named after the machine, and where
no other machine reaches the server any worker is of this one.
"""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from flows.processes import Process, processes
from flows.services import asked, worker
from schemas.services import Services

LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNDER_WAY = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
LEFT_BEHIND = {
    "flow_runs": {"state": {"type": {"any_": ["CRASHED", "CANCELLED"]}}},
    "task_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}},
}
TOLD = "its process died without a word; run it again, it goes on from there"
MARGIN = timedelta(seconds=30)  # from a worker's taking a run to the note of its process


def crash(api: str, ours: Services | None = None, since: datetime | None = None) -> list[str]:
    """Mark crashed every run of this machine whose process is gone; returns their names.

    ``ours``: also runs that a worker of these services took; ``since``: the present worker's beginning:
    what one before it took and never began is lost.
    """
    address, path = api.removesuffix("/api"), "/api/flow_runs"
    found = asked(address, "POST", f"{path}/filter", {"flow_runs": UNDER_WAY}) or ()
    lost = list(_lost(found, processes(), ours, since)) if found else []
    names = []
    for run in lost:  # asked again: it may have ended well in between
        now = asked(address, "GET", f"{path}/{run['id']}")
        if now is None or now["state_id"] != run["state_id"]:
            continue
        ends = "CANCELLED" if now["state_type"] == "CANCELLING" else "CRASHED"
        if _set(address, f"{path}/{run['id']}", ends):
            names.append(str(run["name"]))
    if lost or ours:
        for step in asked(address, "POST", "/api/task_runs/filter", LEFT_BEHIND) or ():
            _set(address, f"/api/task_runs/{step['id']}", "CRASHED")
    return names


def signature() -> str:
    """What a run of the command line notes of its process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def signed(_flow: Any, run: Any, _state: Any) -> None:
    """A hook for runs of the command line: note the process, and tell of those lost before."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, infrastructure_pid=signature())
        api = str(client.api_url).rstrip("/")
    if urlsplit(api).hostname in LOOPBACK:
        crash(api)


def _lost(
    found: Any, alive: dict[int, Process], ours: Services | None, since: datetime | None
) -> Iterator[Any]:
    for run in found:
        machine, _, pid = (run["infrastructure_pid"] or "").rpartition(":")
        taken = ours is not None and _taken(run, ours)
        if pid.isdigit():
            if (machine == socket.gethostname() or (not machine and taken)) and int(pid) not in alive:
                yield run
        elif since and taken and run["state_type"] != "RUNNING":
            told = datetime.fromisoformat(run["state"]["timestamp"])
            if told < since and datetime.now(UTC) - told > MARGIN:
                yield run


def _taken(run: Any, ours: Services) -> bool:
    """By a worker of this machine, from the work pool of these services."""
    here = ours.host in LOOPBACK or (run["labels"] or {}).get("prefect.worker.name") == worker()
    return here and bool(run["work_pool_name"] == ours.work_pool)


def _set(address: str, path: str, ends: str) -> bool:
    told = {"state": {"type": ends, "message": TOLD}, "force": True}
    return asked(address, "POST", f"{path}/set_state", told) is not None
