"""The stages of the workflow: each names its work by a key and does it once, through the store.

A stage takes the configuration and the entries it builds on and returns its own entry; the work
itself lies in the module it calls. What a stage's key covers is exactly what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import audit as auditing
from tasks import evaluation, featurize, growth, ingest, labels, playlist, simulation, split, training
from tasks.featurize import History
from tasks.forgetting import tombstones
from tasks.sources.earlier import NOTHING
from tasks.split import Windows
from tasks.standing import Before, Origin
from tasks.store import Entry, Store, key
from tasks.warehouse import Warehouse

STREAMS = {"completed": "completed", "repeat": "repeated"}  # target → stream of its labels


def of_plays(config: Config) -> None:
    """Refuse the target of lists where a target of single plays is needed."""
    if config.labels.target not in STREAMS:
        raise InputError(
            "lists have no label of single plays", place="labels.target", found=config.labels.target,
            expected=" or ".join(STREAMS), do="choose such a target; lists are judged by `backtest`",
        )  # fmt: skip


def described(config: Config, outcomes: Entry) -> str:
    """The stream of labels to describe a data set by: the target's, or for lists what there is."""
    return STREAMS.get(config.labels.target, next(iter(sorted(outcomes.tables))))


def world(config: Config) -> Entry:
    """The simulated world's raw exports and its truth."""
    settings = config.simulation
    name = key(simulation.write, [], settings.model_dump(mode="json"))
    return store(config).once("world", name, lambda folder: simulation.write(settings, folder))


def ingested(config: Config, made: Entry | None, now: datetime) -> Entry:
    """Canonical tables of the raw data; of the simulated world where ``made`` is given."""
    source = ingest.resolve(config, made.path if made else None)
    resolved = config.model_copy(update={"source": source})
    named = ingest.named(resolved)
    gone = tombstones.read(config.store.path)
    settings = {"kind", "columns", "max_refused_share", "max_unzipped_mb"}
    read = source.model_dump(mode="json", include=settings)
    without = [f"without {each}" for each in gone.listeners]
    way = key(ingest.ingest, without, read)
    unhashed = gone.masked([f"? {name}" for name in named])
    base = growth.base(store(config).entries("ingest"), way, unhashed)
    found, beginnings = ingest.inputs(resolved, named, base.earlier if base else NOTHING)

    def work(folder: Path) -> Mapping[str, Any]:
        files = gone.masked(list(found))
        paths = dict(zip(files, found.values(), strict=True))
        before = growth.compared(base, paths) if base else None
        told = ingest.ingest(resolved, now, folder, before, beginnings)
        growth.sign(folder, way)
        return {**told, "files": files}

    return store(config).once("ingest", key(ingest.ingest, [*found, *without], read), work)


def labelled(config: Config, data: Entry) -> Entry:
    """What each play turned out to be."""
    name = key(labels.write, digests(data, "plays", "tracks"), config.labels.model_dump(mode="json"))

    def work(folder: Path) -> Mapping[str, Any]:
        with Warehouse(config.store) as warehouse:
            plays, tracks = data.tables["plays"].path, data.tables["tracks"].path
            labels.write(plays, tracks, data.facts["clock"], config.labels, warehouse, folder)
        return {path.stem: labels.facts(path) for path in sorted(folder.glob("*.parquet"))}

    return store(config).once("labels", name, work)


def featurized(config: Config, data: Entry, outcomes: Entry) -> Entry:
    """The feature table of the target's rows, and the windows it will be split into."""
    windows = _windows(config, data, outcomes)
    return _featurized(config, data, outcomes, windows, _known_until(data, windows))


def featurized_at_end(config: Config, data: Entry, outcomes: Entry) -> Entry:
    """The same as known at the end of the data, for what is published; with a clock no different."""
    windows = _windows(config, data, outcomes)
    until = windows.end if data.facts["clock"] == "order" else None
    return _featurized(config, data, outcomes, windows, until)


