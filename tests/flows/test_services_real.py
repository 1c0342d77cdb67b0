"""The real servers, opt-in: up, a run, drift that retrains, a failure that is told of, down."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from flows import processes
from schemas.config import Tracking
from tasks.promotion import Decision
from tasks.registry import Registry
from tests.flows.conftest import QUICK, ROOT

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@contextmanager
def started(folder: Path, *settings: str) -> Iterator[Callable[..., Any]]:
    """Services in a folder; what is given asks Prefect's server: method, path, body."""
    at = port()
    words = [
        f"services.prefect_port={at}", f"services.mlflow_port={port()}",
        f"services.logs={folder / 'logs'}", f"services.failures={folder / 'failures.jsonl'}",
        "services.start_seconds=300", f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
        f"tracking.artifacts={folder / 'mlflow'}", f"store.path={folder / 'store'}", *settings,
    ]  # fmt: skip
    given = [part for each in words for part in ("--set", each)]
    kept = {k: v for k, v in os.environ.items() if k != "PREFECT_LOGGING_LEVEL"}
    environment = kept | {"PREFECT_HOME": str(folder / "prefect")}

    def command(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows", name, *given],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    def ask(method: str, path: str, body: Any = None) -> Any:
        for _ in range(50):
            connection = HTTPConnection("127.0.0.1", at, timeout=60)
            connection.request(
                method, f"/api{path}", json.dumps(body or {}), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 503:  # said where the database is busy: to be asked again
                break
            time.sleep(0.2)
        assert answer.status < 300, text
        return json.loads(text) if text else None

    begun = time.monotonic()
    done = command("start")
    try:
        assert done.returncode == 0, done.stderr + (folder / "logs" / "up.log").read_text()
        print(f"\nready in {time.monotonic() - begun:.0f} s")
        again = command("up")
        assert (again.returncode, "already running" in again.stdout) == (0, True)
        yield ask
    finally:
        children = processes.told(folder / "logs")
        assert command("down").stdout == "stopped\n"
        assert children is not None
        assert not processes.family(dict(children.children.values()))


def deployment(ask: Callable[..., Any], name: str) -> Any:
    (found,) = (each for each in ask("POST", "/deployments/filter") if each["name"] == name)
    return found


def ended(ask: Callable[..., Any], run: str, seconds: float = 240) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = ask("GET", f"/flow_runs/{run}")
        if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return found
        time.sleep(0.5)
    raise AssertionError(f"still {found['state']}")


def runs_of(ask: Callable[..., Any], name: str) -> list[Any]:
    wanted = {"deployments": {"id": {"any_": [deployment(ask, name)["id"]]}}}
    found = ask("POST", "/flow_runs/filter", wanted)
    return [each for each in found if not each["auto_scheduled"]]


def eventually(found: Callable[[], Any], seconds: float = 240) -> Any:
    ends = time.monotonic() + seconds
    while not (made := found()):
        assert time.monotonic() < ends
        time.sleep(0.5)
    return made


def quick(folder: Path) -> dict[str, Any]:
    """The settings of a small world, as the form sends them."""
    from schemas.loading import load

    words = [*QUICK, f"output.dir={folder / 'output'}"]
    made = load(ROOT / "configs" / "demo.yaml", words).model_dump(mode="json", exclude_defaults=True)
    return made | {"dataset": "demo"}


def test_a_run_a_failure_and_drift(tmp_path: Path) -> None:
    with started(tmp_path) as ask:
        made = ask("POST", f"/deployments/{deployment(ask, 'gc')['id']}/create_flow_run")
        run = ended(ask, made["id"])
        assert run["state_type"] == "COMPLETED"
        steps = ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        first = min(datetime.fromisoformat(each["start_time"]) for each in steps)
        seconds = (first - datetime.fromisoformat(run["created"])).total_seconds()
        print(f"from Submit to the first step: {seconds:.1f} s")

        # a path as plain text is what a person types into the form
        values = {"config": {"source": {"kind": "spotify_export", "path": str(tmp_path / "nothing")}}}
        spotify = deployment(ask, "retrain-spotify")
        asked = {"parameters": values, "job_variables": {"env": {}}}  # no second try in a minute
        made = ask("POST", f"/deployments/{spotify['id']}/create_flow_run", asked)
        assert ended(ask, made["id"])["state_type"] == "FAILED"
        file = tmp_path / "failures.jsonl"
        told = json.loads(eventually(lambda: file.exists() and file.read_text()))
        assert "source.path is not there" in told["why"]
        assert told["page"].endswith(made["id"])

        deployed = deployment(ask, "retrain-demo")
        merged = {"config": deployed["parameters"]["config"] | quick(tmp_path)}
        ask("PATCH", f"/deployments/{deployed['id']}", {"parameters": merged})
        drift = {
            "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": "encore.drift.reported",
            "resource": {"prefect.resource.id": "encore.dataset.demo"},
            "id": "0195e0c2-0000-7000-8000-000000000001",
        }
        ask("POST", "/events", [drift])
        (run,) = eventually(lambda: runs_of(ask, "retrain-demo"))
        assert ended(ask, run["id"], 400)["state_type"] == "COMPLETED"
        assert (tmp_path / "output" / "RESULTS.md").exists()


@contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """A server of PostgreSQL with the databases prefect and mlflow; it refuses to run as root."""
    if BINARIES is None or not shutil.which("su"):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    pytest.importorskip("psycopg2", reason="MLflow's driver: pip install psycopg2-binary")
    at, user = port(), "postgres" if os.getuid() == 0 else None
    data = folder / "postgres"
    data.mkdir()
    for each in (folder, *folder.parents):  # the way there is for all to walk
        if each.stat().st_uid == os.getuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o011)
    if user:
        shutil.chown(data, user)

    def run(name: str, *words: str) -> None:
        told = [str(BINARIES / name), *words]
        done = subprocess.run(told, user=user, cwd="/", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    run("initdb", "-D", str(data), "-U", "encore", "--auth=trust")
    options = f"-p {at} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start")
    try:
        for name in ("prefect", "mlflow"):
            run("createdb", "-h", "127.0.0.1", "-p", str(at), "-U", "encore", name)
        yield at
    finally:
        run("pg_ctl", "-D", str(data), "-m", "fast", "stop")


def test_both_databases_can_be_postgresql(tmp_path: Path) -> None:
    """A retrain, and a way back; and on every address of the machine a run that died is told of."""
    with postgres(tmp_path) as at:
        tracking = f"postgresql://encore@127.0.0.1:{at}/mlflow"
        prefect = f"services.prefect_database=postgresql+asyncpg://encore@127.0.0.1:{at}/prefect"
        with started(tmp_path, prefect, f"tracking.uri={tracking}", "services.host=0.0.0.0") as ask:

            def submit(name: str, **more: Any) -> Any:
                given = deployment(ask, "retrain-demo")["parameters"]["config"]
                values = {"parameters": {"config": given | quick(tmp_path) | more}}
                path = f"/deployments/{deployment(ask, name)['id']}/create_flow_run"
                return ask("POST", path, values)["id"]

            def states(run: str) -> Any:
                return ask("GET", f"/flow_runs/{run}")["state_type"]

            assert ended(ask, submit("retrain-demo"), 400)["state_type"] == "COMPLETED"
            registry = Registry(Tracking(uri=tracking))
            versions = registry._versions("encore-demo-completed")
            champion = registry.version("encore-demo-completed", "champion")
            assert (len(versions), champion and champion.number) == (2, 2)
            back = submit("promote", promotion={"version": 1})
            assert ended(ask, back)["state_type"] == "COMPLETED"
            champion = registry.version("encore-demo-completed", "champion")
            assert champion is not None
            assert champion.number == 1
            decision = Decision.of(champion)
            assert decision is not None
            assert (decision.challenger, decision.champion) == (1, 2)
            assert ended(ask, submit("monitor-demo"))["state_type"] == "COMPLETED"

            left = submit("retrain-demo", simulation=quick(tmp_path)["simulation"] | {"seed": 2})
            eventually(lambda: states(left) == "RUNNING")
            known = processes.told(tmp_path / "logs")
            assert known is not None
            for pid in processes.family(dict([known.children["worker"]])):
                os.kill(pid, signal.SIGKILL)
            assert ended(ask, left)["state_type"] == "CRASHED"
        assert not (tmp_path / "mlflow.db").exists()
        assert not list((tmp_path / "prefect").glob("*.db"))
