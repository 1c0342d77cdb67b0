"""Proof, in every training run, that no feature saw the future.

For a random sample of real rows every later record is removed from the plays, what was still
running is blanked, labels are derived anew from what is left, and the row's features are built
again by the same code. They must equal those that the models were trained on.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas import config
from tasks import labels
from tasks.featurize import History, newest
from tasks.warehouse import Warehouse

TOLERANCE = 1e-5  # relative; sums of float32 in another order


class LeakError(Exception):
    """A feature differs once the future is removed. Ours to mend: nothing trained on it counts."""


def audit(
    features: Path,
    names: Sequence[str],
    history: History,
    settings: config.Config,
    folder: Path,
) -> dict[str, Any]:
    """Rebuild sampled rows of ``features``; write ``audit.parquet`` (one row per play and feature).

    Columns play, feature, trained_on, rebuilt, equal. Raises ``LeakError`` on any difference. The
    sample shrinks on large data so that about ``audit.max_rows`` history rows are read in all.
    """
    plays = pl.scan_parquet(history.plays).select(pl.len()).collect().item()
    size = int(np.clip(settings.audit.max_rows // max(plays, 1), 3, settings.audit.plays))
    rows = pl.scan_parquet(features).select(pl.len()).collect().item()
    sample = np.sort(
        np.random.default_rng(settings.audit.seed).choice(rows, min(size, rows), replace=False)
    )
    trained = (
        pl.scan_parquet(features)
        .with_row_index("row")
        .filter(pl.col("row").is_in(sample.tolist()))
        .drop("row")
        .collect()
    )
    with (
        tempfile.TemporaryDirectory(prefix=".audit-", dir=folder) as scratch,
        ThreadPoolExecutor(settings.store.threads) as pool,
    ):

        def check(play: int) -> pl.DataFrame:
            own = Path(scratch) / str(play)
            own.mkdir()
            rebuilt = _rebuild(play, names, history, settings, own)
            shutil.rmtree(own)
            return _compare(play, trained.filter(pl.col("play") == play).select(names), rebuilt)

        compared = list(pool.map(check, trained["play"].to_list()))
    result = pl.concat(compared)
    result.write_parquet(folder / "audit.parquet")
    different = result.filter(~pl.col("equal"))
    if different.height:
        first = different.row(0, named=True)
        raise LeakError(
            f"{different.height} of {result.height} features changed when later records were removed; "
            f"first: {first['feature']} of play {first['play']}: "
            f"{first['trained_on']} became {first['rebuilt']}"
        )
    return {"plays": trained.height, "features": len(names), "compared": result.height, "mismatches": 0}


def _rebuild(
    play: int,
    names: Sequence[str],
    history: History,
    settings: config.Config,
    scratch: Path,
) -> pl.DataFrame:
    """The features of one play, from the plays as they were known at its start."""
    maturity = settings.labels.maturity_rows if settings.labels.mode == "production" else 1
    with Warehouse(settings.store) as warehouse:
        warehouse.numbered("numbered_plays", history.plays)
        truncated = scratch / "plays.parquet"
        warehouse.write(
            "features/truncated",
            truncated,
            row=play,
            known_until=history.known_until if history.known_until is not None else 0,
            maturity_rows=maturity,
        )
        labels.write(truncated, history.tracks, history.clock, settings.labels, warehouse, scratch)
        then = replace(
            history,
            plays=truncated,
            labels={stream: scratch / f"{stream}.parquet" for stream in history.labels},
        )
        return newest(then, names, warehouse)


def _compare(play: int, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    def long(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        return frame.select(pl.all().cast(pl.String)).transpose(
            include_header=True, header_name="feature", column_names=[name]
        )

    both = long(before, "trained_on").with_columns(long(after, "rebuilt")["rebuilt"])
    left, right = (pl.col(name).cast(pl.Float64, strict=False) for name in ("trained_on", "rebuilt"))
    close = (left - right).abs() <= TOLERANCE * pl.max_horizontal(left.abs(), right.abs(), pl.lit(1.0))
    equal = pl.col("trained_on").eq_missing(pl.col("rebuilt")) | close.fill_null(False)
    return both.select(
        pl.lit(play).cast(pl.Int64).alias("play"), "feature", "trained_on", "rebuilt", equal=equal
    )
