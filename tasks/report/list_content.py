"""What the report of lists says: an evaluation's facts and tables, and how its parts are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tasks.metrics import cohorts

CLEAR = 0.1  # rank correlation from which a feature's direction is told
ATTRIBUTES = {
    "activity": "plays before", "tenure": "days since first play", "age": "age", "gender": "gender",
    "country": "country", "main_genre": "main genre",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What is drawn: an evaluation's facts and tables (``tasks.two_stage.evaluation``).

    ``candidate`` is the ranker that recommends, ``rankers`` all of them.
    """

    facts: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    candidate: str
    rankers: Sequence[str]

    @property
    def best(self) -> str:
        """The best single retriever."""
        return str(self.facts["best"])

    def metrics(self, mode: str, metric: str) -> list[Mapping[str, Any]]:
        """Rows of the facts, the best system first."""
        rows = [
            row for row in self.facts["metrics"]
            if (row["mode"], row["metric"]) == (mode, metric) and row["value"] == row["value"]
        ]  # fmt: skip
        return sorted(rows, key=lambda row: (-row["value"], row["system"]))


def weights(told: Told) -> pl.DataFrame:
    """The candidate's features, the heaviest first."""
    return told.tables["importance"].filter(pl.col("system") == told.candidate)


def lowest(told: Told, n: int) -> pl.DataFrame:
    """``cohorts.worst`` by NDCG."""
    return cohorts.worst(told.tables["cohorts"], "ndcg", n)


def looked_at(told: Told) -> pl.DataFrame:
    """The cohorts that have an NDCG of their own, a row each."""
    return told.tables["cohorts"].filter(
        pl.col("metric") == "ndcg", ~pl.col("attribute").eq(cohorts.ALL), pl.col("cohort") != cohorts.FEW
    )


def cohort(row: Any) -> str:
    """A cohort in words: ``country DE``."""
    return f"{ATTRIBUTES.get(row['attribute'], row['attribute'])} {clipped(row['cohort'], 30)}"


def direction(value: float | None) -> str:
    """Which way more of a feature moves a track."""
    if value is None or value != value:
        return "by kind"
    return "↑" if value > CLEAR else "↓" if value < -CLEAR else "↕"


def clipped(text: str, most: int) -> str:
    """One line of at most ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
