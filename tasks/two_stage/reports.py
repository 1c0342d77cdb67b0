"""What lists leave in the output folder and in the registry."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from tasks import tracking
from tasks.metrics.lists import ACCURACY
from tasks.ranking.protocol import Column
from tasks.registry import Child, Registry, Training, Version
from tasks.report import backtest
from tasks.report.files import relative, room, staged, write_text
from tasks.report.list_content import Told
from tasks.stages import digests
from tasks.store import Entry, Store, key
from tasks.two_stage import candidates, playlists
from tasks.two_stage.published import FILES, exchanged

READ = (
    "recall", "cohorts", "users", "roc", "precision_recall", "calibration", "decisions", "tail",
    "importance", "lists", "mistakes",
)  # fmt: skip


def backtested(config: Config, data: Entry, judged: Entry) -> tuple[Path, str]:
    """Write BACKTEST.md, its numbers, and ``lists`` with dashboard, figures and pages of listeners.

    Returns the folder and the verdict. Pages and ``mistakes.csv`` name users: they stay here.
    """
    told, cutoffs = _told(config, judged), _cutoffs(data, judged)
    made = _drawn(config, data, judged)
    folder = room(config.output.dir, "backtest", "backtest")
    with staged(folder) as scratch:
        write_text(scratch / "BACKTEST.md", backtest.page(config.dataset, told, cutoffs))
        numbers = json.dumps(_finite(told.facts), indent=1, allow_nan=False)
        write_text(scratch / "backtest.json", numbers)
        pl.DataFrame(told.facts["metrics"]).write_csv(scratch / "lists_comparison.csv")
        for name in ("recall", "cohorts", "importance", "mistakes"):
            told.tables[name].write_csv(scratch / f"{name}.csv")
        shutil.copytree(made.path / "lists", scratch / "lists")
        files = {path for path in relative(scratch) if path.parts[0] == "lists"}
    for path in [*folder.glob("lists/*.svg"), *folder.glob("lists/pages/*.html")]:
        if path.relative_to(folder) not in files:  # of an earlier run, no longer true
            path.unlink()
    return folder, backtest.verdict(told.facts, told.candidate)


def _told(config: Config, judged: Entry) -> Told:
    tables = {name: pl.read_parquet(table.path) for name, table in judged.tables.items() if name in READ}
    return Told(judged.facts, tables, config.lists.champion_candidate, config.lists.rankers)


def _cutoffs(data: Entry, judged: Entry) -> list[str]:
    return [moment(cutoff, data.facts["clock"]) for cutoff in judged.facts["cutoffs"]]


def _drawn(config: Config, data: Entry, judged: Entry) -> Entry:
    """Figures, dashboards and pages as an entry of the store: drawn once."""
    from tasks.report import list_dashboard

    cutoffs, pages = _cutoffs(data, judged), config.lists.pages
    read = {
        "dataset": config.dataset, "candidate": config.lists.champion_candidate, "pages": pages,
        "timezone": config.source.timezone, "seed": config.evaluation.seed,
        "rankers": config.lists.rankers, "cutoffs": cutoffs,
    }  # fmt: skip
    tables = {name: data.tables[name].path for name in ("plays", "tracks")}

    def work(folder: Path) -> Mapping[str, Any]:
        list_dashboard.write(
            _told(config, judged), config.dataset, cutoffs, pages, tables, config.source.timezone,
            config.store, config.evaluation.seed, folder,
        )  # fmt: skip
        return {}

    inputs = [judged.key, *digests(data, *tables)]
    return Store(config.store.path).once("lists-report", key(list_dashboard.write, inputs, read), work)


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
    clock = data.facts["clock"]
    columns = candidates.columns(validation.path, clock)
    parts = [judged.key, config.lists_name, candidate]
    told = Training(
        key=hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32],
        name=f"train {config.dataset} played",
        model=config.lists_name,
        candidate=candidate,
        parameters={
            "dataset": config.dataset, "target": "played", "source": config.source.kind,
            "candidate": candidate, "plays": data.tables["plays"].rows,
            "cutoffs": " ".join(tracking.moment(cutoff, clock) for cutoff in judged.facts["cutoffs"]),
            "als": " ".join(f"{name}={value}" for name, value in judged.facts["als"].items()),
            **_settings(config, judged),
        },
        configuration=tracking.shareable(config),
        metrics=_metrics(judged, candidate),
        datasets={name: (table.digest, str(table.path)) for name, table in data.tables.items()},
        children=[
            child(name, entry, columns, {**_metrics(judged, name), "seconds": entry.facts["seconds"]})
            for name, entry in fits.items()
        ],
        version_tags={
            "recipe": json.dumps(recipe(config), sort_keys=True),
            "clock": clock,
            "trained_until": str(judged.facts["cutoffs"][-1]),
            "dataset": config.dataset,
        },
    )  # fmt: skip
    registry = Registry(config.tracking)
    run_id, version = registry.record(told)
    made = _drawn(config, data, judged)
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "report"  # nothing in it names a user
        shutil.copytree(made.path / "shared", kept)
        for figure in sorted(made.path.glob("lists/*.svg")):
            shutil.copy(figure, kept / figure.name)
        registry.attach(run_id, kept, "report")
    return told, run_id, version


def child(
    ranker: str, fitted: Entry, columns: tuple[Column, ...], metrics: Mapping[str, float]
) -> Child:
    """A fitted ranker of lists, as the registry keeps it."""
    facts = {name: value for name, value in fitted.facts.items() if isinstance(value, int | str)}
    return Child(ranker, fitted.path, columns, {"ranker": ranker, **facts}, metrics)


def recipe(config: Config) -> dict[str, Any]:
    """What makes two trainings of lists the same: all settings that their fits read."""
    groups = {"retrieval": set(), "lists": {"pages"}, "models": set()}  # and what no fit reads
    return {
        name: getattr(config, name).model_dump(mode="json", exclude=unread)
        for name, unread in groups.items()
    }


def _settings(config: Config, judged: Entry) -> dict[str, Any]:
    """The recipe as parameters, with the settings of ALS that were chosen."""
    told = recipe(config)
    told["retrieval"]["als"] |= judged.facts["als"]
    for unread in ("rankers", "champion_candidate"):  # of play targets; lists have theirs
        del told["models"][unread]
    return tracking.flat(told)


def published(config: Config, data: Entry, made: Entry, version: Version) -> Path:
    """Put the recommendations into ``output.dir``: Parquet, CSV, playlists, and where they come from.

    They change as a whole: who opens them sees the old set or the new one, also after a kill.
    """
    folder = config.output.dir
    source = made.tables["recommendations"]
    lineage = {
        "model": version.name, "model_version": version.number, "run": version.run_id,
        "cutoff": made.facts["cutoff"], "rows": source.rows, "digest": source.digest,
        "tables": {name: table.digest for name, table in data.tables.items()},
        "raw_files": data.facts["files"],
    }  # fmt: skip
    with exchanged(folder) as scratch:
        table, plain, origin = (scratch / name for name in FILES)
        frame = pl.read_parquet(source.path)
        frame.write_parquet(table)
        frame.write_csv(plain)
        write_text(origin, json.dumps(lineage, indent=1))
        audio = data.tables["audio"].path if "audio" in data.tables else None
        tracks = data.tables["tracks"].path
        playlists.write(source.path, tracks, audio, config.recommend.playlists, scratch)
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
    for row in judged.facts["differences"]:
        if (row["system"], row["mode"], row["metric"]) == (system, "include", "ndcg"):
            name = f"ndcg_at_{judged.facts['k']}_minus_{row['against']}"
            told |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return told


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value != value else value
