"""The newest plays against the training data of a registered model: does retraining pay?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import registered, split, stages, training
from tasks.monitoring import scores
from tasks.monitoring.features import drifted
from tasks.monitoring.model import matured
from tasks.monitoring.verdict import reasons, verdict
from tasks.monitoring.windows import Stretches, stretches
from tasks.ranking.boosting import Boosting
from tasks.registry import Registry, Version
from tasks.store import Entry, Store, key
from tasks.warehouse import Warehouse


def watched(config: Config) -> Version:
    """The registered model ``evaluation.model``; raises ``InputError`` where there is none."""
    found = Registry(config.tracking).version(config.model_name, config.evaluation.model)
    if found is None:
        raise InputError(
            "no registered model to monitor", place="evaluation.model",
            found=f"{config.evaluation.model} of {config.model_name}",
            expected="an alias (champion, challenger) or a version number",
            do="train first with `retrain`, or look it up in the MLflow page",
        )  # fmt: skip
    return found


def same_clock(version: Version, data: Entry) -> None:
    """Raise ``InputError`` where the model knows another kind of time than the data."""
    if version.tags["clock"] != data.facts["clock"]:
        raise InputError(
            f"{version.name} version {version.number} was trained on data of another kind",
            found=f"time of kind {data.facts['clock']}", expected=version.tags["clock"],
            do="choose other data or another evaluation.model",
        )  # fmt: skip


def compared(config: Config, data: Entry, outcomes: Entry, now: datetime) -> Entry:
    """The data against what ``evaluation.model`` was trained on, as an entry of the store.

    Its facts hold verdict, reasons and every number; scored.parquet is there when enough labels
    have matured since training. ``now`` is only noted with the scores: all else is as of the data's
    end. Raises ``InputError`` where there is no such model, it is of another clock, its columns are
    missing, or too few rows are on one side.
    """
    version = watched(config)
    same_clock(version, data)
    clock = data.facts["clock"]
    features = stages.featurized_at_end(config, data, outcomes)
    table = features.tables["features"].path
    gains = _gains(config, version, set(features.facts["names"]))
    trained = int(version.tags["trained_until"])
    ticks = pl.read_parquet(table, columns=["tick"])["tick"].to_numpy()
    cut = stretches(ticks, clock, trained, config.monitor)
    windows = features.facts["windows"]
    labels = tuple(
        int(split.rows(table, window, clock).select(pl.len()).collect().item())
        for window in ((trained, windows["end"]), (windows["start"], trained))
    )
    enough = labels[0] >= max(config.monitor.min_rows, config.split.min_rows)
    scored, model = matured(config, data, outcomes, version, now) if enough else (None, None)
    inputs = [*stages.digests(features, "features"), *stages.digests(data, "plays")]
    read = {
        "model": [version.name, version.number, version.run_id],
        "monitor": config.monitor.model_dump(mode="json"),
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"model"}),
        "scored": scored.key if scored else None,
    }

    def work(folder: Path) -> Mapping[str, Any]:
        columns = training.columns(table, clock)
        rows, unit, units = drifted(table, columns, gains, cut, clock, config)
        forecasts = None if cut.seen else scores.drifted(table, version, cut, clock, config)
        both = (labels[0], labels[1])
        told = reasons(cut.new, cut.seen, both, rows, forecasts, model, config.monitor)
        if scored is not None:
            scored_plays = pl.scan_parquet(scored.tables["scored"].path)
            scored_plays.select("target", "predicted_probability").sink_parquet(
                folder / "scored.parquet"
            )
        return {
            "verdict": verdict(told),
            "reasons": [asdict(reason) for reason in told],
            "name": version.name,
            "version": version.number,
            "run": version.run_id,
            "clock": clock,
            "cut": asdict(cut),
            "labels": {"new": labels[0], "trained_on": labels[1]},
            "features": rows,
            "scores": forecasts,
            "strong": config.monitor.strong,
            "unit": unit,
            "units": units,
            "model": model,
            "lists": None,
            **plays(config, data, cut),
        }

    return Store(config.store.path).once("monitor", key(compared, inputs, read), work)


def _gains(config: Config, version: Version, known: set[str]) -> dict[str, float]:
    """The share of the model's gain in each column it reads; alike where it knows no gains."""
    with tempfile.TemporaryDirectory() as scratch:
        saved = Registry(config.tracking).ranker(version, Path(scratch))
        columns = registered.needed(version, saved, known)
        model = training.load(saved)
    if not isinstance(model, Boosting):
        return dict.fromkeys(columns, 1 / max(len(columns), 1))
    told = model.importance()
    total = max(float(told["gain"].sum()), 1e-12)
    return {row["feature"]: row["gain"] / total for row in told.iter_rows(named=True)}


def plays(config: Config, data: Entry, cut: Stretches) -> dict[str, Any]:
    """Volume, freshness and missing values of the plays, in training and in the newest stretch."""
    edges = {"known": cut.known, "recent": cut.recent}
    with Warehouse(config.store) as warehouse:
        warehouse.relation("plays", data.tables["plays"].path)
        volume = warehouse.frame("reports/monitor_volume", **edges)
        present = warehouse.frame("reports/monitor_missing", **edges)
        fresh = warehouse.frame("reports/monitor_freshness", recent=cut.recent).row(0, named=True)
    by_period = {row["period"]: row for row in present.to_dicts()}
    missing = {
        period: {
            name: 1 - values / row["rows"]
            for name, values in row.items()
            if name not in ("period", "rows")
        }
        for period, row in by_period.items()
    }
    return {
        "volume": {row.pop("period"): row for row in volume.to_dicts()},
        "missing": missing,
        "freshness": fresh,
    }
