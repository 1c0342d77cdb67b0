"""Proof, in every training run, that no feature saw the future.

For a random sample of real rows every later record is removed, what was still running is blanked,
labels are derived anew from what is left, and the row's features are built again by the same code.
They must equal those that the models were trained on.

What was rebuilt is kept under a digest of the records that it was rebuilt from: when newer plays
have come, the rows of before are compared with their features in the new table, and only what has
another past is rebuilt.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas import config
from tasks import labels
from tasks.featurize import History, newest
from tasks.store import Store, key
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
    Facts: plays, how many of them were rebuilt now (``rebuilt``), features, compared, mismatches.
    """
    trained = _sample(features, history, settings.audit)
    known = _known(trained.select("play"), history, settings)
    store = Store(settings.store.path)
    read = {
        "names": list(names),
        "clock": history.clock,
        "timezone": history.timezone,
        "known_until": history.known_until,
        "labels": settings.labels.model_dump(mode="json"),
        "streams": sorted(history.labels),
    }

    def check(play: int) -> tuple[bool, pl.DataFrame]:
        def work(own: Path) -> Mapping[str, Any]:
            _rebuild(play, names, history, settings, own).write_parquet(own / "rebuilt.parquet")
            return {}

        entry = store.once("rebuilt", key(_rebuild, [known[play]], read), work)
        rebuilt = pl.read_parquet(entry.tables["rebuilt"].path)
        row = trained.filter(pl.col("play") == play).select(names)
        return entry.reused, _compare(play, row, rebuilt)

    with ThreadPoolExecutor(settings.store.threads) as pool:
        reused, compared = zip(*pool.map(check, trained["play"].to_list()), strict=True)
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
    return {
        "plays": trained.height,
        "rebuilt": len(reused) - sum(reused),
        "features": len(names),
        "compared": result.height,
        "mismatches": 0,
    }


def _sample(features: Path, history: History, settings: config.Audit) -> pl.DataFrame:
    """Rows of the features, those whose plays have the smallest hashes: when newer plays come, most
    of the rows stay the same."""
    identity = ["user_id", "track_id", "started_at" if history.clock == "time" else "seq"]
    drawn = pl.scan_parquet(history.plays).select(pl.struct(identity).hash(settings.seed))
    hashes = drawn.collect().to_series()
    size = int(np.clip(settings.max_rows // max(len(hashes), 1), 3, settings.plays))
    plays = pl.read_parquet(features, columns=["play"])["play"]
    smallest = pl.DataFrame({"play": plays, "hash": hashes.gather(plays)}).bottom_k(size, by="hash")
    sample = smallest["play"]
    found = pl.scan_parquet(features).filter(pl.col("play").is_in(sample.implode()))
    return found.collect(engine="streaming")  # of the other columns, only some pages are decoded


def _known(sample: pl.DataFrame, history: History, settings: config.Config) -> dict[int, str]:
    """By play, a digest of every record that was there at its start."""
    with Warehouse(settings.store) as warehouse:
        warehouse.numbered("numbered_plays", history.plays)
        warehouse.relation("sample", sample)
        for name in ("tracks", "users", "errors"):
            warehouse.relation(name, getattr(history, name))
        return dict(warehouse.frame("features/known").iter_rows())


def _rebuild(
    play: int,
    names: Sequence[str],
    history: History,
    settings: config.Config,
    folder: Path,
) -> pl.DataFrame:
    """The features of one play, from the records as they were known at its start."""
    maturity = settings.labels.maturity_rows if settings.labels.mode == "production" else 1
    with (
        tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder) as name,
        Warehouse(settings.store) as warehouse,
    ):
        scratch = Path(name)
        warehouse.numbered("numbered_plays", history.plays)
        warehouse.relation("errors", history.errors)
        truncated, errors = scratch / "plays.parquet", scratch / "errors.parquet"
        warehouse.write(
            "features/truncated",
            truncated,
            row=play,
            known_until=history.known_until if history.known_until is not None else 0,
            maturity_rows=maturity,
        )
        warehouse.write("features/truncated_errors", errors, row=play)
        labels.write(truncated, history.tracks, history.clock, settings.labels, warehouse, scratch)
        then = replace(
            history,
            plays=truncated,
            errors=errors,
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
