"""The whole main job on a simulated world: time against LightGBM's own training, memory, reuse.

Making the world is not counted, reading its exports is. LightGBM is fixed at 300 trees of 63
leaves; its own training is what `lightgbm.Dataset` and `lightgbm.train` take in the run: the
evaluated fit and the refit on all data that is published.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = (
    "models.lightgbm.max_trees=300", "models.lightgbm.num_leaves=63", "models.lightgbm.early_stopping=0",
)  # fmt: skip


def main(plays: int) -> None:
    """Print seconds by step, the ratio, the peak and what a second run still computes."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        world = _world(plays, folder)
        first = _retrain(folder, world)
        trained = 0.0
        for entry in (folder / "store").glob("*/*/ranker.json"):
            trained += json.loads(entry.read_text(encoding="utf-8"))["facts"].get(
                "lightgbm_seconds", 0.0
            )
        second = _retrain(folder, world)
    print(f"retrain, {plays:,} plays: {first[0]:.0f} s, of it LightGBM's own training {trained:.0f} s")
    print(f"  ratio {first[0] / trained:.2f}, peak memory {first[2]:.1f} GB")
    print(
        f"  second run on unchanged input: {second[0]:.0f} s, steps that computed something: {second[1]}"
    )


def _world(plays: int, folder: Path) -> Path:
    """The folder of the world's exports, made in a process of its own, small beside what follows."""
    size = f"users={max(plays // 7400, 3)}, plays={plays}, tracks={max(plays // 21, 500)}"
    code = (
        "import sys; from pathlib import Path; from schemas.config import Simulation; "
        f"from tasks import simulation; simulation.write(Simulation({size}), Path(sys.argv[1]))"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(folder / "world")], check=True)
    print(f"world of {plays:,} plays written in {time.perf_counter() - started:.0f} s", flush=True)
    return folder / "world" / "export"


def _retrain(folder: Path, world: Path) -> tuple[float, list[str], float]:
    """Seconds of a retrain, the steps whose entry was not reused, and the largest step's peak in GB."""
    settings = (
        "dataset=bench", "source.kind=spotify_export", f"source.path={world}",
        f"store.path={folder / 'store'}", f"output.dir={folder / 'out'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", f"tracking.artifacts={folder / 'mlflow'}",
        *SETTINGS,
    )  # fmt: skip
    command = [sys.executable, "-m", "flows", "retrain"]
    for setting in settings:
        command += ["--set", setting]
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect")}
    started = time.perf_counter()
    run = subprocess.run(command, check=False, env=environment, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    print(run.stderr, flush=True)
    run.check_returncode()
    made = [
        line.split("  ")[0]
        for line in run.stderr.splitlines()
        if re.search(r"rows +[\d.]+ s +[\d.]+ [MG]B$", line)
    ]
    sizes = re.findall(r" s +([\d.]+) ([MG])B", run.stderr)
    return seconds, made, max(float(size) * {"G": 1.0, "M": 1e-3}[unit] for size, unit in sizes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7_400_000)
