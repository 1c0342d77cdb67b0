"""What a ranker is: fitted once on training and validation rows, then asked for probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Models

Floats = NDArray[np.float64]
Probabilities = Floats
REST = "rest"  # of the order: see ListRanker.contributions


@dataclass(frozen=True)
class Column:
    """A feature as a ranker sees it."""

    name: str
    category: bool


@dataclass(frozen=True)
class Task:
    """What to fit on: rows with ``target`` (bool, never null) and the feature columns.

    ``validation``, newer than training, is for early stopping and calibration, and then, by a ranker
    that needs no stopping, for one more fit; without it (a refit on all data) the model takes over
    ``like``'s size and calibration. ``group`` names the
    column by which rows lie in lists, for rankers that learn an order. ``watch`` is told, after each
    tree, how many there are and validation's loss; what it raises ends the fit.
    """

    columns: tuple[Column, ...]
    train: pl.DataFrame
    validation: pl.DataFrame | None
    settings: Models
    threads: int
    like: Ranker | None = None
    group: str | None = None
    watch: Callable[[int, float], None] | None = None


class Ranker(Protocol):
    """A fitted model. Saved and loaded without pickle."""

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """Probability of the target for each row, in order, in [0, 1]."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model into an existing folder."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the report tells of the fit; JSON."""
        ...


class ListRanker(Ranker, Protocol):
    """A ranker whose order is finer than its probabilities, which calibration may make equal."""

    def order(self, frame: pl.DataFrame) -> Floats:
        """What lists are sorted by, larger first."""
        ...

    def probability(self, order: Floats) -> Probabilities:
        """Probability of the target for values of ``order``."""
        ...

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What each column read adds to ``order``: a row each, Float64; with ``REST``, they sum to it.

        ``REST`` is what no column adds: the mean that trees measure from, a line's constant.
        """
        ...


@runtime_checkable
class Apart(ListRanker, Protocol):
    """One that can make use of it that the features of pairs, users and tracks lie apart."""

    def order_apart(self, pairs: pl.DataFrame, users: pl.DataFrame, tracks: pl.DataFrame) -> Floats:
        """``order`` of each pair; its user and track are the rows of the other two."""
        ...


class Kind(Protocol):
    """A ranker's module."""

    def fit(self, task: Task) -> Ranker:
        """Fit on ``task.train``."""
        ...

    def load(self, folder: Path) -> Ranker:
        """The model that ``save`` wrote."""
        ...
