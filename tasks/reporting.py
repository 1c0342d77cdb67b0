"""From the stages' entries to the report's content."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from tasks import report
from tasks.features import declared
from tasks.metrics.binary import Interval
from tasks.promotion import Decision
from tasks.ranking.boosting import Boosting
from tasks.registry import Registry
from tasks.report.content import (
    Achieved,
    Audit,
    Importance,
    Lineage,
    ModelResult,
    Promotion,
    Report,
    Window,
    to_json,
)
from tasks.report.files import EVALUATION, staged
from tasks.report.verdict import verdict
from tasks.split import NAMES
from tasks.stages import STREAMS
from tasks.store import Entry, Store, key
from tasks.training import load

PERSONAL = ("scored_samples.csv", "top_resume_playlist.csv", "submission.csv")
SENTENCES = {
    "completed": "a play is heard to its end",
    "repeat": "a listener plays a track again within {days} days of its first play",
    "played": "a listener plays a track in the time after their list was made",
}


def content(
    config: Config,
    entries: Mapping[str, Entry],
    models: Mapping[str, Entry],
    decision: Decision | None,
    mlflow: Mapping[str, str],
    created: datetime,
) -> Report:
    """The report of a training; ``entries`` by stage: ingest, labels, features, audit, evaluate."""
    data, features, evaluation = entries["ingest"], entries["features"], entries["evaluate"]
    labels = entries["labels"].facts[STREAMS[config.labels.target]]
    achieved = evaluation.facts.get("achieved")
    return Report(
        dataset=config.dataset,
        target=config.labels.target,
        target_sentence=sentence(config),
        label_mode=config.labels.mode if data.facts["clock"] == "order" else "matured labels",
        clock=data.facts["clock"] == "time",
        timezone=config.source.timezone,
        created=created,
        windows=_windows(features, evaluation),
        ingest=_ingest(data),
        labels=labels["known"],
        labels_unknown=labels["rows"] - labels["known"],
        models=tuple(_model(name, entry, evaluation) for name, entry in models.items()),
        candidate=config.models.champion_candidate,
        resampling_unit=evaluation.facts["unit"],
        resampling_units=evaluation.facts["units"],
        importance=_importance(models[config.models.champion_candidate], features),
        audit=Audit(
            entries["audit"].facts["plays"],
            entries["audit"].facts["features"],
            entries["audit"].facts["mismatches"],
        ),
        achieved=_achieved(achieved) if achieved else None,
        promotion=_promotion(decision),
        mlflow=mlflow,
        lineage=_lineage(data, entries, models),
        seconds={name: entry.seconds for name, entry in [*entries.items(), *models.items()]},
    )


def written(
    config: Config,
    entries: Mapping[str, Entry],
    models: Mapping[str, Entry],
    decision: Decision | None,
    run_id: str,
    created: datetime,
) -> Entry:
    """The report as an entry of the store; the same content is written once, as of its first time."""
    mlflow = {
        "tracking store": config.tracking.uri.rsplit("@", 1)[-1],
        "experiment": config.tracking.experiment,
        "run": run_id,
    }
    told = content(config, entries, models, decision, mlflow, created)
    again = json.loads(to_json(replace(told, created=datetime(2005, 1, 1, tzinfo=UTC))))
    name = key(report.write, [entries["evaluate"].key], again)

    def work(folder: Path) -> Mapping[str, Any]:
        tables = entries["ingest"].tables
        listed = entries.get("playlist")
        report.write(
            told,
            entries["evaluate"].tables["scored"].path,
            tables["plays"].path,
            tables["tracks"].path,
            folder / "report",
            config.store,
            pl.read_parquet(listed.tables["playlist"].path) if listed else None,
        )
        if "answer" in entries:
            shutil.copy(entries["answer"].path / "submission.csv", folder / "report")
        shown = table(told)
        # facts do not keep the order of keys, and here the columns' order is meant
        return {"verdict": verdict(told), "columns": shown.columns, "table": shown.rows()}

    return Store(config.store.path).once("report", name, work)


def writable(config: Config) -> None:
    """Refuse an output folder that cannot be written before hours are spent on its content."""
    with staged(config.output.dir):
        pass


def published(config: Config, made: Entry, run_id: str) -> Path:
    """Copy the report to ``output.dir``, each file whole or not at all, and to the MLflow run.

    The report of an evaluation that lay there is replaced as a whole.
    """
    target = config.output.dir
    with staged(target) as scratch:
        shutil.copytree(made.path / "report", scratch, dirs_exist_ok=True)
    for name in EVALUATION:  # its figures and scored plays, if it was here, are replaced
        (target / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch_name:
        kept = Path(scratch_name) / "report"
        # plays of listeners stay out of the tracking store
        shutil.copytree(made.path / "report", kept, ignore=shutil.ignore_patterns(*PERSONAL))
        Registry(config.tracking).attach(run_id, kept, "report")
    return target


def sentence(config: Config) -> str:
    """What a target asks, to complete "whether …"."""
    return SENTENCES[config.labels.target].format(days=config.labels.horizon_days)


def _windows(features: Entry, evaluation: Entry) -> dict[str, Window]:
    windows, clock = features.facts["windows"], features.facts["clock"]
    edges = (windows["start"], windows["validation"], windows["cutoff"], windows["end"])
    told = {}
    for place, name in enumerate(NAMES):
        size = features.facts["sizes"][name]
        start, end = (moment(edge, clock) for edge in edges[place : place + 2])
        with_history = evaluation.facts["users_with_history"] if name == "holdout" else None
        told[name] = Window(start, end, size["rows"], size["users"], size["positives"], with_history)
    return told


def moment(tick: int, clock: str) -> datetime | int:
    """A tick as a UTC moment; the row's number where there is no clock."""
    return datetime.fromtimestamp(tick / 1000, UTC) if clock == "time" else tick


