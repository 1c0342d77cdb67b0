"""One weight for each retriever: a conditional logit of their standard scores over each list.

McFadden, Conditional logit analysis of qualitative choice behavior (1974): what is played is chosen
among the list's candidates with probabilities in proportion to exp(order). Few weights need few
lists, and each list counts the same, however much its user plays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.ranking.calibration import NONE, Calibration, calibrate
from tasks.ranking.protocol import REST, Floats, Probabilities, Ranker, Task

STANDARD = "_standard"  # the end of the names of the columns that it reads
ACTIVITY = "user_plays"  # by which weights may differ
L2 = 1e-3  # of the weights, beside the mean loss of a list
ROWS = 1_000_000  # newest rows that are fitted on, 200 bytes each


@dataclass(frozen=True)
class Blend:
    """``weights`` of heard, unheard and heard's flag, then the same times the user's activity.

    ``activity`` is the mean that activity is measured from.
    """

    columns: tuple[str, ...]
    activity: float
    weights: tuple[float, ...]
    calibration: Calibration
    lists: int

    def order(self, frame: pl.DataFrame) -> Floats:
        """Log odds but for a constant of the list."""
        out: Floats = _matrix(frame, self.columns, self.activity) @ np.array(self.weights)
        return out

    def probability(self, order: Floats) -> Probabilities:
        """Calibrated probabilities."""
        return self.calibration.apply(_logistic(order))

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """Calibrated probabilities."""
        return self.probability(self.order(frame))

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Of each retriever, and of being heard, whatever the user's activity makes of them."""
        added = _matrix(frame, self.columns, self.activity) * np.array(self.weights)
        sources = [*self.columns, *self.columns, "heard"] * 2 if self.columns else []
        return pl.DataFrame(
            {
                name: added[:, [source == name for source in sources]].sum(axis=1)
                for name in dict.fromkeys(sources)
            }
            | {REST: np.zeros(frame.height)}
        )

    def save(self, folder: Path) -> None:
        """Write ``model.json``."""
        saved = {**self.__dict__, "calibration": self.calibration.to_json()}
        (folder / "model.json").write_text(json.dumps(saved), encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """Lists with a hit that it learned from, and its weights."""
        return {"fitted_lists": self.lists, "weights": dict(zip(self.names, self.weights, strict=True))}

    @property
    def names(self) -> list[str]:
        """What each weight is of."""
        parts = [f"{part} {name}" for part in ("heard", "unheard") for name in self.columns]
        plain = [*parts, "heard"] if self.columns else []
        return [*plain, *(f"{name} x {ACTIVITY}" for name in plain)]


def fit(task: Task) -> Ranker:
    """Fit on the lists of training, calibrate on validation, then fit again on both.

    So few weights need nothing to stop them. Without validation the calibration is ``like``'s; with
    no retrievers among the columns, or no lists, all candidates are equal.
    """
    columns = tuple(column.name for column in task.columns if column.name.endswith(STANDARD))
    group = task.group
    if group is None or not columns:
        model = Blend((), 0.0, (), NONE, 0)
        return (
            model if task.validation is None else replace(model, calibration=_of(model, task.validation))
        )
    if task.validation is None:
        calibration = task.like.calibration if isinstance(task.like, Blend) else NONE
        return replace(_weighed(task.train, columns, group), calibration=calibration)
    calibration = _of(_weighed(task.train, columns, group), task.validation)
    # lists are numbered in each of the two alone
    newer = pl.col(group) + task.train[group].max() + 1
    both = pl.concat([task.train, task.validation.with_columns(newer)], how="vertical_relaxed")
    return replace(_weighed(both, columns, group), calibration=calibration)


def load(folder: Path) -> Ranker:
    """The saved model."""
    saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return Blend(
        tuple(saved["columns"]),
        saved["activity"],
        tuple(saved["weights"]),
        Calibration.from_json(saved["calibration"]),
        saved["lists"],
    )


def _of(model: Blend, validation: pl.DataFrame) -> Calibration:
    return calibrate(_logistic(model.order(validation)), validation["target"].to_numpy())[0]


def _weighed(frame: pl.DataFrame, columns: tuple[str, ...], group: str) -> Blend:
    """Fitted on the newest lists with a hit, not calibrated.

    First the weights of scores, of heard and of unheard candidates each against their own kind:
    what separates the two kinds must not bend them. Then, given those, heard's flag.
    """
    hits = frame.tail(ROWS).filter(pl.col("target").any().over(group))
    each = hits.unique(group, keep="first")[ACTIVITY].cast(pl.Float64)
    activity = float(each.sort().mean() or 0.0)  # type: ignore[arg-type]
    matrix = _matrix(hits, columns, activity)
    flags = np.arange(matrix.shape[1]) % (len(columns) * 2 + 1) == len(columns) * 2
    weights = np.zeros(matrix.shape[1])
    for heard in (True, False):
        kind = hits["heard"].to_numpy() == heard
        kind &= hits.select(pl.col("target").any().over(group, "heard")).to_series().to_numpy()
        weights += _fitted(matrix[kind] * ~flags, hits.filter(kind), group, np.zeros(kind.sum()))
    weights += _fitted(matrix * flags, hits, group, matrix @ weights)
    return Blend(columns, activity, tuple(weights.tolist()), NONE, hits[group].n_unique())


def _matrix(frame: pl.DataFrame, columns: tuple[str, ...], activity: float) -> NDArray[np.float64]:
    """Rows × weights; a retriever without a score says nothing."""
    if not columns:
        return np.empty((frame.height, 0))
    heard = frame["heard"].to_numpy().astype(np.float64)[:, None]
    scores = frame.select(pl.col(columns).cast(pl.Float64).fill_null(0.0)).to_numpy()
    plain = np.hstack([scores * heard, scores * (1 - heard), heard])
    active = frame[ACTIVITY].cast(pl.Float64).fill_null(activity).to_numpy()[:, None] - activity
    return np.hstack([plain, plain * active])


def _fitted(
    matrix: NDArray[np.float64], rows: pl.DataFrame, group: str, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights that, on top of ``start``, minimise the mean of lists' mean -log softmax of hits.

    Every list of ``rows`` has a hit; the weight of a column of zeros is 0.
    """
    from scipy.optimize import minimize

    if rows.is_empty():
        return np.zeros(matrix.shape[1])
    sizes = rows[group].rle().struct.field("len").to_numpy().astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    hit = rows["target"].to_numpy().astype(np.float64)
    share = hit / np.repeat(np.add.reduceat(hit, starts), sizes)  # a list's hits share one choice

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        order = start + matrix @ weights
        order -= np.repeat(np.maximum.reduceat(order, starts), sizes)
        odds = np.exp(order)
        total = np.add.reduceat(odds, starts)
        value = np.log(total).sum() - share @ order
        slope = (odds / np.repeat(total, sizes) - share) @ matrix
        return (
            value / len(sizes) + L2 * (weights @ weights) / 2,
            slope / len(sizes) + L2 * weights,
        )

    found: NDArray[np.float64] = minimize(
        loss, np.zeros(matrix.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}
    ).x
    return found


def _logistic(order: Floats) -> Probabilities:
    return 1 / (1 + np.exp(-np.clip(order, -35, 35)))
