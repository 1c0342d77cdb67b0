"""From pressing Submit to the first step: what Prefect's own worker needs, and what is ours.

The form's button asks Prefect's server to create a run, and so does this: in turn one of `retrain` and
one of a flow with a single step that does nothing, in the same work pool. Both wait for the worker to
look, for a process of their own and for Prefect to be imported in it; what `retrain` takes longer is
ours. Submitted to scheduled is the same for both; the states of a run tell the rest: until the worker
takes it (polling), until it runs (process, imports, the flow loaded), until its first step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from flows.__main__ import ENVIRONMENT
from tests.flows.test_services_real import deployment, ended, quick, started

EMPTY = """
from prefect import flow, task


@task
def nothing(): ...


@flow
def empty():
    nothing()
"""
IMPORTS = (
    "import resource, sys; import prefect.engine; from prefect import flow; "
    "told = resource.getrusage(resource.RUSAGE_SELF); before = told.ru_utime + told.ru_stime; "
    "import flows.retrain; told = resource.getrusage(resource.RUSAGE_SELF); "
    "print(before, told.ru_utime + told.ru_stime - before)"
)
PARTS = ("polling", "process and imports", "until the first step", "in all")


def main(rounds: int) -> None:
    """Print both flows' seconds a round, and what the least disturbed of each give."""
    with tempfile.TemporaryDirectory() as name, started(Path(name)) as ask:
        empty = _deployed(ask, Path(name))
        deployed = deployment(ask, "retrain-demo")
        values = {"config": deployed["parameters"]["config"] | quick(Path(name))}
        found: dict[str, list[list[float]]] = {"empty flow": [], "retrain": []}
        for _ in range(rounds):
            for kind, made, parameters in (
                ("empty flow", empty, {}),
                ("retrain", deployed["id"], values),
            ):
                found[kind].append(_seconds(ask, made, parameters))
                _show(kind, found[kind][-1])
        best = {kind: min(rows, key=lambda row: row[-1]) for kind, rows in found.items()}
        print(f"least disturbed of {rounds}; load {_load()}")
        for kind, row in best.items():
            _show(kind, row)
        print(f"  ours: {best['retrain'][-1] - best['empty flow'][-1]:.1f} s more than the empty flow's")
    told = [_imports() for _ in range(rounds)]
    prefects, ours = (min(each) for each in zip(*told, strict=True))
    print(f"  imports, seconds of a processor: Prefect {prefects:.2f}, flows.retrain {ours:.2f} more")


def _deployed(ask: Any, folder: Path) -> str:
    """A flow of one empty step, deployed as ours are; its id."""
    (folder / "empty.py").write_text(EMPTY, encoding="utf-8")
    like = deployment(ask, "gc")
    told = {
        "name": "empty",
        "flow_id": ask("POST", "/flows/", {"name": "empty"})["id"],
        "entrypoint": "empty.py:empty",
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
        "work_pool_name": like["work_pool_name"],
        "job_variables": like["job_variables"] | {"working_dir": str(folder)},
    }
    return str(ask("POST", "/deployments/", told)["id"])


def _seconds(ask: Any, deployed: str, parameters: dict[str, Any]) -> list[float]:
    made = ask("POST", f"/deployments/{deployed}/create_flow_run", {"parameters": parameters})
    run = ended(ask, made["id"], 400)
    if run["state_type"] != "COMPLETED":
        raise RuntimeError(f"{run['name']} {run['state_name']}: {run['state']['message']}")
    states = ask("GET", f"/flow_run_states/?flow_run_id={run['id']}")
    at = {each["name"]: datetime.fromisoformat(each["timestamp"]) for each in reversed(states)}
    time.sleep(3)  # steps are written down later, in their order
    steps = ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    first = min(datetime.fromisoformat(each["start_time"]) for each in steps)
    edges = [datetime.fromisoformat(run["created"]), at["Pending"], at["Running"], first]
    parts = [(b - a).total_seconds() for a, b in pairwise(edges)]
    return [*parts, sum(parts)]


def _imports() -> list[float]:
    with tempfile.TemporaryDirectory() as home:
        told = subprocess.run(
            [sys.executable, "-c", IMPORTS],
            env=os.environ | ENVIRONMENT | {"PREFECT_HOME": home}, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
    return [float(each) for each in told.stdout.split()]


def _show(kind: str, row: list[float]) -> None:
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in zip(PARTS, row, strict=True))
    print(f"  {kind:10s} {parts}; load {_load()}", flush=True)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
