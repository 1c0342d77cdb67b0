"""The lists of a registered recipe on windows that have passed since it was trained, against then."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from schemas.two_stage import Als
from tasks import stages, training
from tasks.metrics.binary import Interval
from tasks.metrics.recalibration import difference
from tasks.monitoring import comparison
from tasks.monitoring.features import drifted
from tasks.monitoring.model import behind, logged
from tasks.monitoring.verdict import of_lists, verdict
from tasks.monitoring.windows import stretches
from tasks.ranking.boosting import Boosting
from tasks.ranking.corrected import Corrected
from tasks.registry import Registry, Version
from tasks.split import Span
from tasks.store import Entry, Store, key
from tasks.two_stage import candidates
from tasks.two_stage import lists as two_stage_lists
from tasks.two_stage import stages as two_stage
from tasks.two_stage.promotion import with_recipe

JUDGED = ("ndcg", "hit")


def watched(config: Config, data: Entry) -> tuple[Config, list[Span]]:
    """The settings of ``evaluation.model``'s lists, and the windows to judge them by.

    Raises ``InputError`` where there is no such model or it is of another clock.
    """
    version = comparison.watched(config)
    comparison.same_clock(version, data)
    known = with_recipe(config, version)
    evaluated = behind(Registry(config.tracking), version)
    told = evaluated[1].params.get("als", "") if evaluated else ""
    if two_stage.tunes(known) and told:  # what was chosen then, not what would be now
        als = Als.model_validate(dict(part.split("=", 1) for part in told.split()))
        known = known.model_copy(update={"retrieval": known.retrieval.model_copy(update={"als": als})})
    only = {"rankers": (known.lists.champion_candidate,)}
    known = known.model_copy(update={"lists": known.lists.model_copy(update=only)})
    since = int(version.tags["trained_until"])
    return known, two_stage.matured(known, data, since, config.monitor.windows)


def compared(config: Config, data: Entry, outcomes: Entry, windows: Sequence[Entry]) -> Entry:
    """The data and lists against what ``evaluation.model`` was trained on, as an entry of the store.

    ``config`` and the windows, whose candidates ``windows`` are, come from ``watched``. Its facts are
    those of ``comparison.compared``, with ``lists`` from ``quality`` in place of ``model``; features
    are those of plays that the ranker of lists reads too, ``labels`` the plays themselves. Raises
    ``InputError`` as that does.
    """
    version, clock = comparison.watched(config), data.facts["clock"]
    model = _ranker(config, version)
    # the features of plays are those of candidates, whichever outcome their table has beside them
    target = "completed" if "completed" in outcomes.tables else "repeat"
    labels = config.labels.model_copy(update={"target": target})
    features = stages.featurized_at_end(
        config.model_copy(update={"labels": labels}), data, outcomes
    ).tables["features"]
    ticks = pl.read_parquet(features.path, columns=["tick"])["tick"].to_numpy()
    trained = int(version.tags["trained_until"])
    cut = stretches(ticks, clock, trained, config.monitor)
    judged = _judged(config, data, model, windows)
    gains = _gains(model.path)
    told = {} if judged is None else _then(config, version)
    read = {
        "model": [version.name, version.number, version.run_id], "then": told,
        "monitor": config.monitor.model_dump(mode="json"),
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"model"}),
    }  # fmt: skip
    inputs = [features.digest, *stages.digests(data, "plays"), judged.key if judged else "none"]

    def work(_: Path) -> Mapping[str, Any]:
        columns = [each for each in training.columns(features.path, clock) if each.name in gains]
        rows, unit, units = drifted(features.path, columns, gains, cut, clock, config)
        found = quality(judged, config.lists.champion_candidate, told) if judged else None
        plays = cut.new, len(ticks) - cut.new
        reasons = of_lists(cut.new, cut.seen, plays, rows, found, config.monitor)
        return {
            "verdict": verdict(reasons),
            "reasons": [asdict(reason) for reason in reasons],
            "name": version.name,
            "version": version.number,
            "run": version.run_id,
            "clock": clock,
            "cut": asdict(cut),
            "labels": {"new": plays[0], "trained_on": plays[1]},
            "features": rows,
            "scores": None,
            "strong": config.monitor.strong,
            "unit": unit,
            "units": units,
            "model": None,
            "lists": found,
            **comparison.plays(config, data, cut),
        }

    return Store(config.store.path).once("monitor", key(compared, inputs, read), work)


def quality(judged: Entry, ranker: str, then: Mapping[str, Interval]) -> dict[str, Any]:
    """How good lists are since training, and were when trained, with 95 % intervals.

    ``judged`` is from ``two_stage.stages.lists_evaluated``. ``now``, ``then`` and ``change``: name →
    interval, of ``ndcg`` and ``hit`` of ``ranker``'s lists, heard tracks among them, ``popular`` the
    NDCG of the most popular tracks, and ``lead`` the paired difference to the best single retriever,
    ``best``; ``then`` has of these what was logged. ``change`` takes both samples as separate.

    NDCG grows with how much is played in a window. Retrievers are fitted anew before each, and meet
    the same listeners: it is the lead that a ranker loses which no longer knows whom to trust.
    """
    facts = judged.facts
    rows = [row for row in facts["metrics"] if row["mode"] == "include"]
    values = {(row["system"], row["metric"]): _interval(row) for row in rows}
    asked = {name: (ranker, name) for name in JUDGED} | {"popular": ("popular", "ndcg")}
    now = {name: values[each] for name, each in asked.items() if each in values}
    against = {
        row["against"]: _interval(row)
        for row in facts["differences"]
        if (row["system"], row["mode"], row["metric"]) == (ranker, "include", "ndcg")
    }
    best = _best(against)
    now["lead"] = against[best]
    changes = {name: difference(now[name], then[name]) for name in now if name in then}
    return {
        "k": facts["k"],
        "best": best,
        "cutoffs": [cutoff for cutoff in facts["cutoffs"] if cutoff not in facts["silent"]],
        "users": judged.tables["users"].rows,
        "now": {name: asdict(each) for name, each in now.items()},
        "then": {name: asdict(each) for name, each in then.items()},
        "change": {name: asdict(each) for name, each in changes.items()},
    }


def _interval(row: Mapping[str, Any]) -> Interval:
    return Interval(row["value"], row["low"], row["high"])


def _best(against: Mapping[str, Interval]) -> str:
    """The retriever of which a ranker is least ahead."""
    return min(against, key=lambda name: against[name].value)


def _then(config: Config, version: Version) -> dict[str, Interval]:
    """What the version's training wrote down of its lists."""
    evaluated = behind(Registry(config.tracking), version)
    if evaluated is None:
        return {}
    _, run = evaluated
    end = f"_at_{config.lists.k}"
    found = {name: each for name in JUDGED if (each := logged(run, name + end))}
    before = f"ndcg{end}_minus_"
    names: tuple[str, ...] = config.retrieval.retrievers
    against = {name: each for name in names if (each := logged(run, f"{before}{name}"))}
    return found | ({"lead": against[_best(against)]} if against else {})


