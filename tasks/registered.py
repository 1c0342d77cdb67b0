"""A registered model on chosen data: only on plays that it was not fitted on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from schemas.config import Config
from schemas.errors import InputError
from tasks import evaluation, promotion, split, stages, training
from tasks.metrics.binary import METRICS
from tasks.registry import Registry, Version
from tasks.store import Entry


def evaluated(config: Config, data: Entry, outcomes: Entry) -> dict[str, Any]:
    """Metrics with intervals of ``evaluation.model`` on the plays after those it was fitted on.

    Of a version that was published as a refit on all of this data, the evaluated version behind it
    is used instead, and said so. Raises ``InputError`` where no unseen play is left, a feature is
    missing or there is no such model.
    """
    registry = Registry(config.tracking)
    asked = _version(config, registry, config.evaluation.model)
    features = stages.featurized(config, data, outcomes)
    table, clock = features.tables["features"].path, features.facts["clock"]
    end = features.facts["windows"]["end"]
    version = asked
    if _seen_until(asked, config) >= end and "evaluated_version" in asked.tags:
        version = _version(config, registry, asked.tags["evaluated_version"])
    rows = split.rows(table, (_seen_until(version, config), end), clock).collect()
    if rows.height < config.split.min_rows:
        raise InputError(
            f"{version.name} version {version.number} was fitted on nearly all of this data",
            found=f"{rows.height} labelled plays after it",
            expected=f"at least {config.split.min_rows} (split.min_rows)",
            do="choose newer data, or an older version with evaluation.model=N",
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.ranker(version, Path(scratch))
        missing = set(promotion.columns_of(folder)) - set(rows.columns)
        if missing:
            raise InputError(
                f"{version.name} version {version.number} needs features that this data does not have",
                found=f"no {', '.join(sorted(missing))}", expected="data of the kind it was trained on",
                do="choose other data or another evaluation.model",
            )  # fmt: skip
        probability = training.load(folder).score(rows)
        threshold = training.facts(folder)["threshold"]
    resampled, unit = evaluation.resampled(
        rows, clock, {"model": probability}, {"model": threshold}, config.evaluation
    )
    told = {metric: astuple(resampled.interval("model", metric)) for metric in METRICS}
    return {
        "model": version.name,
        "version": version.number,
        "asked for": config.evaluation.model,
        "plays": rows.height,
        "users": rows["user"].n_unique(),
        "unit": f"{resampled.blocks} of kind {unit}",
        "share true": float(rows["target"].mean()),  # type: ignore[arg-type]
        **{
            metric: f"{value:.4f} ({low:.4f} to {high:.4f})"
            for metric, (value, low, high) in told.items()
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
