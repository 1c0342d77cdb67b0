"""Rankers: a file each, one line here, one contract test for all (tests/ranking)."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.ranking import base_rate, blend, boosting, corrected, heuristic, lambdamart, logistic
from tasks.ranking.protocol import Kind

RANKERS: Mapping[str, Kind] = {
    "base_rate": base_rate,
    "heuristic": heuristic,
    "logistic": logistic,
    "lightgbm": boosting,
    "lambdamart": lambdamart,
    "blend": blend,
    "corrected": corrected,
}
