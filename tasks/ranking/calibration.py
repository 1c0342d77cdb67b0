"""Calibration on validation rows: kept only where it lowers the log loss of later rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGE = 1e-6  # probabilities stay inside (EDGE, 1 − EDGE): one sure mistake must not cost infinity


@dataclass(frozen=True)
class Calibration:
    """A monotone map of probabilities: none, sigmoid (Platt 1999) or isotonic (Zadrozny 2002).

    ``x`` and ``y`` are slope and intercept on the log odds for sigmoid, knots for isotonic.
    """

    kind: str
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities."""
        if self.kind == "sigmoid":
            probability = 1 / (1 + np.exp(-(self.x[0] * _log_odds(probability) + self.y[0])))
        elif self.kind == "isotonic":
            probability = np.interp(probability, self.x, self.y)
        return np.clip(probability, EDGE, 1 - EDGE)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, "x": list(self.x), "y": list(self.y)}

    @staticmethod
    def from_json(saved: dict[str, Any]) -> Calibration:
        """From ``to_json``."""
        return Calibration(saved["kind"], tuple(saved["x"]), tuple(saved["y"]))


NONE = Calibration("none")


def calibrate(
    probability: NDArray[np.float64], target: NDArray[np.bool_]
) -> tuple[Calibration, dict[str, float]]:
    """The best map for scored validation rows in time order, and the log losses that decided.

    Each kind is fitted on the first half and judged on the second; the winner is then fitted on
    both. A single class in either half means none.
    """
    half = len(target) // 2
    losses = {"none": _log_loss(target[half:], NONE.apply(probability[half:]))}
    if all(0 < part.sum() < len(part) for part in (target[:half], target[half:])):
        for kind in ("sigmoid", "isotonic"):
            fitted = _fit(kind, probability[:half], target[:half])
            losses[kind] = _log_loss(target[half:], fitted.apply(probability[half:]))
    best = min(losses, key=lambda kind: losses[kind])
    return (NONE if best == "none" else _fit(best, probability, target)), losses


def _fit(kind: str, probability: NDArray[np.float64], target: NDArray[np.bool_]) -> Calibration:
    if kind == "sigmoid":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1e6).fit(_log_odds(probability)[:, None], target)
        return Calibration("sigmoid", (float(model.coef_[0, 0]),), (float(model.intercept_[0]),))
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(y_min=EDGE, y_max=1 - EDGE, out_of_bounds="clip").fit(probability, target)
    return Calibration(
        "isotonic", tuple(steps.X_thresholds_.tolist()), tuple(steps.y_thresholds_.tolist())
    )


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(probability, EDGE, 1 - EDGE)
    odds: NDArray[np.float64] = np.log(inside) - np.log1p(-inside)
    return odds


def _log_loss(target: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    return float(-np.mean(np.where(target, np.log(probability), np.log1p(-probability))))
