"""A retrain, and a second one when 1 % of the plays have come since: seconds by step, and the numbers.

A simulated world's export is cut at the moment after which its newest plays lie; the second retrain
reads all of it, as somebody who has asked Spotify again. What it makes is compared with what an empty
store makes of the same export.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

SHARE = 0.01
TIMES = ("ts", "endTime", "timestamp_utc")
FITTED = ("fit", "evaluate", "promote", "playlist")  # fits, or what judges them
LINE = re.compile(r"^(\S.{0,23}?) +(?:([\d,]+) rows)? +([\d.]+) s +[\d.]+ [MG]B(  reused)?$")
MODULE = "import sys; from pathlib import Path; from schemas.config import Simulation; "


def main(plays: int) -> None:
    """Print seconds by step of both, what the second cost, and whether its numbers are right."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        whole, cut = _exports(plays, folder)
        (folder / "export").symlink_to(cut)
        first = _retrain(folder, "first")
        (folder / "export").unlink()
        (folder / "export").symlink_to(whole)
        second = _retrain(folder, "second")
        same = _digests(folder, folder / "store") == _digests(folder, folder / "fresh")
    steps = pl.DataFrame(
        [
            {"step": step, "first s": seconds, "second s": second.get(step, 0.0)}
            for step, seconds in first.items()
        ]
    ).with_columns(fits=pl.col("step").str.split(" ").list.first().is_in(FITTED))
    with pl.Config(tbl_rows=40, tbl_hide_dataframe_shape=True):
        print(steps)
    for fits, what in ((True, "fitting and judging"), (False, "everything else")):
        seconds = steps.filter(pl.col("fits") == fits).select("first s", "second s").sum().row(0)
        print(f"{what}: {seconds[0]:.1f} s, then {seconds[1]:.1f} s: {seconds[1] / seconds[0]:.0%}")
    print(f"ingest, labels and features as from scratch: {'yes' if same else 'NO'}")


def _exports(plays: int, folder: Path) -> tuple[Path, Path]:
    """A world's export, and the same without its newest plays and errors."""
    size = f"users={max(plays // 7400, 3)}, plays={plays}, tracks={max(plays // 21, 500)}"
    code = (
        f"{MODULE}from tasks import simulation; simulation.write(Simulation({size}), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder / "world")], check=True)
    whole, cut = folder / "world" / "export", folder / "before" / "export"
    moments = [
        _moment(record)
        for path in whole.rglob("*.json")
        for record in json.loads(path.read_text(encoding="utf-8"))
        if "ms_played" in record or "msPlayed" in record
    ]
    edge = sorted(moments)[int(len(moments) * (1 - SHARE))]
    for path in whole.rglob("*.json"):
        records = json.loads(path.read_text(encoding="utf-8"))
        target = cut / path.relative_to(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        told = isinstance(records, list)
        kept = [record for record in records if _moment(record) < edge] if told else records
        if kept == records:
            shutil.copy(path, target)
        else:  # as the world writes it: the whole file is this one, grown
            text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
            target.write_text(text, encoding="utf-8")
    return whole, cut


def _moment(record: dict[str, object]) -> str:
    """When it was, to the minute, as a text that sorts; of what has no time, before everything."""
    told = next((record[name] for name in TIMES if name in record), "")
    return str(told).replace("T", " ")[:16]


def _settings(folder: Path, store: Path) -> list[str]:
    return [
        "dataset=bench", "source.kind=spotify_export", f"source.path={folder / 'export'}",
        f"store.path={store}", f"output.dir={folder / 'out'}",
        f"tracking.uri=sqlite:///{folder / 'mlflow.db'}", f"tracking.artifacts={folder / 'mlflow'}",
        "models.lightgbm.max_trees=100", "models.lightgbm.early_stopping=0",
    ]  # fmt: skip


def _retrain(folder: Path, which: str) -> dict[str, float]:
    """Seconds by step; of a step that comes twice, together."""
    command = [sys.executable, "-m", "flows", "retrain"]
    for setting in _settings(folder, folder / "store"):
        command += ["--set", setting]
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect")}
    started = time.perf_counter()
    run = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    print(f"{which} retrain: {time.perf_counter() - started:.0f} s", flush=True)
    if run.returncode:
        print(run.stderr)
        run.check_returncode()
    told: dict[str, float] = {}
    for line in run.stderr.splitlines():
        found = LINE.match(line)
        if found:
            told[found[1]] = told.get(found[1], 0.0) + float(found[3])
    return told


def _digests(folder: Path, store: Path) -> list[dict[str, str]]:
    """Of all tables up to the features, made in the store where they are not there."""
    from schemas.loading import load
    from tasks import stages

    config = load(None, _settings(folder, store))
    data = stages.ingested(config, None, datetime.now(UTC))
    labels = stages.labelled(config, data)
    made = (data, labels, stages.featurized(config, data, labels))
    return [{name: table.digest for name, table in entry.tables.items()} for entry in made]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
