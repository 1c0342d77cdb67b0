"""Chronological windows: training | validation | holdout, and the rows whose labels fit in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Split
from schemas.errors import InputError

NAMES = ("training", "validation", "holdout")


@dataclass(frozen=True)
class Windows:
    """Half-open windows in ticks: [start, validation) | [validation, cutoff) | [cutoff, end)."""

    start: int
    validation: int
    cutoff: int
    end: int

    def bounds(self, name: str) -> tuple[int, int]:
        """First tick of a window and the tick after its last."""
        edges = (self.start, self.validation, self.cutoff, self.end)
        place = NAMES.index(name)
        return edges[place], edges[place + 1]


@dataclass(frozen=True)
class Span:
    """A window of lists in ticks: known is what lies before ``cutoff``, judged [cutoff, end)."""

    cutoff: int
    end: int


def spans(start: int, end: int, length: int, count: int, told: str) -> list[Span]:
    """``count`` windows of ``length`` ticks that end at ``end``, oldest first, none over another.

    ``start`` is the tick of the first play: before the oldest cutoff there must be at least one
    window's length of history. ``told`` is the length in words, for the refusal.
    """
    made = [Span(end - length * (place + 1), end - length * place) for place in range(count)][::-1]
    if made[0].cutoff - start < length:
        fits = max((end - start) // length - 1, 0)
        raise InputError(
            "too little history for the windows of lists",
            found=f"room for {fits} windows of {told} after one window of history",
            expected=f"{count}: judged, for validation and for training",
            do="shorten lists.horizon_days (lists.horizon_share), or ask for fewer training_windows",
        )
    return made


def windows(ticks: NDArray[np.int64], end: int, settings: Split, cutoffs: int = 1) -> list[Windows]:
    """Windows for one or several cutoffs, oldest first.

    ``ticks`` (int64, sorted) are the starts of the rows with a known label and ``end`` the tick
    after the last play. With several cutoffs each holdout lies right before the next one's, all of
    one length (in rows, or in time where the cutoff is a date); the newest is the one that the
    settings give. A tick never lies on both sides of a border.
    """
    made: list[Windows] = []
    last = end
    for _ in range(cutoffs):
        inside = ticks[ticks < last]
        if not inside.size:
            raise _too_few("any window", 0, settings.min_rows)
        cutoff = _border(inside, settings.holdout) if not made else _previous(ticks, made[-1], settings)
        history = inside[inside < cutoff]
        if not history.size:
            raise _too_few("history", 0, settings.min_rows)
        validation = _border(history, settings.validation)
        if validation > cutoff or cutoff > last:  # only dates can be so far off
            raise _out_of_order(validation, cutoff, last)
        made.append(Windows(int(inside[0]), validation, cutoff, last))
        last = cutoff
    return made[::-1]


def rows(features: Path, window: tuple[int, int], clock: str) -> pl.LazyFrame:
    """Rows of a feature table in a window, whose label is known and matures inside it.

    Without a clock labels count as matured with their row: all of training are known at the cutoff.
    """
    start, end = window
    frame = pl.scan_parquet(features).filter(
        pl.col("tick") >= start, pl.col("tick") < end, pl.col("target").is_not_null()
    )
    return frame.filter(pl.col("matures_at") <= end) if clock == "time" else frame


def check(features: Path, split: Windows, clock: str, settings: Split) -> dict[str, dict[str, float]]:
    """Size of each window: rows, users, share of true labels; refuses windows too small to use."""
    sizes = {}
    for name in NAMES:
        start, end = split.bounds(name)
        size = (
            rows(features, (start, end), clock)
            .select(
                rows=pl.len(),
                users=pl.col("user").n_unique(),
                positives=pl.col("target").mean().fill_null(0.0),
            )
            .collect()
            .row(0, named=True)
        )
        if size["rows"] < settings.min_rows:
            raise _too_few(f"the {name} window", int(size["rows"]), settings.min_rows)
        if size["positives"] in (0.0, 1.0):
            raise InputError(
                f"all labels of the {name} window are the same",
                place=f"ticks {start} to {end}",
                found=f"{int(size['rows'])} rows, all {bool(size['positives'])}",
                expected="both outcomes",
                do="choose other split.holdout and split.validation, or bring more data",
            )
        sizes[name] = {**size, "start": start, "end": end}
    return sizes


def _border(ticks: NDArray[np.int64], where: float | datetime) -> int:
    """Tick of the first row after the border; rows that share its tick stay together after it."""
    if isinstance(where, datetime):
        moment = where if where.tzinfo else where.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)
    return int(ticks[min(round(len(ticks) * (1 - where)), len(ticks) - 1)])


def _previous(ticks: NDArray[np.int64], later: Windows, settings: Split) -> int:
    """Cutoff of the holdout that ends where ``later``'s begins and is as long."""
    if isinstance(settings.holdout, datetime):
        return later.cutoff - (later.end - later.cutoff)
    size = int(np.count_nonzero((ticks >= later.cutoff) & (ticks < later.end)))
    before = int(np.searchsorted(ticks, later.cutoff))
    if before <= size:
        raise _too_few("an earlier cutoff's history", before - size, settings.min_rows)
    return int(ticks[before - size])


def _out_of_order(*edges: int) -> InputError:
    days = (f"{datetime.fromtimestamp(edge / 1000, UTC):%Y-%m-%d}" for edge in edges)
    return InputError(
        "windows out of order",
        found="validation from {}, holdout from {}, data to {}".format(*days),
        expected="validation before the holdout, the holdout before the end of the data",
        do="choose other dates for split.validation and split.holdout",
    )


def _too_few(window: str, found: int, least: int) -> InputError:
    return InputError(
        f"too few plays to split: {window} is too small",
        found=f"{found} rows with a label that is known in time",
        expected=f"at least {least} (split.min_rows)",
        do="bring more data, or choose other split.holdout and split.validation",
    )
