"""A registered model on chosen data: only on plays that it was not fitted on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import evaluation, promotion, split, stages, training
from tasks.metrics.binary import METRICS
from tasks.registry import Registry, Version
from tasks.store import Entry, Store, key
from tasks.warehouse import Warehouse


def scored(config: Config, data: Entry, outcomes: Entry, now: datetime) -> Entry:
    """``evaluation.model`` on the plays after those it was fitted on, as an entry of the store.

    Of a version that was published as a refit on all of this data, the evaluated version behind it
    is used instead, and said so (fact ``refit``). The entry's scored.parquet has the columns of
    ``schemas.tables.Scored`` and ``seq``, in time order; its facts hold every number. ``now`` is noted
    as the time of the scoring; scoring the same again finds the entry. Raises ``InputError`` where too
    few unseen plays are left, a feature is missing or there is no such model.
    """
    registry = Registry(config.tracking)
    asked = _version(config, registry, config.evaluation.model)
    features = stages.featurized(config, data, outcomes)
    table, clock = features.tables["features"].path, features.facts["clock"]
    end = features.facts["windows"]["end"]
    version = asked
    if _seen_until(asked, config) >= end and "evaluated_version" in asked.tags:
        version = _version(config, registry, asked.tags["evaluated_version"])
    seen = _seen_until(version, config)
    rows = split.rows(table, (seen, end), clock).collect()
    if rows.height < config.split.min_rows:
        raise InputError(
            f"{version.name} version {version.number} was fitted on nearly all of this data",
            found=f"{rows.height} labelled plays after it",
            expected=f"at least {config.split.min_rows} (split.min_rows)",
            do="choose newer data, or an older version with evaluation.model=N",
        )
    plays = data.tables["plays"]
    inputs = [f"features {features.tables['features'].digest}", f"plays {plays.digest}"]
    read = {
        "model": [version.name, version.number, version.run_id],
        "refit": asked.number if asked != version else None,
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"model"}),
        "window": [seen, end],
    }

    def work(folder: Path) -> Mapping[str, Any]:
        told = _score(config, registry, version, rows, clock, plays.path, folder)
        start = int(rows["tick"].min())  # type: ignore[arg-type]
        return {
            "name": version.name,
            "version": version.number,
            "run": version.run_id,
            "refit": read["refit"],
            "clock": clock,
            "window": [max(seen, start), end],
            "features": features.tables["features"].digest,
            "scored_at": now.isoformat(),
            **told,
        }

    return Store(config.store.path).once("evaluate-registered", key(scored, inputs, read), work)


def needed(version: Version, saved: Path, known: set[str]) -> list[str]:
    """The columns that the ranker in ``saved`` reads; ``InputError`` where some are not known."""
    columns = promotion.columns_of(saved)
    missing = set(columns) - known
    if missing:
        raise InputError(
            f"{version.name} version {version.number} needs features that this data does not have",
            found=f"no {', '.join(sorted(missing))}", expected="data of the kind it was trained on",
            do="choose other data or another evaluation.model",
        )  # fmt: skip
    return columns


def _score(
    config: Config,
    registry: Registry,
    version: Version,
    rows: pl.DataFrame,
    clock: str,
    plays: Path,
    folder: Path,
) -> dict[str, Any]:
    """Write scored.parquet; the metrics of the model and of the base rate of these very rows."""
    with tempfile.TemporaryDirectory() as scratch:
        saved = registry.ranker(version, Path(scratch))
        needed(version, saved, set(rows.columns))
        probability = training.load(saved).score(rows)
        threshold = training.facts(saved)["threshold"]
    target = rows["target"].to_numpy()
    share = float(target.mean())
    # no constant does better on these plays, not even the share that training had
    both = {"model": probability, "base_rate": np.full(rows.height, share)}
    compared, unit = evaluation.resampled(
        rows, clock, both, dict.fromkeys(both, threshold), config.evaluation
    )
    with Warehouse(config.store) as warehouse:
        identity = evaluation.identified(rows, plays, warehouse)
    identity.with_columns(
        pl.Series("target", target), pl.Series("predicted_probability", probability)
    ).write_parquet(folder / "scored.parquet", row_group_size=262_144)
    return {
        "plays": rows.height,
        "users": rows["user"].n_unique(),
        "share_true": share,
        "threshold": threshold,
        "unit": unit,
        "units": compared.blocks,
        "metrics": {
            name: {metric: astuple(each) for metric, each in compared.intervals(name).items()}
            for name in both
        },
        "difference": {
            metric: astuple(compared.difference("model", "base_rate", metric)) for metric in METRICS
        },
    }


def _version(config: Config, registry: Registry, which: str) -> Version:
    version = registry.version(config.model_name, which)
    if version is None:
        raise InputError(
            "no such registered model",
            place="evaluation.model",
            found=f"{which} of {config.model_name}",
            expected="an alias (champion, challenger) or a version number",
            do="train first, or look it up in the MLflow page",
        )
    return version


def _seen_until(version: Version, config: Config) -> int:
    """Tick up to which the model knows this data; other data sets it has never seen."""
    tags: Mapping[str, str] = version.tags
    return int(tags["trained_until"]) if tags["dataset"] == config.dataset else 0
