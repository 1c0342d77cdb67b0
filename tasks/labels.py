"""What each play turned out to be, and from when that may be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from schemas import config
from tasks.warehouse import Warehouse


def write(
    plays: Path, tracks: Path, clock: str, settings: config.Labels, warehouse: Warehouse, folder: Path
) -> None:
    """Write ``completed.parquet`` and/or ``repeated.parquet`` (grain: ``schemas.tables.Labels``).

    A timed source always gets ``completed``, because it also serves as a feature of later plays;
    ``repeated`` is derived when it is the target. A source without a clock has only the label it
    gives itself.
    """
    warehouse.numbered("plays", plays)
    warehouse.relation("tracks", tracks)
    if clock == "order":
        rows = settings.maturity_rows if settings.mode == "production" else 1
        warehouse.write("labels/given", folder / "repeated.parquet", maturity_rows=rows)
        return
    share = settings.completed_share
    warehouse.write("labels/completed", folder / "completed.parquet", completed_share=share)
    if settings.target == "repeat":
        warehouse.write(
            "labels/repeat",
            folder / "repeated.parquet",
            burn_in_days=settings.burn_in_days,
            horizon_days=settings.horizon_days,
        )


def facts(path: Path) -> dict[str, Any]:
    """Rows of a label file: all, known, true."""
    frame = pl.scan_parquet(path).select(
        rows=pl.len(), known=pl.col("target").is_not_null().sum(), true=pl.col("target").sum()
    )
    return frame.collect().row(0, named=True)