def _ranker(config: Config, version: Version) -> Entry:
    """The version's ranker, in the store."""

    def work(folder: Path) -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            saved = Registry(config.tracking).ranker(version, Path(scratch))
            own = shutil.ignore_patterns("entry.json")  # of the entry that was registered
            shutil.copytree(saved, folder, dirs_exist_ok=True, ignore=own)
        return {}

    name = key(two_stage_lists.load, [version.run_id], {"model": [version.name, version.number]})
    return Store(config.store.path).once("lists-registered", name, work)


def _gains(folder: Path) -> dict[str, float]:
    """The share of a saved ranker's gain in each column it reads; alike where it knows no gains."""
    model = two_stage_lists.load(folder)
    if not isinstance(model, Boosting | Corrected):
        names = _columns(folder)
        return dict.fromkeys(names, 1 / max(len(names), 1))
    told = model.importance()
    total = max(float(told["gain"].sum()), 1e-12)
    return {row["feature"]: row["gain"] / total for row in told.iter_rows(named=True)}


def _columns(folder: Path) -> list[str]:
    """What a saved ranker of lists reads."""
    names: list[str] = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))["columns"]
    return names


def _judged(config: Config, data: Entry, model: Entry, windows: Sequence[Entry]) -> Entry | None:
    """Lists on the windows, if somebody played in one of them."""
    if not any(window.tables["relevant"].rows for window in windows):
        return None
    known = {each.name for each in candidates.columns(windows[-1].path, data.facts["clock"])}
    missing = set(_columns(model.path)) - known
    if missing:
        raise InputError(
            "the registered ranker of lists needs columns that candidates of this data do not have",
            found=f"no {', '.join(sorted(missing))}", expected="data of the kind it was trained on",
            do="choose other data or another evaluation.model",
        )  # fmt: skip
    ranker = config.lists.champion_candidate
    return two_stage.lists_evaluated(config, data, [(window, {ranker: model}) for window in windows])
