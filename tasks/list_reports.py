"""What lists leave in the output folder and in the registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from tasks import candidates
from tasks.metrics.lists import ACCURACY
from tasks.ranking.protocol import Column
from tasks.registry import Child, Registry, Training, Version
from tasks.report import backtest
from tasks.report.files import room, staged, write_text
from tasks.store import Entry
from tasks.tracking import shareable

LISTS = ("recommendations.parquet", "recommendations.csv", "recommendations.json")


def backtested(config: Config, data: Entry, judged: Entry) -> tuple[Path, str]:
    """Write BACKTEST.md, backtest.json, lists_comparison.csv, recall.csv; the folder and the verdict."""
    facts, candidate = judged.facts, config.lists.champion_candidate
    recall = pl.read_parquet(judged.tables["recall"].path)
    told = [moment(cutoff, data.facts["clock"]) for cutoff in facts["cutoffs"]]
    folder = room(config.output.dir, "backtest", "backtest")
    with staged(folder) as scratch:
        page = backtest.page(config.dataset, facts, recall, candidate, told)
        write_text(scratch / "BACKTEST.md", page)
        write_text(scratch / "backtest.json", json.dumps(_finite(facts), indent=1, allow_nan=False))
        pl.DataFrame(facts["metrics"]).write_csv(scratch / "lists_comparison.csv")
        recall.write_csv(scratch / "recall.csv")
    return folder, backtest.verdict(facts, candidate)


def moment(tick: int, clock: str) -> str:
    """A cutoff as a person reads it."""
    return (
        f"row {tick:,}"
        if clock == "order"
        else f"{datetime.fromtimestamp(tick / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    )


def recorded(
    config: Config, data: Entry, validation: Entry, fits: Mapping[str, Entry], judged: Entry
) -> tuple[Training, str, Version]:
    """The lists' training in the registry: what it is, the parent run's id, the candidate's version."""
    candidate = config.lists.champion_candidate
    columns = candidates.columns(validation.path, data.facts["clock"])
    parts = [judged.key, config.lists_name, candidate]
    told = Training(
        key=hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32],
        name=f"train {config.dataset} played",
        model=config.lists_name,
        candidate=candidate,
        parameters={
            "dataset": config.dataset, "target": "played", "source": config.source.kind,
            "candidate": candidate, "plays": data.tables["plays"].rows,
            "retrievers": " ".join(config.retrieval.retrievers), "k": config.lists.k,
            "cutoffs": " ".join(map(str, judged.facts["cutoffs"])),
        },
        configuration=shareable(config),
        metrics=_metrics(judged, candidate),
        datasets={name: (table.digest, str(table.path)) for name, table in data.tables.items()},
        children=[
            child(name, entry, columns, {**_metrics(judged, name), "seconds": entry.facts["seconds"]})
            for name, entry in fits.items()
        ],
        version_tags={
            "recipe": json.dumps(recipe(config), sort_keys=True),
            "clock": data.facts["clock"],
            "trained_until": str(judged.facts["cutoffs"][-1]),
            "dataset": config.dataset,
        },
    )  # fmt: skip
    run_id, version = Registry(config.tracking).record(told)
    return told, run_id, version


def child(
    ranker: str, fitted: Entry, columns: tuple[Column, ...], metrics: Mapping[str, float]
) -> Child:
    """A fitted ranker of lists, as the registry keeps it."""
    facts = {name: value for name, value in fitted.facts.items() if isinstance(value, int | str)}
    return Child(ranker, fitted.path, columns, {"ranker": ranker, **facts}, metrics)


def recipe(config: Config) -> dict[str, Any]:
    """What makes two trainings of lists the same: all settings that their fits read."""
    groups = ("retrieval", "lists", "models")
    return {name: getattr(config, name).model_dump(mode="json") for name in groups}


def published(config: Config, data: Entry, made: Entry, version: Version) -> Path:
    """Put the recommendations into ``output.dir``: Parquet, CSV, and where they come from.

    Each file is written beside and renamed: a reader sees the old list or the new one, never half.
    """
    folder = config.output.dir
    source = made.tables["recommendations"]
    lineage = {
        "model": version.name, "model_version": version.number, "run": version.run_id,
        "cutoff": made.facts["cutoff"], "rows": source.rows, "digest": source.digest,
        "tables": {name: table.digest for name, table in data.tables.items()},
        "raw_files": data.facts["files"],
    }  # fmt: skip
    with staged(folder) as scratch:
        frame = pl.read_parquet(source.path)
        frame.write_parquet(scratch / LISTS[0])
        frame.write_csv(scratch / LISTS[1])
        write_text(scratch / LISTS[2], json.dumps(lineage, indent=1))
    return folder


def packaged(config: Config, made: Entry, version: Version) -> Version:
    """The recommender in the registry, from where it is served."""
    registry = Registry(config.tracking)
    tags = {"cutoff": made.facts["cutoff"], "ranker_version": str(version.number)}
    return registry.package(f"encore-{config.dataset}-recommender", made.path, made.key, version, tags)


def _metrics(judged: Entry, system: str) -> dict[str, float]:
    names = {"include": "", "exclude": "discoveries_", "only": "repeats_"}
    told: dict[str, float] = {}
    for row in judged.facts["metrics"]:
        if row["system"] == system and row["metric"] in ACCURACY:
            name = f"{names[row['mode']]}{row['metric']}_at_{judged.facts['k']}"
            told |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return told


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value != value else value
