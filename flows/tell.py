"""Tell: one line about a failed run, into a file or to an address."""

import json
import os
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.settings import get_current_settings

TIMEOUT = 20.0  # seconds for an address to answer


@flow(name="tell", flow_run_name="tell of {run}", retries=3, retry_delay_seconds=30)
def tell(run: str, where: str = "data/failures.jsonl") -> dict[str, str]:
    """Tell of the run with this id: its name, its state and why.

    ``where``: a file that gets a line of JSON, or an http:// or https:// address that is sent the
    same; ``$NAME`` stands for that variable of the environment. An address that does not take it
    is an error, and tried again.
    """
    told = _about(run)
    place = os.environ.get(where[1:], "") if where.startswith("$") else where
    if not place:
        raise ValueError(f"{where[1:]} is not set where the worker was started")
    if place.startswith(("http://", "https://")):
        _send(place, told)
    else:
        _append(Path(place).expanduser(), told)
    return told


def _about(run: str) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run)  # type: ignore[arg-type]
        why = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[found.id]),
                key=ArtifactFilterKey(any_=["failure"]),
            )
        )
    state = found.state
    message = (state.message if state else None) or ""
    return {
        "told": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": str(found.name or run),
        "state": str(state.name) if state else "unknown",
        "why": str(why[0].data) if why else message,
        "page": f"{get_current_settings().ui_url}/runs/flow-run/{found.id}",
    }


def _append(path: Path, told: dict[str, str]) -> None:
    """One write to a file opened for appending: lines of two runs do not mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told, ensure_ascii=False) + "\n")


def _send(address: str, told: dict[str, str]) -> None:
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        body = json.dumps(told, ensure_ascii=False).encode()
        connection.request("POST", target or "/", body, {"Content-Type": "application/json"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 300:  # without the address, which may be a secret
        raise OSError(f"{parts.hostname} does not take what it is told: it answers {status}")
