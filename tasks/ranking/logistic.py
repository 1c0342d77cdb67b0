"""Logistic regression: medians for missing numbers with a flag, standard scores, one-hot levels."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.ranking.encoding import Encoding, learn
from tasks.ranking.protocol import REST, Floats, Probabilities, Ranker, Task

CHUNK = 262_144  # rows expanded to one-hot at a time


@dataclass(frozen=True)
class Logistic:
    """Scaling and weights; ``weights`` are those of numbers, missing flags, then levels."""

    encoding: Encoding
    medians: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    rows: int

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """Probabilities."""
        return self.probability(self.order(frame))

    def probability(self, order: Floats) -> Probabilities:
        """The logistic function of the log odds."""
        return 1 / (1 + np.exp(-np.clip(order, -35, 35)))

    def order(self, frame: pl.DataFrame) -> Floats:
        """Log odds, expanded chunk by chunk."""
        weights = np.array(self.weights)
        out = np.empty(frame.height)
        for start in range(0, frame.height, CHUNK):
            chunk = self.encoding.apply(frame.slice(start, CHUNK))
            out[start : start + CHUNK] = self._expand(chunk) @ weights + self.intercept
        return out

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Weights times standard scores, with the flags of missing ones; a category's is its level's."""
        added = self._expand(self.encoding.apply(frame)) * np.array(self.weights)
        count, at = len(self.encoding.numbers), 2 * len(self.encoding.numbers)
        columns = dict(
            zip(self.encoding.numbers, (added[:, :count] + added[:, count:at]).T, strict=True)
        )
        for name, levels in self.encoding.levels.items():
            columns[name] = added[:, at : at + len(levels) + 1].sum(axis=1)
            at += len(levels) + 1
        return pl.DataFrame(columns | {REST: np.full(frame.height, self.intercept)})

    def _expand(self, encoded: pl.DataFrame) -> NDArray[np.float64]:
        return _expand(encoded, self.encoding, self.medians, self.means, self.deviations)

    def save(self, folder: Path) -> None:
        """Write ``model.json``."""
        saved = {**self.__dict__, "encoding": self.encoding.to_json()}
        (folder / "model.json").write_text(json.dumps(saved), encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """Rows used and size."""
        return {"training_rows": self.rows, "weights": len(self.weights)}


def _expand(
    encoded: pl.DataFrame,
    encoding: Encoding,
    medians: tuple[float, ...],
    means: tuple[float, ...],
    deviations: tuple[float, ...],
) -> NDArray[np.float64]:
    """Matrix (rows × weights, float64) of standard scores, missing flags and level flags."""
    # without a number there would be no rows either
    shape = (encoded.height, len(encoding.numbers))
    numbers = encoded.select(encoding.numbers).to_numpy().astype(np.float64).reshape(shape)
    missing = np.isnan(numbers)
    filled = np.where(missing, np.array(medians), numbers)
    parts = [(filled - np.array(means)) / np.array(deviations), missing.astype(np.float64)]
    for name, levels in encoding.levels.items():
        codes = encoded[name].fill_null(-1).to_numpy()
        parts.append((codes[:, None] == np.arange(len(levels) + 1)).astype(np.float64))
    return np.hstack(parts)


def fit(task: Task) -> Ranker:
    """Fit on the newest ``models.logistic.max_rows`` training rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    settings = task.settings.logistic
    train = task.train.tail(settings.max_rows)
    encoding = learn(train, task.columns, task.settings.min_category_share)
    encoded = encoding.apply(train)
    numbers = encoded.select(encoding.numbers)
    medians = (
        tuple(value if value is not None else 0.0 for value in numbers.median().row(0))
        if encoding.numbers
        else ()
    )
    filled = numbers.with_columns(
        pl.col(name).fill_null(median) for name, median in zip(encoding.numbers, medians, strict=True)
    )
    means = filled.mean().row(0) if encoding.numbers else ()
    spread = filled.std(ddof=0).row(0) if encoding.numbers else ()
    deviations = tuple(value if value else 1.0 for value in spread)
    matrix = _expand(encoded, encoding, medians, means, deviations)
    model = LogisticRegression(C=settings.c, max_iter=200)
    with warnings.catch_warnings():
        # 200 steps leave the log loss stable to four digits; what is left is not worth the time
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, train["target"].to_numpy())
    return Logistic(
        encoding,
        medians,
        means,
        deviations,
        tuple(model.coef_[0].tolist()),
        float(model.intercept_[0]),
        train.height,
    )


def load(folder: Path) -> Ranker:
    """The saved model."""
    saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in saved.items() if isinstance(value, list)}
    return Logistic(**{**saved, **lists, "encoding": Encoding.from_json(saved["encoding"])})
