"""LightGBM, the primary ranker: native booster, Arrow in; seeded, validation stops and calibrates.

``fit`` minimises the log loss of rows, ``tasks/ranking/lambdamart.py`` orders rows within groups.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import InputError
from tasks.ranking import forest
from tasks.ranking.calibration import NONE, Calibration, calibrate
from tasks.ranking.encoding import Encoding, learn
from tasks.ranking.forest import Coded, Forest
from tasks.ranking.protocol import REST, Floats, Probabilities, Ranker, Task

if TYPE_CHECKING:
    import lightgbm

CHUNK = 262_144  # rows handed to predict at a time
SHARE = 65_536  # rows coded by a thread at a time
# Rows from which a forest pays: reading one and loading its compiled code takes about as long as
# LightGBM takes for them.
FEW = 100_000


@dataclass(frozen=True)
class Boosting:
    """A booster, its columns and its calibration."""

    booster: lightgbm.Booster
    encoding: Encoding
    calibration: Calibration
    facts: dict[str, Any]

    def order(self, frame: pl.DataFrame) -> Floats:
        """Sums of leaf values, the same to the last bit by either way."""
        out = np.empty(frame.height)
        for start in range(0, frame.height, CHUNK):
            part = slice(start, start + CHUNK)
            chunk = frame[part]
            if frame.height < FEW:
                matrix = self.encoding.apply(chunk).to_arrow()
                out[part] = np.asarray(self.booster.predict(matrix, raw_score=True))
            else:
                out[part] = self._forest.sums(self._coded(chunk), (), self._threads)
        return out

    def order_apart(self, pairs: pl.DataFrame, users: pl.DataFrame, tracks: pl.DataFrame) -> Floats:
        """Sums of leaf values; what a user's or a track's features decide, they decide once."""
        own = pairs.select("user", *self.encoding.among(pairs.columns).names)
        sides = [
            (table.select(names), place)
            for table, place in (_asked(users, pairs["user"]), _asked(tracks, pairs["track"]))
            if (names := self.encoding.among(table.columns).names)  # without a column, no height
        ]
        if pairs.height < FEW:
            beside = [side[place] for side, place in sides]
            return self.order(pl.concat([own, *beside], how="horizontal"))
        coded = [(self._coded(side), place) for side, place in sides]
        return self._forest.sums(self._coded(own), coded, self._threads)

    @cached_property
    def _forest(self) -> Forest:
        return forest.read(self.booster.model_to_string())

    @property
    def _threads(self) -> int:
        """As many as it was fitted with."""
        return int(self.booster.params["num_threads"])

    def _coded(self, frame: pl.DataFrame) -> Coded:
        encoding, names = self.encoding.among(frame.columns), self.encoding.names
        features = [names.index(name) for name in encoding.names]
        codes = np.empty((frame.height, len(features)), np.uint16)

        def work(start: int) -> None:
            part = slice(start, start + SHARE)
            self._forest.code(encoding.apply(frame[part]).to_numpy(), features, codes[part])

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(work, range(0, frame.height, SHARE)))
        return Coded(np.array(features, np.int64), codes)

    def probability(self, order: Floats) -> Probabilities:
        """Calibrated probabilities."""
        return self.calibration.apply(_logistic(order))

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """Calibrated probabilities."""
        return self.probability(self.order(frame))

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        """SHAP values of the trees (Lundberg et al., arXiv:1802.03888), by LightGBM itself."""
        names = [*self.encoding.names, REST]
        out = np.empty((frame.height, len(names)))
        for start in range(0, frame.height, CHUNK):
            chunk = self.encoding.apply(frame.slice(start, CHUNK))
            told = self.booster.predict(chunk.to_arrow(), pred_contrib=True)
            out[start : start + CHUNK] = np.asarray(told)
        return pl.DataFrame(out, names, orient="row")

    def save(self, folder: Path) -> None:
        """Write ``booster.txt`` and ``model.json``."""
        self.booster.save_model(str(folder / "booster.txt"))
        saved = {
            "encoding": self.encoding.to_json(),
            "calibration": self.calibration.to_json(),
            "facts": self.facts,
        }
        (folder / "model.json").write_text(json.dumps(saved), encoding="utf-8")

    def importance(self) -> pl.DataFrame:
        """Columns feature, gain (total loss reduction), splits; largest gain first."""
        return pl.DataFrame(
            {
                "feature": self.encoding.names,
                "gain": self.booster.feature_importance("gain").astype(np.float64),
                "splits": self.booster.feature_importance("split").astype(np.int64),
            }
        ).sort("gain", "feature", descending=[True, False])


def fit(task: Task) -> Ranker:
    """Fit with early stopping on validation, or with ``like``'s number of trees on all data."""
    return grow(task, {"objective": "binary"}, None)


