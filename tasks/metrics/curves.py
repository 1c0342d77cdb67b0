"""The shapes behind the numbers, as small frames ready to be drawn: at most a few hundred points."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.binary import bin_codes, checked

_Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


def roc(target: NDArray[np.bool_], probability: NDArray[np.float64], points: int = 200) -> pl.DataFrame:
    """The ROC curve: ``false_positive_rate``, ``true_positive_rate``, ``threshold``, at most ``points``.

    Rows run from (0, 0), whose threshold is infinite, to (1, 1). A row says: calling every play
    with a probability >= ``threshold`` positive gives these rates. Points are thinned evenly along
    the curve and always lie on it. No rows when there is one class only.
    """
    called, hits, score = _steps(*checked(target, probability))
    negatives = called[-1] - hits[-1]
    both = hits[-1] > 0 and negatives > 0
    across = (called - hits) / max(negatives, 1)
    up = hits / max(hits[-1], 1)
    keep = _spread(across + up, points) if both else np.empty(0, dtype=np.intp)
    return pl.DataFrame(
        {
            "false_positive_rate": across[keep],
            "true_positive_rate": up[keep],
            "threshold": score[keep],
        }
    )


def precision_recall(
    target: NDArray[np.bool_], probability: NDArray[np.float64], points: int = 200
) -> pl.DataFrame:
    """The precision-recall curve: ``recall``, ``precision``, ``threshold``, at most ``points`` rows.

    Rows run from the highest threshold to the lowest, thinned evenly along the recall. There is no
    invented point at recall 0. No rows when there is one class only.
    """
    called, hits, score = (column[1:] for column in _steps(*checked(target, probability)))
    both = 0 < hits[-1] < called[-1]
    recall = hits / max(hits[-1], 1)
    keep = _spread(recall, points) if both else np.empty(0, dtype=np.intp)
    return pl.DataFrame(
        {"recall": recall[keep], "precision": hits[keep] / called[keep], "threshold": score[keep]}
    )


def calibration(
    target: NDArray[np.bool_], probability: NDArray[np.float64], bins: int = 10
) -> pl.DataFrame:
    """Forecast against fact in equal-count bins, one row per bin, forecasts rising.

    ``mean_probability``, ``observed_rate``, ``rows`` and the 95 % Wilson score interval ``low``,
    ``high`` of the rate (Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 1927), which takes rows as independent. Bins are those of the ``ece`` metric.
    """
    target, probability = checked(target, probability)
    codes, count = bin_codes(probability, bins)
    rows = np.bincount(codes, minlength=count)
    rate = np.bincount(codes, weights=target, minlength=count) / rows
    centre = (rate + _Z95**2 / (2 * rows)) / (1 + _Z95**2 / rows)
    half = _Z95 / (1 + _Z95**2 / rows) * np.sqrt(rate * (1 - rate) / rows + _Z95**2 / (4 * rows**2))
    return pl.DataFrame(
        {
            "mean_probability": np.bincount(codes, weights=probability, minlength=count) / rows,
            "observed_rate": rate,
            "rows": rows,
            # The bounds are exactly 0 and 1 at those rates; rounding must not put them beyond.
            "low": np.clip(centre - half, 0.0, rate),
            "high": np.clip(centre + half, rate, 1.0),
        }
    )


def score_histogram(
    target: NDArray[np.bool_], probability: NDArray[np.float64], bins: int = 40
) -> pl.DataFrame:
    """How the forecasts of each class spread: one row per class and bin, 2 × ``bins`` rows.

    ``target`` bool, ``low`` and ``high`` the bin's bounds (``bins`` equal steps over [0, 1]; the
    last bin includes 1), ``rows``, and ``share`` of the class's rows (0 for a class without rows).
    """
    target, probability = checked(target, probability)
    edges = np.linspace(0.0, 1.0, bins + 1)
    frames = []
    for label in (False, True):
        rows = np.histogram(probability[target == label], bins=edges)[0]
        frames.append(
            pl.DataFrame(
                {
                    "target": np.full(bins, label),
                    "low": edges[:-1],
                    "high": edges[1:],
                    "rows": rows,
                    "share": rows / max(int(rows.sum()), 1),
                }
            )
        )
    return pl.concat(frames)


def _steps(
    target: NDArray[np.bool_], probability: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows called positive, hits among them and the threshold, for every distinct forecast, falling.

    The first entry is the empty call: 0 rows, 0 hits, threshold infinity.
    """
    order = np.argsort(-probability)  # counted at the end of equals: their own order tells nothing
    score = probability[order]
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    hits = np.cumsum(target[order])[last]
    return np.insert(last + 1, 0, 0), np.insert(hits, 0, 0), np.insert(score[last], 0, np.inf)


def _spread(along: NDArray[np.float64], points: int) -> NDArray[np.intp]:
    """At most ``points`` positions, evenly spread along a rising measure, both ends among them."""
    if len(along) <= points:
        return np.arange(len(along))
    wanted = np.linspace(along[0], along[-1], points)
    picked = np.searchsorted(along, wanted)
    picked[0], picked[-1] = 0, len(along) - 1
    return np.unique(picked)
