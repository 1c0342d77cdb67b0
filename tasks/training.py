"""Fitting rankers on a split, and refitting the published one on everything."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Models
from tasks import split
from tasks.features import declared
from tasks.metrics.binary import best_threshold
from tasks.ranking import RANKERS
from tasks.ranking.protocol import Column, Ranker, Task
from tasks.split import Windows


def columns(features: Path, clock: str, without_context: str | None = None) -> tuple[Column, ...]:
    """The feature columns of a table, as rankers see them."""
    names = set(pl.read_parquet_schema(features))
    return tuple(
        Column(feature.name, feature.category)
        for feature in declared(clock)
        if feature.name in names and feature.needs != without_context
    )


def fit(
    ranker: str,
    features: Path,
    columns: tuple[Column, ...],
    windows: Windows,
    clock: str,
    settings: Models,
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Fit on training, tune on validation, save into ``folder``; returns the facts of the fit.

    The decision threshold is the best on validation. Facts: seconds, threshold, and the ranker's.
    """
    started = time.perf_counter()
    train = split.rows(features, windows.bounds("training"), clock).collect()
    validation = split.rows(features, windows.bounds("validation"), clock).collect()
    model = RANKERS[ranker].fit(Task(columns, train, validation, settings, threads))
    del train
    threshold = best_threshold(validation["target"].to_numpy(), model.score(validation))
    told = {"seconds": time.perf_counter() - started, "threshold": threshold, **model.facts}
    _save(ranker, model, told, folder)
    return told


def refit(
    ranker: str,
    features: Path,
    columns: tuple[Column, ...],
    window: tuple[int, int],
    clock: str,
    settings: Models,
    threads: int,
    evaluated: Path,
    folder: Path,
) -> dict[str, Any]:
    """Fit a model like the one in ``evaluated`` on all rows of ``window``; save into ``folder``."""
    started = time.perf_counter()
    train = split.rows(features, window, clock).collect()
    like = load(evaluated)
    model = RANKERS[ranker].fit(Task(columns, train, None, settings, threads, like))
    threshold = facts(evaluated)["threshold"]
    told = {"seconds": time.perf_counter() - started, "threshold": threshold, **model.facts}
    _save(ranker, model, told, folder)
    return told


def answer(model: Path, features: Path, plays: Path, path: Path) -> int:
    """Write id and probability of every play that asks for a prediction; returns their number."""
    rows = pl.scan_parquet(features).filter(pl.col("target").is_null()).collect()
    scored = rows.select("play").with_columns(target=pl.Series(load(model).score(rows)))
    ids = pl.scan_parquet(plays).select(id="request_id").with_row_index("play").drop_nulls().collect()
    answers = ids.with_columns(pl.col("play").cast(pl.Int64)).join(
        scored, on="play", maintain_order="left"
    )
    answers.select("id", "target").write_csv(path)
    return answers.height


def load(folder: Path) -> Ranker:
    """The ranker saved in ``folder``."""
    return RANKERS[_saved(folder)["ranker"]].load(folder)


def facts(folder: Path) -> dict[str, Any]:
    """The facts of the fit saved in ``folder``."""
    found: dict[str, Any] = _saved(folder)["facts"]
    return found


def _saved(folder: Path) -> Any:
    return json.loads((folder / "ranker.json").read_text(encoding="utf-8"))


def _save(ranker: str, model: Ranker, told: dict[str, Any], folder: Path) -> None:
    model.save(folder)
    (folder / "ranker.json").write_text(json.dumps({"ranker": ranker, "facts": told}), encoding="utf-8")
