"""The holdout, looked at once: every model's probabilities, metrics, intervals and differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas import config
from tasks import split, training
from tasks.metrics.binary import METRICS
from tasks.metrics.bootstrap import Resampled, achieved_share, blocks, resample
from tasks.split import Windows
from tasks.warehouse import Warehouse

DAY = 86_400_000
BASELINES = ("base_rate", "heuristic", "logistic")


def evaluate(
    features: Path,
    windows: Windows,
    clock: str,
    models: Mapping[str, Path],
    thresholds: Mapping[str, float],
    candidate: str,
    plays: Path,
    truth: Path | None,
    settings: config.Config,
    folder: Path,
) -> dict[str, Any]:
    """Score the holdout by every model; write ``scored.parquet``; return the numbers as JSON.

    Columns of scored.parquet: started_at, user_id, seq, track_id, file, position (lineage), target,
    one probability per model under its name, ``predicted_probability`` (the candidate's) and, in
    the simulated world, ``truth``. Rows in time order.
    """
    holdout = split.rows(features, windows.bounds("holdout"), clock).collect()
    probabilities = {name: training.load(path).score(holdout) for name, path in models.items()}
    target = holdout["target"].to_numpy()
    with Warehouse(settings.store) as warehouse:
        warehouse.numbered("plays", plays)
        warehouse.relation("scored", holdout.select("play").with_row_index("row"))
        identity = warehouse.frame("marts/scored_plays").drop("row")
        true = _truth(truth, warehouse)
    unit, unit_name = _blocks(holdout, clock, settings.evaluation)
    resampled = resample(
        target,
        probabilities,
        thresholds,
        unit,
        resamples=settings.evaluation.resamples,
        bins=settings.evaluation.ece_bins,
        seed=settings.evaluation.seed,
    )
    facts = _numbers(resampled, list(models)) | {"unit": unit_name, "units": resampled.blocks}
    columns = {**probabilities, "predicted_probability": probabilities[candidate]}
    if true is not None:
        columns["truth"] = true
        facts["achieved"] = _achieved(target, probabilities, true, thresholds, unit, settings.evaluation)
    identity.with_columns(pl.Series("target", target)).with_columns(
        pl.Series(name, values) for name, values in columns.items()
    ).write_parquet(folder / "scored.parquet", row_group_size=262_144)
    return facts


def compare(
    holdout: pl.DataFrame,
    clock: str,
    challenger: NDArray[np.float64],
    champion: NDArray[np.float64],
    settings: config.Evaluation,
) -> dict[str, tuple[float, float, float]]:
    """Challenger minus champion on the same rows: metric → (value, low, high), paired by block."""
    unit, _ = _blocks(holdout, clock, settings)
    resampled = resample(
        holdout["target"].to_numpy(),
        {"challenger": challenger, "champion": champion},
        {"challenger": 0.5, "champion": 0.5},
        unit,
        resamples=settings.resamples,
        bins=settings.ece_bins,
        seed=settings.seed,
    )
    return {
        metric: astuple(resampled.difference("challenger", "champion", metric))
        for metric in ("log_loss", "auc", "brier")
    }


def _blocks(holdout: pl.DataFrame, clock: str, settings: config.Evaluation) -> tuple[NDArray[np.int32], str]:
    days = holdout["tick"].to_numpy() // DAY if clock == "time" else None
    return blocks(holdout["user"].to_numpy(), days, settings.min_users)


def _numbers(resampled: Resampled, models: list[str]) -> dict[str, Any]:
    metrics = {
        model: {metric: astuple(interval) for metric, interval in resampled.intervals(model).items()}
        for model in models
    }
    differences = {
        model: {
            other: {metric: astuple(resampled.difference(model, other, metric)) for metric in METRICS}
            for other in BASELINES
            if other in models and other != model
        }
        for model in models
    }
    return {"metrics": metrics, "differences": differences}


def _truth(truth: Path | None, warehouse: Warehouse) -> NDArray[np.float64] | None:
    """The true probability of each scored row, NaN where it is not known."""
    if truth is None:
        return None
    warehouse.relation("truth", truth)
    return warehouse.frame("marts/truth")["probability"].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _achieved(
    target: NDArray[np.bool_],
    probabilities: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.float64],
    thresholds: Mapping[str, float],
    unit: NDArray[np.int32],
    settings: config.Evaluation,
) -> dict[str, Any]:
    """Share of the achievable lift in AUC that each model reaches, over plays with a known truth."""
    known = np.isfinite(truth)
    _, inside = np.unique(unit[known], return_inverse=True)
    scored = {name: values[known] for name, values in probabilities.items()}
    resampled = resample(
        target[known],
        {**scored, "truth": truth[known], "constant": np.full(int(known.sum()), 0.5)},
        {**thresholds, "truth": 0.5, "constant": 0.5},
        inside.astype(np.int32),
        resamples=settings.resamples,
        bins=settings.ece_bins,
        seed=settings.seed,
    )
    return {
        "truth_auc": resampled.points["truth"]["auc"],
        "matched_share": float(known.mean()),
        "shares": {name: astuple(achieved_share(resampled, name, "truth", "constant")) for name in scored},
    }
