"""The report's machine-readable files: metrics, comparison, importance, playlist, scored plays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from schemas.tables import Scored, columns
from tasks.metrics.binary import Interval
from tasks.report.content import METRIC_NAMES, Importance, Report, to_json
from tasks.report.files import write_csv, write_text

PLAYLIST = ("user_id", "rank", "uri", "name", "artist", "probability", "reason")
BATCH = 262_144


def write_tables(report: Report, verdict: str, playlist: pl.DataFrame | None, folder: Path) -> None:
    """Write model_metrics.json, model_comparison.csv and .json, feature_importance.csv, the playlist.

    ``playlist`` has the columns of ``PLAYLIST``, one row a track; None writes the header alone.
    """
    write_text(folder / "model_metrics.json", to_json(report))
    rows = comparison(report)
    write_csv(folder / "model_comparison.csv", list(rows[0]), [list(row.values()) for row in rows])
    told = {"verdict": verdict, "dataset": report.dataset, "target": report.target, "models": rows}
    write_text(
        folder / "model_comparison.json",
        json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
    write_csv(
        folder / "feature_importance.csv",
        ("rank", "feature", "gain", "split", "needs"),
        [
            (rank, each.feature, each.gain, each.split, each.needs)
            for rank, each in enumerate(by_gain(report), start=1)
        ],
    )
    tracks = [] if playlist is None else playlist.select(PLAYLIST).rows()
    write_csv(folder / "top_resume_playlist.csv", PLAYLIST, tracks)


def comparison(report: Report) -> list[dict[str, Any]]:
    """One row per model: every metric, its bounds, and its paired difference to each baseline."""
    baselines = list(dict.fromkeys(name for model in report.models for name in model.differences))
    metrics = [name for name in METRIC_NAMES if any(name in model.metrics for model in report.models)]
    rows = []
    for model in report.models:
        row: dict[str, Any] = {"model": model.name, "registered": model.name == report.candidate}
        for metric in metrics:
            row |= _cells(metric, model.metrics.get(metric))
        for baseline in baselines:
            for metric in metrics:
                difference = model.differences.get(baseline, {}).get(metric)
                row |= _cells(f"{metric}_minus_{baseline}", difference)
        rows.append(row | {"threshold": model.threshold, "seconds": model.seconds, "note": model.note})
    return rows or [{"model": "", "registered": False}]


def by_gain(report: Report) -> list[Importance]:
    """Features by falling gain; equals by name."""
    return sorted(report.importance, key=lambda each: (-each.gain, each.feature))


def write_scored(scored: Path, path: Path) -> None:
    """Stream the columns of ``schemas.tables.Scored`` from Parquet to CSV, in the Parquet's order.

    Moments are ISO 8601 UTC with milliseconds, floats the shortest text that reads back equal.
    """
    import pyarrow.parquet as pq

    names = list(columns(Scored))
    with pq.ParquetFile(scored) as source, path.open("wb") as file:
        file.write((",".join(names) + "\n").encode())
        for batch in source.iter_batches(BATCH, columns=names):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            text = frame.select(names).with_columns(
                pl.col("started_at").dt.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"),
                pl.col("target").cast(pl.Int8),
            )
            file.write(text.write_csv(include_header=False).encode())


def _cells(name: str, interval: Interval | None) -> dict[str, float | None]:
    values = (math.nan,) * 3 if interval is None else (interval.value, interval.low, interval.high)
    return {
        f"{name}{suffix}": value if math.isfinite(value) else None
        for suffix, value in zip(("", "_low", "_high"), values, strict=True)
    }
