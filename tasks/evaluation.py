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
        identity = identified(holdout, plays, warehouse)
        true = _truth(truth, warehouse)
    compared, unit = resampled(holdout, clock, probabilities, thresholds, settings.evaluation)
    facts = _numbers(compared, list(models)) | {
        "unit": unit,
        "units": compared.blocks,
        "users_with_history": _users_with_history(features, windows, holdout),
    }
    columns = {**probabilities, "predicted_probability": probabilities[candidate]}
    if true is not None:
        columns["truth"] = true
        facts["achieved"] = _achieved(
            holdout, clock, probabilities, true, thresholds, settings.evaluation
        )
    identity.with_columns(pl.Series("target", target)).with_columns(
        pl.Series(name, values) for name, values in columns.items()
    ).write_parquet(folder / "scored.parquet", row_group_size=262_144)
    return facts


def identified(rows: pl.DataFrame, plays: Path, warehouse: Warehouse) -> pl.DataFrame:
    """started_at, user_id, seq, track_id, file and position of each row, in their order.

    ``rows`` has ``play``, the row's place in ``plays``. The relation ``scored`` stays (row, play).
    """
    warehouse.numbered("plays", plays)
    warehouse.relation("scored", rows.select("play").with_row_index("row"))
    return warehouse.frame("marts/scored_plays").drop("row")


def resampled(
    rows: pl.DataFrame,
    clock: str,
    probabilities: Mapping[str, NDArray[np.float64]],
    thresholds: Mapping[str, float],
    settings: config.Evaluation,
) -> tuple[Resampled, str]:
    """All metrics of all models on the same resamples of ``rows``, and the unit resampled."""
    days = rows["tick"].to_numpy() // DAY if clock == "time" else None
    unit, name = blocks(rows["user"].to_numpy(), days, settings.min_users)
    made = resample(
        rows["target"].to_numpy(),
        probabilities,
        thresholds,
        unit,
        resamples=settings.resamples,
        bins=settings.ece_bins,
        seed=settings.seed,
    )
    return made, name


def _users_with_history(features: Path, windows: Windows, holdout: pl.DataFrame) -> int:
    before = (
        pl.scan_parquet(features).filter(pl.col("tick") < windows.cutoff).select(pl.col("user").unique())
    )
    return holdout.select(pl.col("user").unique()).join(before.collect(), on="user", how="semi").height


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
    holdout: pl.DataFrame,
    clock: str,
    probabilities: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.float64],
    thresholds: Mapping[str, float],
    settings: config.Evaluation,
) -> dict[str, Any]:
    """Share of the achievable lift in AUC that each model reaches, over plays with a known truth."""
    known = np.isfinite(truth)
    scored = {name: values[known] for name, values in probabilities.items()}
    constant = np.full(int(known.sum()), 0.5)
    compared, _ = resampled(
        holdout.filter(pl.Series(known)),
        clock,
        {**scored, "truth": truth[known], "constant": constant},
        {**thresholds, "truth": 0.5, "constant": 0.5},
        settings,
    )
    return {
        "truth_auc": compared.points["truth"]["auc"],
        "matched_share": float(known.mean()),
        "shares": {
            name: astuple(achieved_share(compared, name, "truth", "constant")) for name in scored
        },
    }
