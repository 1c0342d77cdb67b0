"""Runs whose process has died without a word: Prefect's server is told, for it would never know.

A worker tells of a run that is killed; of one that dies after its worker, or on a command line, nobody
does. Only processes of this machine are looked for: a worker notes a pid alone, so that its runs are
judged where no other machine reaches the server; a command line notes the machine's name as well.
"""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from flows.processes import Process, processes
from flows.services import asked

LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNDER_WAY = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
LEFT_BEHIND = {
    "flow_runs": {"state": {"type": {"any_": ["CRASHED", "CANCELLED"]}}},
    "task_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}},
}
TOLD = "its process died without a word; run it again, it goes on from there"
MARGIN = timedelta(seconds=30)  # from a worker's taking a run to the note of its process


def crash(api: str, pool: str | None = None, since: datetime | None = None) -> list[str]:
    """Mark crashed every run of this machine whose process is gone; returns their names.

    ``pool``: also runs of this work pool, all of whose workers are this machine's; ``since``: the
    present worker's beginning: what one before it took and never began is lost.
    """
    address, path = api.removesuffix("/api"), "/api/flow_runs"
    found = asked(address, "POST", f"{path}/filter", {"flow_runs": UNDER_WAY}) or ()
    lost = list(_lost(found, processes(), pool, since)) if found else []
    names = []
    for run in lost:  # asked again: it may have ended well in between
        now = asked(address, "GET", f"{path}/{run['id']}")
        if now is None or now["state_id"] != run["state_id"]:
            continue
        ends = "CANCELLED" if now["state_type"] == "CANCELLING" else "CRASHED"
        if _set(address, f"{path}/{run['id']}", ends):
            names.append(str(run["name"]))
    if lost or pool:
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
    found: Any, alive: dict[int, Process], pool: str | None, since: datetime | None
) -> Iterator[Any]:
    for run in found:
        machine, _, pid = (run["infrastructure_pid"] or "").rpartition(":")
        if pid.isdigit():
            ours = machine == socket.gethostname() or (not machine and run["work_pool_name"] == pool)
            if ours and int(pid) not in alive:
                yield run
        elif since and run["work_pool_name"] == pool and run["state_type"] != "RUNNING":
            told = datetime.fromisoformat(run["state"]["timestamp"])
            if told < since and datetime.now(UTC) - told > MARGIN:
                yield run


def _set(address: str, path: str, ends: str) -> bool:
    told = {"state": {"type": ends, "message": TOLD}, "force": True}
    return asked(address, "POST", f"{path}/set_state", told) is not None