def grow(
    task: Task,
    objective: dict[str, Any],
    group: str | None,
    start: Callable[[pl.DataFrame], Floats] | None = None,
) -> Boosting:
    """``fit`` with an objective of LightGBM's; ``group``: the column of its lists, if it knows any.

    ``start`` gives what the trees add to, row by row; it is no part of the model, and without it
    they start from one number.
    """
    lightgbm = _library()
    settings = task.settings.lightgbm
    encoding = learn(task.train, task.columns, task.settings.min_category_share)
    parameters = {
        **objective,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 5,
        "lambda_l2": settings.lambda_l2,
        "num_threads": task.threads,
        "seed": task.settings.seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    started = time.perf_counter()
    levels = list(encoding.levels)
    train = _dataset(task.train, encoding, levels, group, start, None)
    callbacks: list[Callable[[Any], None]] = []
    valid = []
    trees = task.like.facts["trees"] if task.like is not None else settings.max_trees
    if task.validation is not None and (settings.early_stopping or task.watch):
        valid = [_dataset(task.validation, encoding, levels, group, start, train)]
    if valid and settings.early_stopping:
        callbacks += [lightgbm.early_stopping(settings.early_stopping, verbose=False)]
    if valid and task.watch:
        callbacks += [_told(task.watch)]
    booster = lightgbm.train(parameters, train, trees, valid_sets=valid, callbacks=callbacks)
    seconds = time.perf_counter() - started
    facts: dict[str, Any] = {
        "trees": booster.best_iteration if booster.best_iteration > 0 else booster.num_trees(),
        "training_rows": task.train.height,
        "lightgbm_seconds": round(seconds, 2),
    }
    calibration = task.like.calibration if isinstance(task.like, Boosting) else NONE
    model = Boosting(booster, encoding, calibration, facts)
    if task.validation is None or start is not None:
        return model
    raw = _logistic(model.order(task.validation))
    calibration, losses = calibrate(raw, task.validation["target"].to_numpy())
    told = {**facts, "calibration": calibration.kind, "calibration_log_loss": losses}
    return replace(model, calibration=calibration, facts=told)


def load(folder: Path) -> Ranker:
    """The saved model."""
    booster = _library().Booster(model_file=str(folder / "booster.txt"))
    saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    encoding = Encoding.from_json(saved["encoding"])
    return Boosting(booster, encoding, Calibration.from_json(saved["calibration"]), saved["facts"])


def _asked(table: pl.DataFrame, places: pl.Series) -> tuple[pl.DataFrame, NDArray[np.int32]]:
    """The rows of a table that there are places of, and where the places lie among those."""
    place = places.to_numpy()
    asked = np.zeros(table.height, bool)
    asked[place] = True
    number = np.cumsum(asked, dtype=np.int32) - 1
    return table.filter(pl.Series(asked)), number[place]


def _told(watch: Callable[[int, float], None]) -> Callable[[Any], None]:
    """LightGBM's callback for ``Task.watch``."""

    def after(state: Any) -> None:
        watch(state.iteration + 1, state.evaluation_result_list[0][2])

    return after


def _logistic(order: Floats) -> Probabilities:
    return 1 / (1 + np.exp(-np.clip(order, -35, 35)))


def _dataset(
    frame: pl.DataFrame,
    encoding: Encoding,
    levels: list[str],
    group: str | None,
    start: Callable[[pl.DataFrame], Floats] | None,
    reference: lightgbm.Dataset | None,
) -> lightgbm.Dataset:
    dataset: lightgbm.Dataset = _library().Dataset(
        encoding.apply(frame).to_arrow(),
        label=frame["target"].cast(pl.Float32).to_numpy(),
        group=frame[group].rle().struct.field("len").to_numpy() if group else None,
        init_score=start(frame) if start else None,
        categorical_feature=levels,
        reference=reference,
        free_raw_data=True,
        params={"verbosity": -1},
    )
    return dataset


def _library() -> Any:
    try:
        import lightgbm
    except OSError as error:  # the wheel needs the system's OpenMP
        raise InputError(
            "LightGBM cannot load",
            found=error,
            expected="the OpenMP runtime (libgomp.so.1)",
            do="install it, e.g. `apt-get install libgomp1`",
        ) from error
    return lightgbm
