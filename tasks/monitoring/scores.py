"""How far a model's probabilities have moved since its holdout."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from tasks import training
from tasks.metrics.bootstrap import blocks
from tasks.monitoring.features import grade, moved, resamples
from tasks.monitoring.model import behind, holdout
from tasks.monitoring.windows import DAY, Stretches, unseen
from tasks.registry import Registry, Version


def drifted(
    table: Path, version: Version, cut: Stretches, clock: str, config: Config
) -> dict[str, Any] | None:
    """Drift of the probabilities of a feature table's rows: the newest stretch against the holdout.

    Both are rows that the model was not fitted on: on those it was fitted on its probabilities are
    bolder, which is no drift. Of a refit on all data the evaluated version behind it is asked. The
    facts are those of a feature (``features.drifted``), with ``version`` and ``rows`` (before, now).
    None where the holdout is not known, or too little of it lies before the newest stretch.
    """
    registry = Registry(config.tracking)
    evaluated = behind(registry, version)
    window = holdout(evaluated[1]) if evaluated else None
    if evaluated is None or window is None:
        return None
    ticks = pl.read_parquet(table, columns=["tick"])["tick"].to_numpy()
    beside = unseen(cut, ticks, window, config.monitor)
    if beside is None:
        return None
    tick = pl.col("tick")
    before = (tick >= beside.start) & (tick < beside.known)
    rows = pl.scan_parquet(table).filter(before | (tick >= beside.recent)).collect()
    with tempfile.TemporaryDirectory() as scratch:
        model = training.load(registry.ranker(evaluated[0], Path(scratch)))
        probability = pl.Series("probability", model.score(rows))
    at = rows["tick"].to_numpy()
    days = at // DAY if clock == "time" else None
    block, _ = blocks(rows["user"].to_numpy(), days, config.evaluation.min_users)
    weights = resamples(int(block.max()) + 1, config)
    found = moved(probability, beside.periods(at), block, weights, config.monitor.bins)
    newest = int((at >= beside.recent).sum())
    return {
        **asdict(found),
        "drift": grade("probability", found, config),
        "version": evaluated[0].number,
        "rows": (rows.height - newest, newest),
    }
