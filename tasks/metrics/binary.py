"""Point values of a binary forecast, and the threshold that turns it into a decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS: tuple[str, ...] = (
    "auc",
    "pr_auc",
    "log_loss",
    "brier",
    "ece",
    "accuracy",
    "precision",
    "recall",
    "f1",
)
CLIP = 1e-15  # a forecast of exactly 0 or 1 costs at most -log(1e-15) = 34.5 nats when it is wrong


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bounds; the bounds are NaN where the data cannot tell."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if both bounds lie on the same side of zero; False for NaN bounds."""
        return self.low > 0.0 or self.high < 0.0


def point(
    target: NDArray[np.bool_], probability: NDArray[np.float64], threshold: float, bins: int
) -> dict[str, float]:
    """Every metric of ``METRICS`` for one forecast; scikit-learn's values except ``ece``.

    ``target`` (n,) bool; ``probability`` (n,) float in [0, 1]; a row counts as predicted positive
    when its probability is >= ``threshold``; ``bins`` is the number of bins for ``ece``.
    ``pr_auc`` is average precision. ``log_loss`` is in nats, clipped at ``CLIP``. With one class
    only, ``auc`` and ``pr_auc`` are NaN; precision, recall and F1 without a single predicted or
    actual positive are 0. Raises ValueError for arrays that are no forecast (see ``checked``).
    """
    from sklearn import metrics

    target, probability = checked(target, probability)
    both = bool(target.any()) and not bool(target.all())
    decision = probability >= threshold
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        target, decision, average="binary", pos_label=True, zero_division=0.0
    )
    return {
        "auc": float(metrics.roc_auc_score(target, probability)) if both else float("nan"),
        "pr_auc": float(metrics.average_precision_score(target, probability)) if both else float("nan"),
        "log_loss": float(
            metrics.log_loss(target, np.clip(probability, CLIP, 1.0 - CLIP), labels=[False, True])
        ),
        "brier": float(
            metrics.brier_score_loss(target, probability, labels=[False, True], pos_label=True)
        ),
        "ece": calibration_error(target, probability, bins),
        "accuracy": float(metrics.accuracy_score(target, decision)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }


def calibration_error(target: NDArray[np.bool_], probability: NDArray[np.float64], bins: int) -> float:
    """Expected calibration error: the mean over rows of |mean forecast - observed rate| of their bin.

    The formula is from Naeini, Cooper & Hauskrecht, "Obtaining well calibrated probabilities using
    Bayesian binning", AAAI 2015; bins hold equal numbers of rows, as in Nguyen & O'Connor,
    "Posterior calibration and exploratory analysis for natural language processing models",
    EMNLP 2015. Chance alone makes it positive: about sqrt(bins / n) times a third for a perfect
    forecast, so compare it between models on the same rows.
    """
    codes, count = bin_codes(probability, bins)
    gap = np.bincount(codes, weights=probability - target, minlength=count)
    return float(np.abs(gap).sum() / len(target))


def bin_codes(probability: NDArray[np.float64], bins: int) -> tuple[NDArray[np.intp], int]:
    """The equal-count bin of each row, and how many bins there are (at most ``bins``).

    Edges are quantiles of ``probability``; equal forecasts share a bin, so many ties make fewer,
    fuller bins. Codes ascend with the forecast and every bin holds at least one row.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # inverted_cdf takes edges from the data itself: no edge falls between two equal forecasts.
    edges = np.unique(np.quantile(probability, np.arange(1, bins) / bins, method="inverted_cdf"))
    edges = edges[edges < probability.max()]
    return np.searchsorted(edges, probability, side="left"), len(edges) + 1


def best_threshold(target: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """The threshold with the highest F1; to be fitted on validation rows, never on the holdout.

    It lies half-way between two neighbouring forecasts, so that a last-digit change of a forecast
    flips no decision; 0.0 when calling every row positive is best; of equal F1 the highest
    threshold; 0.5 when there is no positive row, since then F1 says nothing.
    ``target`` (n,) bool, ``probability`` (n,) float in [0, 1].
    """
    target, probability = checked(target, probability)
    if not target.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    score = probability[order]
    hits = np.cumsum(target[order])
    last = np.append(score[1:] != score[:-1], True)  # decisions cannot split equal forecasts
    called = np.flatnonzero(last) + 1
    # F1 = 2 TP / (called + actual positives); argmax takes the first, that is the highest, of equals.
    best = int(called[np.argmax(2.0 * hits[last] / (called + hits[-1]))])
    if best == len(score):
        return 0.0
    upper, lower = float(score[best - 1]), float(score[best])
    middle = lower + (upper - lower) / 2
    return middle if middle > lower else upper


def checked(
    target: NDArray[np.bool_], probability: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The same two arrays as bool and float64, if they are a forecast.

    Raises ValueError when they are empty, of different lengths, ``target`` is not bool, or a
    probability is missing or outside [0, 1].
    """
    target, probability = np.asarray(target), np.asarray(probability, dtype=np.float64)
    if target.dtype != np.bool_:
        raise ValueError(f"target must be bool, got {target.dtype}")
    if target.ndim != 1 or target.shape != probability.shape or len(target) == 0:
        raise ValueError(
            f"need two equal, non-empty columns, got {target.shape} and {probability.shape}"
        )
    if not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise ValueError("a probability is missing or outside [0, 1]")
    return target, probability
