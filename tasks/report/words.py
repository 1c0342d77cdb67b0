"""How the two outcomes of a target are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """A play that came true, one that did not, the share of the first, and what is told apart."""

    positive: str
    negative: str
    rate: str
    things: str = "plays"


WORDS: Mapping[str, Words] = {
    "completed": Words("completed", "skipped", "completion rate"),
    "repeat": Words("repeated", "not repeated", "repeat rate"),
}
UNNAMED = Words("true", "false", "true rate")  # a scored_samples.csv does not name its target
