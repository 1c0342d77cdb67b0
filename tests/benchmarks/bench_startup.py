"""What `make run` spends outside of its steps: imports, databases, orchestration, Prefect's server.

The same command with nothing there yet (no store, no MLflow database, no Prefect home), against a
Prefect server that runs already and with the one that a run starts for its own time: the server's
start is the difference of what lies outside of the steps. A step tells its own seconds.

Two things hide in the steps: libraries that only a step needs are imported in it, and the MLflow
database is made beside the first two. Both are timed alone, so that the sum can be judged too.

`make setup` leaves the libraries byte-compiled. Where they are not, and Python may not write what it
compiles (PYTHONDONTWRITEBYTECODE), every process compiles all that it imports: more than twice the
time, which is why the first line tells.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from flows.__main__ import ENVIRONMENT

IN_STEPS = (
    "import flows.retrain, time; started = time.perf_counter(); "
    "import altair, lightgbm, mlflow, numba, sklearn.linear_model, vl_convert; "
    "print(time.perf_counter() - started)"
)
DATABASE = (
    "import flows.retrain, mlflow, sys, time; from schemas.config import Tracking; "
    "from tasks.registry import Registry; started = time.perf_counter(); "
    "Registry(Tracking(uri=sys.argv[1], artifacts=sys.argv[2])); print(time.perf_counter() - started)"
)


@dataclass(frozen=True)
class Timed:
    """Seconds of a run: all, its steps', and those before the first and after the last step."""

    total: float
    steps: float
    before: float
    after: float

    @property
    def outside(self) -> float:
        return self.total - self.steps


def main(rounds: int) -> None:
    """Print a line per round, and what the least disturbed round of each kind gives."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    given, own = [], []
    print(f"retrain on the demo, everything anew; libraries {_compiled()}; load {_load()}", flush=True)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name, _server(Path(name), plain) as url:
            given.append(_retrain(Path(name), plain | {"PREFECT_API_URL": url}))
        _show("server running already", given[-1])
        with tempfile.TemporaryDirectory() as name:
            own.append(_retrain(Path(name), plain))
        _show("its own server", own[-1])
    with tempfile.TemporaryDirectory() as name:
        imports = float(_python(plain | {"PREFECT_HOME": name}, IN_STEPS))
        places = (f"sqlite:///{name}/mlflow.db", f"{name}/mlflow")
        database = float(_python(plain | {"PREFECT_HOME": name}, DATABASE, *places))
    rest = min(each.outside for each in given)
    print(f"  outside of the steps: {rest:.1f} s are imports, databases and orchestration,")
    print(f"    {min(each.outside for each in own) - rest:.1f} s more start Prefect's own server")
    print(f"  within or beside steps: imports {imports:.1f} s, MLflow's database {database:.1f} s")
    print(f"  were these outside too, it would be {rest + imports + database:.1f} s; load {_load()}")


def _show(kind: str, run: Timed) -> None:
    between = run.outside - run.before - run.after
    print(
        f"  {kind:24s} total {run.total:5.1f} s, steps {run.steps:5.1f} s, outside {run.outside:5.1f} s"
        f" (before the first {run.before:.1f}, between {between:.1f}, after the last {run.after:.1f})"
        f"; load {_load()}",
        flush=True,
    )


def _retrain(folder: Path, environment: dict[str, str]) -> Timed:
    command = [sys.executable, "-m", "flows", "retrain", "--config", "configs/demo.yaml"]
    for setting in (
        f"store.path={folder / 'store'}", f"output.dir={folder / 'out'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", f"tracking.artifacts={folder / 'mlflow'}",
    ):  # fmt: skip
        command += ["--set", setting]
    environment = environment | {"PREFECT_HOME": str(folder / "prefect")}
    steps: list[tuple[float, float]] = []  # when a step told its seconds, and how many
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        shown = []
        for line in run.stderr or ():
            shown.append(line)
            if told := re.search(r"([\d.]+) s +[\d.]+ [MG]B(  reused)?$", line.rstrip()):
                steps.append((time.perf_counter() - started, float(told[1])))
            elif line.startswith("orchestration"):
                print(f"  {line.rstrip()} of the flow itself", flush=True)
    total = time.perf_counter() - started
    if run.returncode or not steps:
        raise RuntimeError("".join(shown))
    first, last = steps[0], steps[-1]
    return Timed(total, sum(seconds for _, seconds in steps), first[0] - first[1], total - last[0])


@contextmanager
def _server(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A Prefect server as a person starts it, ready; the address of its API."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    home = folder / "server"
    home.mkdir()
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    environment = environment | ENVIRONMENT | {"PREFECT_HOME": str(home)}
    with (home / "server.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError((home / "server.log").read_text(encoding="utf-8"))
            try:
                if httpx.get(f"{url}/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        time.sleep(5)  # its first loops of services
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _python(environment: dict[str, str], code: str, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT | environment,
    )  # fmt: skip
    return run.stdout.splitlines()[-1]


def _compiled() -> str:
    """Whether Python finds the libraries byte-compiled, by one that every run imports."""
    code = "import importlib.util as found; print(found.find_spec('prefect').cached)"
    there = Path(_python(dict(os.environ), code)).exists()
    return "byte-compiled" if there else "NOT byte-compiled (python -m compileall -q .venv/lib)"


def _load() -> str:
    return " ".join(f"{each:.1f}" for each in os.getloadavg())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
