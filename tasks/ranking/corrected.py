"""The blend, corrected by trees: boosting that starts from the blend's log odds, and then is held back.

The blend's few weights order the retrievers' finds, of which each user has few; trees know about
tracks and habits what it cannot say. Starting from it (Friedman, Greedy function approximation: a
gradient boosting machine, 2001, where any first guess will do) they learn only what it got wrong, and
of that only ``models.correction`` is taken: they fit the past better than the future.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from tasks.ranking import blend, boosting
from tasks.ranking.blend import ACTIVITY, Blend
from tasks.ranking.boosting import Boosting
from tasks.ranking.calibration import NONE, Calibration, calibrate
from tasks.ranking.protocol import REST, Floats, Probabilities, Ranker, Task


@dataclass(frozen=True)
class Corrected:
    """A row's log odds are ``slope`` · the blend's order + ``constant`` + ``share`` · the trees' sum."""

    blend: Blend
    slope: float
    constant: float
    trees: Boosting
    share: float
    calibration: Calibration

    def order(self, frame: pl.DataFrame) -> Floats:
        """Log odds, before calibration."""
        return self._start(frame) + self.share * self.trees.order(frame)

    def order_apart(self, pairs: pl.DataFrame, users: pl.DataFrame, tracks: pl.DataFrame) -> Floats:
        """``order`` of each pair; its user and track are the rows of the other two."""
        activity = users[ACTIVITY][pairs["user"]] if ACTIVITY in users.columns else None
        own = pairs if activity is None else pairs.with_columns(activity.alias(ACTIVITY))
        return self._start(own) + self.share * self.trees.order_apart(pairs, users, tracks)

    def _start(self, frame: pl.DataFrame) -> Floats:
        return self.slope * self.blend.order(frame) + self.constant

    def probability(self, order: Floats) -> Probabilities:
        """Calibrated probabilities."""
        return self.calibration.apply(_logistic(order))

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """Calibrated probabilities."""
        return self.probability(self.order(frame))

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What a column adds in the blend and in the trees together."""
        parts = (
            (self.blend.contributions(frame), self.slope),
            (self.trees.contributions(frame), self.share),
        )
        told: dict[str, pl.Series] = {}
        for part, share in parts:
            for name in part.columns:
                added = part[name] * share
                told[name] = told[name] + added if name in told else added
        rest = told.pop(REST) + self.constant
        return pl.DataFrame({**told, REST: rest}, dict.fromkeys([*told, REST], pl.Float64))

    def importance(self) -> pl.DataFrame:
        """The trees' own."""
        return self.trees.importance()

    def save(self, folder: Path) -> None:
        """Write ``model.json`` and the folders ``blend`` and ``trees``."""
        for name, part in (("blend", self.blend), ("trees", self.trees)):
            (folder / name).mkdir()
            part.save(folder / name)
        saved = {
            "slope": self.slope, "constant": self.constant, "share": self.share,
            "calibration": self.calibration.to_json(),
        }  # fmt: skip
        (folder / "model.json").write_text(json.dumps(saved), encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """Those of the two, and what the blend counts for."""
        return {"slope": self.slope, **self.blend.facts, **self.trees.facts}


def fit(task: Task) -> Ranker:
    """Fit the blend, then trees on what it leaves open; validation stops them and calibrates the sum.

    Trees learn, and validation judges, beside a blend fitted on training alone; the one that is kept
    was fitted on both. Without validation all takes over ``like``'s number of trees and calibration.
    """
    alone = cast(Blend, blend.fit(replace(task, validation=None, like=None)))
    share = task.settings.correction
    slope, constant = _line(alone.order(task.train), task.train["target"].to_numpy())

    def start(frame: pl.DataFrame) -> Floats:
        return slope * alone.order(frame) + constant

    like = task.like if isinstance(task.like, Corrected) else None
    growing = replace(task, like=like.trees if like else None)
    trees = boosting.grow(growing, {"objective": "binary"}, None, start)
    if task.validation is None:
        return Corrected(alone, slope, constant, trees, share, like.calibration if like else NONE)
    judged = Corrected(alone, slope, constant, trees, share, NONE)
    odds = _logistic(judged.order(task.validation))
    calibration, _ = calibrate(odds, task.validation["target"].to_numpy())
    return replace(judged, blend=cast(Blend, blend.fit(task)), calibration=calibration)


def load(folder: Path) -> Ranker:
    """The saved model."""
    saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return Corrected(
        cast(Blend, blend.load(folder / "blend")),
        saved["slope"],
        saved["constant"],
        cast(Boosting, boosting.load(folder / "trees")),
        saved["share"],
        Calibration.from_json(saved["calibration"]),
    )


def _line(order: Floats, target: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[float, float]:
    """Slope and constant by which an order within lists says most of rows' odds."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6).fit(order[:, None], target)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _logistic(order: Floats) -> Probabilities:
    return 1 / (1 + np.exp(-np.clip(order, -35, 35)))