def _ingest(data: Entry) -> dict[str, Any]:
    facts = data.facts
    quarantine = {f"{row['table']}: {row['reason']}": row["rows"] for row in facts["refused"]}
    told = {name: value for name, value in facts.items() if name not in ("refused", "files")}
    return {**told, "files": len(facts["files"]), "quarantine": quarantine}


def _model(name: str, entry: Entry, evaluation: Entry) -> ModelResult:
    facts = evaluation.facts
    return ModelResult(
        name=name,
        metrics={metric: interval(values) for metric, values in facts["metrics"][name].items()},
        threshold=entry.facts["threshold"],
        seconds=entry.facts["seconds"],
        note=_note(entry.facts),
        differences={
            baseline: {metric: interval(values) for metric, values in differences.items()}
            for baseline, differences in facts["differences"][name].items()
        },
    )


def _note(facts: Mapping[str, Any]) -> str | None:
    if "calibration" in facts:
        losses = facts["calibration_log_loss"]
        kind = facts["calibration"]
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        return (
            f"{facts['trees']} trees; calibration: {kind} "
            f"(log loss on the later half of validation: {told})"
        )
    return f"{facts['training_rows']:,} training rows" if "training_rows" in facts else None


def interval(values: list[float]) -> Interval:
    """Value and bounds as a step's facts hold them; JSON has no NaN."""
    return Interval(*(value if value is not None else math.nan for value in values))


def _importance(candidate: Entry, features: Entry) -> tuple[Importance, ...]:
    model = load(candidate.path)
    if not isinstance(model, Boosting):
        return ()
    needs = {feature.name: feature.needs for feature in declared(features.facts["clock"])}
    return tuple(
        Importance(row["feature"], row["gain"], row["splits"], needs[row["feature"]])
        for row in model.importance().iter_rows(named=True)
    )


def _achieved(facts: Mapping[str, Any]) -> Achieved:
    return Achieved(
        facts["truth_auc"], {name: interval(values) for name, values in facts["shares"].items()}
    )


def _promotion(decision: Decision | None) -> Promotion | None:
    if decision is None:
        return None
    champion = str(decision.champion) if decision.champion is not None else None
    return Promotion(
        decision.promoted, decision.reason, decision.numbers, champion, str(decision.challenger)
    )


def _lineage(data: Entry, entries: Mapping[str, Entry], models: Mapping[str, Entry]) -> Lineage:
    tables = {name: table.digest for entry in entries.values() for name, table in entry.tables.items()}
    keys = {name: entry.key for name, entry in [*entries.items(), *models.items()]}
    return Lineage(raw_files(data), tables, keys)


def raw_files(data: Entry) -> dict[str, str]:
    """SHA-256 of each raw file by its name, sorted."""
    named = [line.split(" ", 1) for line in data.facts["files"]]
    return {name: digest for digest, name in sorted(named, key=lambda each: each[1])}


def table(report: Report) -> pl.DataFrame:
    """The short table of models against baselines that ends a run: one row per model."""
    rows = []
    for model in report.models:
        share = report.achieved.shares.get(model.name) if report.achieved else None
        row = {"model": model.name}
        for metric in ("log_loss", "auc", "pr_auc", "ece"):
            interval = model.metrics[metric]
            row[metric] = f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"
        if share is not None:
            row["of achievable AUC"] = f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
        rows.append(row)
    return pl.DataFrame(rows)
