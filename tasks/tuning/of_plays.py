"""LightGBM's settings for plays, judged by log loss on windows that all end before the holdout.

The history is split once more the way that training splits the whole, into training | stop | judged:
``stop`` stands in for validation, on which trees stop and probabilities are calibrated, so that the
judged rows are new to the model in every respect. The newest judged window is validation itself. It
has no part in the choice and confirms it, so that its interval holds although many settings were
tried. The windows that the choice is made on lie before it, as long, one after another.

Trials are given up by their loss on ``stop``, not by judged rows: after a window, where most others did
better there; within one, where they have not come as far as most others with a quarter of the
learning. Held against equals there they would be given up for small trees and strong penalties, which
begin slowly and end best.

Features are those of training. Without a clock a judged row of an earlier window sees outcomes of the
rows before it, as far as ``labels.mode`` allows, and never its own or later ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import evaluation, split, stages, training
from tasks.metrics.binary import CLIP
from tasks.ranking import RANKERS
from tasks.ranking.protocol import Task
from tasks.split import NAMES, Windows
from tasks.store import Entry
from tasks.tuning.kinds import Compared, Judged, Material, Watch
from tasks.tuning.search import STRETCH, Direction
from tasks.tuning.space import Range, Space

NAME = "LightGBM"
GROUP = ("models", "lightgbm")
METRIC = "log loss"
END = STRETCH - 1  # of a window: its last step
LAG = 2  # rungs: a quarter of the learning
DIRECTION: Direction = "minimize"
SPACE: Space = {
    "learning_rate": Range(0.01, 0.3, "real", "log"),
    "num_leaves": Range(4, 255, "whole", "log"),
    "min_data_in_leaf": Range(5, 500, "whole", "log"),
    "feature_fraction": Range(0.4, 1.0, "real", "linear"),
    "bagging_fraction": Range(0.4, 1.0, "real", "linear"),
    "lambda_l2": Range(0.001, 100.0, "real", "log"),
}


def refuse(config: Config) -> None:
    """Refuse to search settings that nothing would use."""
    if "lightgbm" not in config.models.rankers:
        raise InputError(
            "LightGBM's settings are not used", place="models.rankers",
            found=", ".join(config.models.rankers), expected="lightgbm among them",
            do="add it, or tune the lists with labels.target=played",
        )  # fmt: skip


def material(config: Config, data: Entry, outcomes: Entry) -> Material:
    """Windows before the holdout, from the feature table that training has."""
    features = stages.featurized(config, data, outcomes)
    table, clock = features.tables["features"].path, features.facts["clock"]
    windows = _windows(table, Windows(**features.facts["windows"]), clock, config)
    return Material(
        entries={"features": features},
        windows=windows,
        inputs=stages.digests(features, "features"),
        read=config.models.model_dump(mode="json", include={"min_category_share", "seed"}),
        edges=[(window.cutoff, window.end) for window in windows],
    )


def judged(config: Config, material: Material, windows: Sequence[Any], watch: Watch) -> Judged:
    """Fit on each window, the newest first, and score its judged rows.

    ``rows``: user, tick, target, probability (as training would publish it) and value, its log loss.
    Facts: trees by window, the newest first.
    """
    features = material.entries["features"]
    table, clock = features.tables["features"].path, features.facts["clock"]
    columns, rate = training.columns(table, clock), config.models.lightgbm.learning_rate
    parts, trees = [], []
    for number, window in enumerate(reversed(windows)):
        first = STRETCH * number
        train, stop, rows = (split.rows(table, window.bounds(name), clock).collect() for name in NAMES)
        climb = _Rungs(watch, rate, first)
        task = Task(columns, train, stop, config.models, config.store.threads, watch=climb)
        model = RANKERS["lightgbm"].fit(task)
        if number < len(windows) - 1:  # what is finished is no longer given up
            watch(first + END, climb.best, first + END)
        probability, target = model.score(rows), rows["target"].to_numpy()
        right = np.clip(np.where(target, probability, 1 - probability), CLIP, 1)
        scored = {"probability": pl.Series(probability), "value": pl.Series(-np.log(right))}
        parts.append(rows.select("user", "tick", "target").with_columns(**scored))
        trees.append(model.facts["trees"])
    return Judged(pl.concat(parts), {"trees": trees})


def compared(config: Config, material: Material, best: pl.DataFrame, given: pl.DataFrame) -> Compared:
    """Log loss of two settings on the same rows: bootstrap by user, or user-day where they are few."""
    clock = material.entries["features"].facts["clock"]
    probabilities = {
        name: frame["probability"].to_numpy() for name, frame in (("best", best), ("given", given))
    }
    told, unit = evaluation.resampled(
        best, clock, probabilities, dict.fromkeys(probabilities, 0.5), config.evaluation
    )
    return Compared(
        given=told.interval("given", "log_loss"),
        best=told.interval("best", "log_loss"),
        difference=told.difference("best", "given", "log_loss"),
        unit=unit,
        units=told.blocks,
        rows=best.height,
    )


def _windows(table: Any, whole: Windows, clock: str, config: Config) -> list[Windows]:
    """``tune.windows`` and one more, oldest first; the newest is judged on validation."""
    labelled = pl.scan_parquet(table).filter(
        pl.col("target").is_not_null(), pl.col("tick") < whole.cutoff
    )
    ticks = labelled.select("tick").collect()["tick"].sort().to_numpy()
    validation = config.split.validation
    share = validation if isinstance(validation, float) else float((ticks >= whole.validation).mean())
    inner = config.split.model_copy(update={"holdout": validation, "validation": share})
    try:
        windows = split.windows(ticks, whole.cutoff, inner, config.tune.windows + 1)
        for window in windows:
            split.check(table, window, clock, inner)
    except InputError as error:
        raise InputError(
            "the plays before the holdout do not bear that many windows", place="tune.windows",
            found=f"{config.tune.windows}, and validation: {str(error).partition(' | ')[0]}",
            do="ask for fewer, lower split.min_rows, or bring more data",
        ) from error  # fmt: skip
    return windows


class _Rungs:
    """Tells ``watch`` whenever trees times learning rate have doubled: 2, 4, 8 …

    Trials with small steps are not behind because they need more of them. ``best`` is the lowest loss.
    """

    def __init__(self, watch: Watch, rate: float, first: int) -> None:
        self._watch, self._rate, self._first, self._rung = watch, rate, first, 0
        self.best = float("inf")

    def __call__(self, trees: int, loss: float) -> None:
        self.best = min(self.best, loss)
        while trees * self._rate >= 2 ** (self._rung + 1):
            step = self._first + self._rung
            self._watch(step, loss, step - LAG if self._rung >= LAG else None)
            self._rung += 1
