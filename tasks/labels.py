"""What each play turned out to be, and from when that may be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
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
    _completed(plays, settings, warehouse, folder / "completed.parquet")
    if settings.target == "repeat":
        warehouse.write(
            "labels/repeat",
            folder / "repeated.parquet",
            burn_in_days=settings.burn_in_days,
            horizon_days=settings.horizon_days,
        )


def _completed(plays: Path, settings: config.Labels, warehouse: Warehouse, table: Path) -> None:
    """What plays tell of themselves, and what is measured of those that tell nothing; in parts.

    Numbers are held for all plays, texts for a part: the engine hands rows out in any order, and to
    sort them takes longer than all the rest.
    """
    rows = parts.rows(plays)
    target, matures = np.full(rows, -1, np.int8), np.zeros(rows, np.int64)
    for batch in warehouse.batches("labels/told"):
        told = cast(pl.DataFrame, pl.from_arrow(batch))
        matures[told["play"]] = told["matures_at"]
        target[told["play"]] = told["target"].cast(pl.Int8).fill_null(-1)
    measured = warehouse.frame("labels/measured", completed_share=settings.completed_share)
    target[measured["play"]] = measured["target"].cast(pl.Int8).fill_null(-1)
    table.mkdir()
    start = 0
    for number, path in enumerate(parts.files(plays)):
        keys = pl.read_parquet(path, columns=["user_id", "seq"])
        own = slice(start, start + keys.height)
        start = own.stop
        pl.DataFrame({"play": np.arange(own.start, own.stop), "known": target[own]}).hstack(
            keys.select("user_id", "seq")
        ).select(
            "play",
            "user_id",
            "seq",
            target=pl.when(pl.col("known") >= 0).then(pl.col("known") > 0),
            matures_at=pl.Series(matures[own]),
        ).write_parquet(parts.part(table, number), compression="zstd", compression_level=1)


def facts(path: Path) -> dict[str, Any]:
    """Rows of a label file: all, known, true."""
    frame = pl.scan_parquet(path).select(
        rows=pl.len(), known=pl.col("target").is_not_null().sum(), true=pl.col("target").sum()
    )
    return frame.collect().row(0, named=True)
