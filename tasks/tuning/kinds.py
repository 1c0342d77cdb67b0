"""What can be tuned: a module each for LightGBM on plays and for ALS, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from schemas.config import Config
from tasks.metrics.binary import Interval
from tasks.store import Entry
from tasks.tuning.search import Direction
from tasks.tuning.space import Space

# Told a step, the value there, and the step of other trials that it is held against, if it is.
Watch = Callable[[int, float, int | None], None]


@dataclass(frozen=True)
class Material:
    """What settings are judged on: entries of the store, and windows of them, oldest first.

    Settings are chosen on all ``windows`` but the newest, on which the choice is confirmed. ``edges``
    are the ticks between which each has its judged rows; ``inputs`` digests and ``read`` settings,
    beside those searched, that count for keys.
    """

    entries: Mapping[str, Entry]
    windows: Sequence[Any]
    edges: Sequence[tuple[int, int]]
    inputs: Sequence[str]
    read: Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """How settings did: a row per judged unit with its ``value``, whose mean compares; and facts."""

    rows: pl.DataFrame
    facts: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """Two means and their difference, best minus given, with paired 95 % intervals.

    ``unit`` is what was resampled, ``units`` how many there are, ``rows`` what was averaged.
    """

    given: Interval
    best: Interval
    difference: Interval
    unit: str
    units: int
    rows: int


class Kind(Protocol):
    """The module of one kind of settings."""

    NAME: str
    GROUP: tuple[str, str]  # of settings, from the top
    METRIC: str
    DIRECTION: Direction
    SPACE: Space

    def refuse(self, config: Config) -> None:
        """Raise ``InputError`` where the settings would not be used."""
        ...

    def material(self, config: Config, data: Entry, outcomes: Entry) -> Material:
        """The windows before the holdout; raises ``InputError`` where there are not enough."""
        ...

    def judged(self, config: Config, material: Material, windows: Sequence[Any], watch: Watch) -> Judged:
        """Fit and judge ``config``'s settings on each of ``windows``.

        ``watch`` is told how it goes, by step, and may raise to end it.
        """
        ...

    def compared(
        self, config: Config, material: Material, best: pl.DataFrame, given: pl.DataFrame
    ) -> Compared:
        """Two settings' rows of the same windows."""
        ...


def group(config: Config, kind: Kind) -> Any:
    """The group of settings that ``kind`` searches in."""
    outer, inner = kind.GROUP
    return getattr(getattr(config, outer), inner)


def values(config: Config, kind: Kind) -> dict[str, Any]:
    """The settings that ``kind`` searches, as ``config`` has them."""
    return {name: getattr(group(config, kind), name) for name in kind.SPACE}


def with_values(config: Config, kind: Kind, point: Mapping[str, Any]) -> Config:
    """``config`` with the settings of ``point``."""
    outer, inner = kind.GROUP
    had = group(config, kind)
    put = type(had).model_validate(had.model_dump() | dict(point))
    above = getattr(config, outer).model_copy(update={inner: put})
    return config.model_copy(update={outer: above})
