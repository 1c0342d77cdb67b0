"""The stages of a search: each trial, the two that are confirmed, and the verdict, done once each.

The next batch follows from the entries so far (``tasks/tuning/search.py``): the store is all that
there is to go on from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from schemas.config import Config
from tasks.metrics.binary import Interval
from tasks.stages import store
from tasks.store import Entry, key
from tasks.tuning import kinds, of_lists, of_plays, search
from tasks.tuning.kinds import Kind, Material
from tasks.tuning.search import Curve, Trial
from tasks.tuning.space import Point

KINDS: Mapping[str, Kind] = {"completed": of_plays, "repeat": of_plays, "played": of_lists}
Found = Literal["better", "no better", "worse", "same"]


class BehindError(Exception):
    """A trial is given up: too many others did better by then."""


@dataclass(frozen=True)
class Tried:
    """A setting, what it is called by, and how it did."""

    number: int
    point: Point
    entry: Entry

    @property
    def trial(self) -> Trial:
        """As the search takes it."""
        facts = self.entry.facts
        return Trial(self.number, self.point, facts["value"], _curve(facts["curve"]))


def kind(config: Config) -> Kind:
    """What ``labels.target`` tunes; raises ``InputError`` where its settings would not be used."""
    found = KINDS[config.labels.target]
    found.refuse(config)
    return found


def material(config: Config, data: Entry, outcomes: Entry) -> Material:
    """What settings are judged on."""
    return kind(config).material(config, data, outcomes)


def batch(config: Config, done: Sequence[Tried]) -> list[tuple[int, Point]]:
    """Numbers and settings to try next, side by side; none when there are enough.

    Number 0 are those given.
    """
    tuned, asked = KINDS[config.labels.target], config.tune
    count = min(asked.parallel, asked.trials + 1 - len(done))
    given = [] if done else [kinds.values(config, tuned)]
    proposed = search.proposed(
        tuned.SPACE, tuned.DIRECTION, [each.trial for each in done], count - len(given),
        asked.startup, asked.seed,
    ) if count > len(given) else []  # fmt: skip
    return list(enumerate([*given, *proposed], len(done)))


def tried(config: Config, found: Material, point: Point, done: Sequence[Tried]) -> Entry:
    """How settings do on the windows that are searched on, unless they are given up before.

    Facts: ``value``, the mean over judged rows, None where given up; ``curve``, pairs of step and
    value; and those of the kind.
    """
    tuned = KINDS[config.labels.target]
    bars = search.bars(tuned.DIRECTION, [each.trial for each in done], config.tune.startup)
    windows = found.windows[:-1]

    def work(_: Path) -> Mapping[str, Any]:
        curve: list[tuple[int, float]] = []

        def watch(step: int, value: float, rival: int | None) -> None:
            curve.append((step, value))
            if rival is not None and search.behind(tuned.DIRECTION, curve, bars, rival):
                raise BehindError

        try:
            judged = tuned.judged(_shared(config, point), found, windows, watch)
        except BehindError:
            return {"value": None, "curve": curve}
        return {"value": _mean(judged.rows), "curve": curve, **judged.facts}

    read = {"windows": windows, "bars": bars}
    return store(config).once("tune-trial", _key(config, found, point, read), work)


def confirmed(config: Config, found: Material, point: Point) -> Entry:
    """How settings do on the newest window, that of validation: a table of rows with their values."""
    windows = found.windows[-1:]

    def work(folder: Path) -> Mapping[str, Any]:
        judged = KINDS[config.labels.target].judged(_shared(config, point), found, windows, _unwatched)
        judged.rows.write_parquet(folder / "judged.parquet")
        return {"value": _mean(judged.rows), **judged.facts}

    return store(config).once("tune-confirm", _key(config, found, point, {"windows": windows}), work)


def best(config: Config, done: Sequence[Tried]) -> Tried:
    """The trial with the best value."""
    told = search.best(KINDS[config.labels.target].DIRECTION, [each.trial for each in done])
    return done[told.number]


def concluded(
    config: Config, found: Material, done: Sequence[Tried], given: Entry, chosen: Entry
) -> Entry:
    """All trials, and whether the best is better than the given where it was not chosen.

    Facts: ``trials`` in their order, ``best`` (a number), ``found``, ``settings`` to be used (of the
    best and the given those that did better there), ``comparison`` as ``Compared``.
    """
    tuned, winner = KINDS[config.labels.target], best(config, done)

    def work(_: Path) -> Mapping[str, Any]:
        frames = [pl.read_parquet(each.tables["judged"].path) for each in (chosen, given)]
        told = tuned.compared(config, found, *frames)
        lower = told.difference.value < 0
        won = told.difference.value != 0 and lower == (tuned.DIRECTION == "minimize")
        return {
            "trials": [
                {"number": each.number, "point": dict(each.point), "seconds": each.entry.seconds,
                 **each.entry.facts}
                for each in done
            ],
            "best": winner.number,
            "found": found_out(winner.number, told.difference, won),
            "settings": dict(winner.point if won else done[0].point),
            "comparison": {
                **asdict(told),
                **{name: _told(getattr(told, name)) for name in ("given", "best", "difference")},
            },
            "edges": found.edges,
        }  # fmt: skip

    inputs = [*(each.entry.key for each in done), given.key, chosen.key]
    read = {
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"model"}),
        "points": [dict(each.point) for each in done],
    }
    return store(config).once("tune", key(concluded, inputs, read), work)


def named(config: Config, found: Material) -> str:
    """The key of the whole search: the same for the same data, settings and code."""
    given = kinds.values(config, KINDS[config.labels.target])
    read = {
        "tune": config.tune.model_dump(mode="json"), "windows": found.windows,
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"model"}),
    }  # fmt: skip
    return _key(config, found, given, read)


def found_out(number: int, difference: Interval, won: bool) -> Found:
    """What validation shows of the best trial, which has this number and did better there or not."""
    if number == 0:
        return "same"
    if not difference.excludes_zero:
        return "no better"
    return "better" if won else "worse"


def _key(config: Config, found: Material, point: Point, read: Mapping[str, Any]) -> str:
    tuned = KINDS[config.labels.target]
    own = kinds.group(kinds.with_values(config, tuned, point), tuned).model_dump(mode="json")
    return key(concluded, found.inputs, {**found.read, **read, "group": tuned.GROUP, "values": own})


def _shared(config: Config, point: Point) -> Config:
    """``config`` with the settings of ``point`` and its share of the threads."""
    threads = max(config.store.threads // config.tune.parallel, 1)
    alone = config.model_copy(update={"store": config.store.model_copy(update={"threads": threads})})
    return kinds.with_values(alone, KINDS[config.labels.target], point)


def _mean(rows: pl.DataFrame) -> float:
    return float(rows["value"].to_numpy().mean())


def _curve(pairs: Any) -> Curve:
    return [(int(step), float(value)) for step, value in pairs]


def _told(interval: Interval) -> list[float | None]:
    """Value and bounds, None where there are none: JSON has no NaN."""
    return [each if math.isfinite(each) else None for each in astuple(interval)]


def _unwatched(_: int, __: float, ___: int | None) -> None:
    """Nothing is given up that is confirmed."""