def _featurized(
    config: Config, data: Entry, outcomes: Entry, windows: Windows, until: int | None
) -> Entry:
    target = STREAMS[config.labels.target]
    inputs = digests(data, *data.tables) + digests(outcomes, *outcomes.tables)
    read = {
        "timezone": config.source.timezone, "target": target, "known_until": until,
        "windows": windows, "min_rows": config.split.min_rows,
    }  # fmt: skip
    clock = data.facts["clock"]
    # windows say which rows will be trained on, not what they hold
    way = key(featurize.write, [], {name: read[name] for name in ("timezone", "target", "known_until")})

    def work(folder: Path) -> Mapping[str, Any]:
        path = folder / "features.parquet"
        with Warehouse(config.store) as warehouse:
            history = past(config, data, outcomes, until)
            before = _before(config, way) if clock == "time" else None
            names = featurize.write(history, target, None, warehouse, config.store.threads, path, before)
        sizes = split.check(path, windows, clock, config.split)
        Origin(way, data.key, outcomes.key).sign(folder)
        return {
            "clock": clock,
            "names": names,
            "windows": vars(windows),
            "sizes": sizes,
            "known_until": until,
        }

    return store(config).once("features", key(featurize.write, inputs, read), work)


def _before(config: Config, way: str) -> Before | None:
    """The newest feature table made in this way whose history is still there."""
    for entry in store(config).entries("features"):
        origin = Origin.of(entry.path)
        if origin is not None and origin.way == way:
            data = store(config).peek("ingest", origin.data)
            outcomes = store(config).peek("labels", origin.outcomes)
            if data and outcomes:
                history = past(config, data, outcomes, None)
                return Before(entry.tables["features"].path, entry.facts["names"], history)
    return None


def audited(config: Config, data: Entry, outcomes: Entry, features: Entry) -> Entry:
    """Real rows rebuilt without the future; raises ``LeakError`` if any feature changes."""
    inputs = [*digests(features, "features"), *digests(data, *data.tables)]
    read = {
        "audit": config.audit.model_dump(mode="json"),
        "labels": config.labels.model_dump(mode="json"),
    }

    def work(folder: Path) -> Mapping[str, Any]:
        history = past(config, data, outcomes, features.facts["known_until"])
        path = features.tables["features"].path
        return auditing.audit(path, features.facts["names"], history, config, folder)

    return store(config).once("audit", key(auditing.audit, inputs, read), work)


def fitted(config: Config, ranker: str, features: Entry) -> Entry:
    """One ranker fitted on training and tuned on validation."""
    table, clock = features.tables["features"].path, features.facts["clock"]
    windows = Windows(**features.facts["windows"])
    name = key(
        training.fit, digests(features, "features"), recipe(config, ranker) | {"windows": windows}
    )

    def work(folder: Path) -> Mapping[str, Any]:
        columns = training.columns(table, clock)
        return training.fit(
            ranker, table, columns, windows, clock, config.models, config.store.threads, folder
        )

    return store(config).once(f"fit-{ranker}", name, work)


def evaluated(
    config: Config, data: Entry, features: Entry, models: Mapping[str, Entry], made: Entry | None
) -> Entry:
    """Every model on the holdout."""
    windows = Windows(**features.facts["windows"])
    truth = made.path / "truth.parquet" if made and config.labels.target == "completed" else None
    truth = truth if truth is not None and data.facts["clock"] == "time" else None
    inputs = [*digests(features, "features"), *digests(data, "plays")]
    inputs += [f"{name} {entry.key}" for name, entry in models.items()]
    read = {
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"model"}),
        "candidate": config.models.champion_candidate,
        "truth": made.key if made and truth else None,
    }

    def work(folder: Path) -> Mapping[str, Any]:
        return evaluation.evaluate(
            features.tables["features"].path,
            windows,
            features.facts["clock"],
            {name: entry.path for name, entry in models.items()},
            {name: entry.facts["threshold"] for name, entry in models.items()},
            config.models.champion_candidate,
            data.tables["plays"].path,
            truth,
            config,
            folder,
        )

    return store(config).once("evaluate", key(evaluation.evaluate, inputs, read), work)


def refitted(config: Config, features: Entry, model: Entry) -> Entry:
    """The candidate fitted again on all labelled rows of ``featurized_at_end``, to be published."""
    ranker = config.models.champion_candidate
    table, clock = features.tables["features"].path, features.facts["clock"]
    window = (features.facts["windows"]["start"], features.facts["windows"]["end"])
    inputs = [*digests(features, "features"), model.key]
    name = key(training.refit, inputs, recipe(config, ranker) | {"window": window})

    def work(folder: Path) -> Mapping[str, Any]:
        columns = training.columns(table, clock)
        return training.refit(
            ranker,
            table,
            columns,
            window,
            clock,
            config.models,
            config.store.threads,
            model.path,
            folder,
        )

    return store(config).once("refit", name, work)


