"""The served recommender under 20 requests a second: latency by a real client, and the model alone.

The demo world, k = 10, one user a request; a warm-up, then half a minute.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RATE, SECONDS, WARM, K = 20, 30, 100, 10


def main() -> None:
    """Print milliseconds at the median and the 99th percentile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = (
            f"store.path={folder / 'store'}", f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
            f"tracking.artifacts={folder / 'mlflow'}", f"output.dir={folder / 'out'}",
        )  # fmt: skip
        command = [sys.executable, "-m", "flows", "package"]
        for setting in settings:
            command += ["--set", setting]
        environment = os.environ | {
            "PREFECT_HOME": str(folder / "prefect"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        (saved,) = (folder / "mlflow").rglob("recommender.json")
        alone, users = _alone(saved.parent)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve = [
            "mlflow", "models", "serve", "-m", "models:/encore-demo-recommender@champion",
            "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        with subprocess.Popen(
            serve, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
        ) as server:
            try:
                _wait(port)
                served = _asked(port, users)
            finally:
                os.killpg(server.pid, 15)
    print(f"{len(served)} requests at {RATE} a second, k = {K}")
    for told, found in (("over HTTP", served), ("the model alone", alone)):
        print(f"  {told:16s} median {_at(found, 50):6.1f} ms, 99th percentile {_at(found, 99):6.1f} ms")


def _alone(folder: Path) -> tuple[list[float], list[str]]:
    """Milliseconds of answers without a server, and the users asked about."""
    from tasks.two_stage.recommender import load

    recommender = load(folder)
    users = list(recommender.place)
    taken = []
    for number in range(WARM + RATE * SECONDS):
        started = time.perf_counter()
        recommender.answer(users[number % len(users)], K, "include")
        taken.append((time.perf_counter() - started) * 1000)
    return taken[WARM:], users


def _wait(port: int) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError("the server does not answer")


def _asked(port: int, users: list[str]) -> list[float]:
    """Milliseconds of each request, sent at a steady rate whether or not the last one is answered."""

    def ask(number: int) -> float:
        row: dict[str, Any] = {"user_id": users[number % len(users)], "k": K}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"dataframe_records": [row]}).encode(),
            {"Content-Type": "application/json"},
        )
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert len(json.load(answer)["predictions"][0]["recommendations"]) == K
        return (time.perf_counter() - started) * 1000

    for number in range(WARM):
        ask(number)
    with ThreadPoolExecutor(8) as pool:
        begun = time.perf_counter()
        waiting = []
        for number in range(RATE * SECONDS):
            time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
            waiting.append(pool.submit(ask, number))
        return [each.result() for each in waiting]


def _at(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


if __name__ == "__main__":
    main()
