"""The share of true labels in training, for everybody: what any model must beat."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.ranking.protocol import Probabilities, Ranker, Task


@dataclass(frozen=True)
class BaseRate:
    """A constant."""

    rate: float

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """The rate, for each row."""
        return np.full(frame.height, self.rate)

    def save(self, folder: Path) -> None:
        """Write ``model.json``."""
        (folder / "model.json").write_text(json.dumps({"rate": self.rate}), encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """The rate."""
        return {"rate": self.rate}


def fit(task: Task) -> Ranker:
    """Share of true labels among the training rows."""
    return BaseRate(float(task.train["target"].mean()))  # type: ignore[arg-type]


def load(folder: Path) -> Ranker:
    """The saved rate."""
    return BaseRate(**json.loads((folder / "model.json").read_text(encoding="utf-8")))