def asks(data: Entry) -> bool:
    """Whether plays of the source ask for a prediction (KKBox's test.csv)."""
    requests = pl.scan_parquet(data.tables["plays"].path).select(
        pl.col("request_id").is_not_null().any()
    )
    return bool(requests.collect().item())


def answered(config: Config, data: Entry, features: Entry, model: Entry) -> Entry:
    """``submission.csv`` (id, target): the probability for every play that asks, in file order."""
    inputs = [*digests(features, "features"), *digests(data, "plays"), model.key]

    def work(folder: Path) -> Mapping[str, Any]:
        table, plays = features.tables["features"].path, data.tables["plays"].path
        return {"answers": training.answer(model.path, table, plays, folder / "submission.csv")}

    return store(config).once("answer", key(training.answer, inputs, {}), work)


def ranked(config: Config, data: Entry, outcomes: Entry, features: Entry) -> Entry:
    """Tracks heard before, by expected completion at the end of the data, for the report's playlist."""
    windows = Windows(**features.facts["windows"])
    inputs = [*digests(features, "features"), *digests(data, *data.tables)]
    read = recipe(config, "lightgbm") | {"timezone": config.source.timezone, "windows": windows}

    def work(folder: Path) -> Mapping[str, Any]:
        history = past(config, data, outcomes, None)
        return playlist.write(features.tables["features"].path, history, windows, config, folder)

    return store(config).once("playlist", key(playlist.write, inputs, read), work)


def swept(config: Config) -> tuple[int, int]:
    """Entries removed and bytes freed, keeping the newest ``store.keep`` of each step."""
    return store(config).sweep(config.store.keep)


def recipe(config: Config, ranker: str) -> dict[str, Any]:
    """What makes two fits the same recipe: the ranker and the settings it reads."""
    own = {"lightgbm": config.models.lightgbm, "logistic": config.models.logistic}.get(ranker)
    return {
        "ranker": ranker,
        "settings": own.model_dump(mode="json") if own else {},
        "min_category_share": config.models.min_category_share,
        "seed": config.models.seed,
    }


def _windows(config: Config, data: Entry, outcomes: Entry) -> Windows:
    """Windows over the rows whose label is known, in ticks."""
    clock = data.facts["clock"]
    # whole units of the log's resolution, as the features' ticks are (sql/features/moments.sql): a
    # border between a play and its tick would leave the play on neither side
    grains = {"day": 86_400_000, "minute": 60_000}
    grain = pl.col("resolution").replace_strict(grains, default=1_000, return_dtype=pl.Int64)
    start = pl.col("started_at").dt.epoch("ms") // grain * grain
    tick = start if clock == "time" else pl.col("seq")
    ends = pl.col("ended_at").dt.epoch("ms") if clock == "time" else pl.col("seq")
    plays = pl.scan_parquet(data.tables["plays"].path).select(tick=tick, end=ends)
    ticks = plays.select("tick").collect()["tick"]
    outcome = pl.read_parquet(
        outcomes.tables[STREAMS[config.labels.target]].path, columns=["play", "target"]
    )
    known = outcome.filter(pl.col("target").is_not_null())["play"]
    end = plays.select(pl.col("end").max()).collect().item() + 1
    labelled_ticks: np.ndarray[Any, Any] = np.sort(ticks.gather(known).to_numpy())
    if clock == "order" and labelled_ticks.size:
        end = int(labelled_ticks[-1]) + 1  # plays that only ask come after the last label
    (windows,) = split.windows(labelled_ticks, end, config.split)
    return windows


def _known_until(data: Entry, windows: Windows) -> int | None:
    return windows.validation if data.facts["clock"] == "order" else None


def past(config: Config, data: Entry, outcomes: Entry, known_until: int | None) -> History:
    """The tables that features are built from."""
    tables = {name: data.tables[name].path for name in ("plays", "tracks", "users", "errors")}
    streams = {name: table.path for name, table in outcomes.tables.items()}
    return History(
        **tables,
        labels=streams,
        clock=data.facts["clock"],
        timezone=config.source.timezone,
        known_until=known_until,
        audio=data.tables["audio"].path if "audio" in data.tables else None,
        tags=data.tables["tags"].path if "tags" in data.tables else None,
    )


def digests(entry: Entry, *names: str) -> list[str]:
    """Digests of an entry's tables, for a key."""
    return [f"{name} {entry.tables[name].digest}" for name in names]


def store(config: Config) -> Store:
    """Where the stages keep what they make."""
    return Store(config.store.path)
