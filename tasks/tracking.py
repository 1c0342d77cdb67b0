"""What a training leaves in the registry: one run, a child per ranker, the candidate's version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.config import Config
from tasks import training
from tasks.measuring import Cost
from tasks.registry import Child, Registry, Training, Version
from tasks.stages import recipe
from tasks.store import Entry
from tasks.tracking_store import using

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def described(
    config: Config,
    data: Entry,
    features: Entry,
    models: Mapping[str, Entry],
    evaluation: Entry,
    audit: Entry,
) -> Training:
    """Everything the registry keeps of a training; its key names inputs, settings and code."""
    candidate = config.models.champion_candidate
    windows, clock = features.facts["windows"], features.facts["clock"]
    return Training(
        key=_key(config, evaluation),
        name=f"train {config.dataset} {config.labels.target}",
        model=config.model_name,
        candidate=candidate,
        parameters={
            "dataset": config.dataset,
            "target": config.labels.target,
            "source": config.source.kind,
            "label_mode": config.labels.mode,
            "candidate": candidate,
            "plays": data.tables["plays"].rows,
            "features": len(features.facts["names"]),
            "audited_plays": audit.facts["plays"],
            "audit_mismatches": audit.facts["mismatches"],
            **{f"window_{name}": moment(edge, clock) for name, edge in windows.items()},
            # the candidate's, so that comparing two trainings shows what was changed
            **flat({name: v for name, v in recipe(config, candidate).items() if name != "ranker"}),
        },
        configuration=shareable(config),
        metrics=_metrics(evaluation, candidate),
        datasets={
            **{name: (table.digest, str(table.path)) for name, table in data.tables.items()},
            "features": (features.tables["features"].digest, str(features.tables["features"].path)),
        },
        children=[_child(config, name, entry, features, evaluation) for name, entry in models.items()],
        version_tags={
            "recipe": json.dumps(recipe(config, candidate), sort_keys=True),
            "clock": clock,
            "trained_until": str(windows["cutoff"]),
            "dataset": config.dataset,
        },
    )


def shareable(config: Config) -> dict[str, Any]:
    """The applied configuration as JSON, without credentials in addresses."""
    told = config.model_dump(mode="json")
    told["tracking"]["uri"] = told["tracking"]["uri"].rsplit("@", 1)[-1]
    return told


def published_child(config: Config, features: Entry, refit: Entry) -> Child:
    """The refit on all data, as the registry keeps it."""
    facts = flat({name: value for name, value in refit.facts.items() if name != "seconds"})
    columns = training.columns(features.tables["features"].path, features.facts["clock"])
    return Child(config.models.champion_candidate, refit.path, columns, facts, {})


def reachable(config: Config) -> None:
    """Refuse a tracking store that cannot be used before hours are spent on what it should keep."""
    Registry(config.tracking)


def recorded(
    config: Config, entries: Mapping[str, Entry], models: Mapping[str, Entry]
) -> tuple[Training, str, Version]:
    """The training as the registry has it: what it is, its parent run's id, the challenger's version."""
    told = described(
        config, entries["ingest"], entries["features"], models, entries["evaluate"], entries["audit"]
    )
    run_id, version = Registry(config.tracking).record(told)
    return told, run_id, version


def run_page(config: Config, run_id: str) -> str:
    """Where a run is shown, below the address of MLflow's server."""
    found = Registry(config.tracking).client.get_run(run_id)
    return f"/#/experiments/{found.info.experiment_id}/runs/{run_id}"


def timed(
    config: Config,
    run_id: str,
    steps: Iterable[tuple[str, Cost, bool]],
    orchestration: float,
    total: float,
) -> None:
    """What each step took (name, cost, reused), as metrics of a run; of equal names the sum.

    ``seconds.<step>`` and ``peak_mb.<step>``, and for the flow ``seconds.orchestration`` (outside of
    steps) and ``seconds.flow``. A run that has them keeps them: it tells of the flow that made it, not
    of one that later found all done. The tag ``encore.reused`` names the steps that were found done.
    """
    registry = Registry(config.tracking)
    if "seconds.flow" in registry.client.get_run(run_id).data.metrics:
        return
    told = {"seconds.orchestration": orchestration, "seconds.flow": total}
    reused = []
    for name, cost, found in steps:
        step = name.replace(" ", "_")
        told[f"seconds.{step}"] = told.get(f"seconds.{step}", 0.0) + cost.seconds
        told[f"peak_mb.{step}"] = max(told.get(f"peak_mb.{step}", 0.0), cost.peak_mb)
        reused += [step] if found else []
    with using(config.tracking):
        registry.client.set_tag(run_id, "encore.reused", " ".join(reused))
        registry.measure(run_id, told)


def _key(config: Config, evaluation: Entry) -> str:
    parts = [evaluation.key, config.model_name, config.models.champion_candidate]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _child(config: Config, name: str, entry: Entry, features: Entry, evaluation: Entry) -> Child:
    return Child(
        name=name,
        folder=entry.path,
        columns=training.columns(features.tables["features"].path, features.facts["clock"]),
        parameters=flat(
            {**recipe(config, name), **{k: v for k, v in entry.facts.items() if k != "seconds"}}
        ),
        metrics={**_metrics(evaluation, name), "seconds": entry.facts["seconds"]},
    )


def _metrics(evaluation: Entry, model: str) -> dict[str, float]:
    """holdout_<metric>, with _low and _high; differences to baselines as <metric>_minus_<baseline>."""
    told: dict[str, float] = {}
    for metric, (value, low, high) in evaluation.facts["metrics"][model].items():
        told |= {
            f"holdout_{metric}": value,
            f"holdout_{metric}_low": low,
            f"holdout_{metric}_high": high,
        }
    for baseline, differences in evaluation.facts["differences"][model].items():
        for metric, (value, low, high) in differences.items():
            name = f"{metric}_minus_{baseline}"
            told |= {name: value, f"{name}_low": low, f"{name}_high": high}
    share = evaluation.facts.get("achieved", {}).get("shares", {}).get(model)
    return told | ({"achieved_share": share[0]} if share else {})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as parameters of a run: their names joined by dots."""
    told: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            told |= flat(value, f"{prefix}{name}.")
        else:
            told[f"{prefix}{name}"] = value
    return told


def moment(tick: int, clock: str) -> str:
    """A tick as a parameter of a run, for people: a time in UTC, the row's number without a clock."""
    if clock == "order":
        return str(tick)
    return (EPOCH + timedelta(milliseconds=tick)).isoformat().replace("+00:00", "Z")


def tick(told: str) -> int:
    """What ``moment`` was given; also of earlier runs, which have milliseconds since 1970."""
    if told.isdecimal():
        return int(told)
    return (datetime.fromisoformat(told) - EPOCH) // timedelta(milliseconds=1)
