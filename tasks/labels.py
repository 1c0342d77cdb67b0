"""What each play turned out to be, and from when that may be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from schemas import config
from tasks import parts
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
    _completed(settings, warehouse, folder / "completed.parquet")
    if settings.target == "repeat":
        warehouse.write(
            "labels/repeat",
            folder / "repeated.parquet",
            burn_in_days=settings.burn_in_days,
            horizon_days=settings.horizon_days,
        )


def _completed(settings: config.Labels, warehouse: Warehouse, path: Path) -> None:
    """What plays tell of themselves, and what is measured of those that tell nothing."""
    measured = warehouse.frame("labels/measured", completed_share=settings.completed_share)
    told = warehouse.frame("labels/told").sort("play")  # blocks of rows come in any order: half the time
    if not measured.is_empty():  # often all tell: a join would go over all of them
        both = told.join(measured, on="play", how="left", maintain_order="left")
        told = both.with_columns(pl.coalesce("target", "target_right")).drop("target_right")
    told.write_parquet(path, compression="zstd", compression_level=1, row_group_size=parts.ROWS)


def facts(path: Path) -> dict[str, Any]:
    """Rows of a label file: all, known, true."""
    frame = pl.scan_parquet(path).select(
        rows=pl.len(), known=pl.col("target").is_not_null().sum(), true=pl.col("target").sum()
    )
    return frame.collect().row(0, named=True)
