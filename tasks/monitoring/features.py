"""How far each feature has drifted since training, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Config
from tasks.metrics import drift
from tasks.metrics.bootstrap import blocks, drawn
from tasks.monitoring.windows import DAY, Stretches
from tasks.ranking.protocol import Column

# A stretch shorter than a year never has all the months of training: no reason to train again.
CALENDAR = ("month",)


def drifted(
    table: Path,
    columns: Sequence[Column],
    gains: Mapping[str, float],
    cut: Stretches,
    clock: str,
    config: Config,
) -> tuple[list[dict[str, Any]], str, int]:
    """A row of facts per feature, the most telling first; the unit resampled and how many there are.

    ``table`` is a feature table, ``gains`` the share of the model's gain in each column it reads.
    Of a row: feature, gain, psi, usual, excess, missing (before, now), missing_change, and ``drift``:
    strong, slight, none or calendar. Intervals are dicts of value, low and high. One column is in
    memory at a time.
    """
    keys = pl.read_parquet(table, columns=["user", "tick"])
    ticks = keys["tick"].to_numpy()
    periods = cut.periods(ticks)
    used = periods >= 0
    users, days = keys["user"].to_numpy()[used], ticks[used] // DAY
    block, unit = blocks(users, days if clock == "time" else None, config.evaluation.min_users)
    period = periods[used]
    units = int(block.max()) + 1
    weights = resamples(units, config)
    mask = pl.Series(used)
    rows = []
    for column in columns:
        values = pl.read_parquet(table, columns=[column.name])[column.name].filter(mask)
        found = moved(values, period, block, weights, config.monitor.bins)
        rows.append({
            "feature": column.name,
            "gain": gains.get(column.name, 0.0),
            "drift": grade(column.name, found, config),
            **asdict(found),
        })  # fmt: skip
    order = ("strong", "slight", "calendar", "none")
    rows.sort(key=lambda row: (order.index(row["drift"]), -row["gain"], row["feature"]))
    return rows, unit, units


def grade(name: str, found: drift.Drift, config: Config) -> str:
    """Whether a feature has drifted: its whole interval must say so, and not be as usual.

    As usual is what the model met before: features that count the past grow with every stretch.
    """
    if name in CALENDAR:
        return "calendar"
    slight, strong = config.monitor.slight, config.monitor.strong
    unusual = found.excess is None or found.excess.low > 0
    if unusual and found.psi.low >= strong and (found.excess is None or found.excess.value >= slight):
        return "strong"
    return "slight" if unusual and found.psi.low >= slight else "none"


def moved(
    values: pl.Series,
    period: NDArray[np.int64],
    block: NDArray[np.int32],
    weights: NDArray[np.uint8],
    bins: int,
) -> drift.Drift:
    """How far values (n,) of the last period are from those of all before it."""
    known = drift.learned(values.filter(pl.Series(period < period.max())), bins)
    counts = drift.counted(drift.codes(known, values), known.count, period, block)
    return drift.drift(counts, weights)


def resamples(units: int, config: Config) -> NDArray[np.uint8]:
    """How often each unit is drawn: (units, ``evaluation.resamples``)."""
    wanted = config.evaluation.resamples
    batches: list[NDArray[np.uint8]] = []
    while sum(batch.shape[1] for batch in batches) < wanted:
        batches.append(drawn(units, config.evaluation.seed, len(batches)))
    return np.concatenate(batches, axis=1)[:, :wanted]
