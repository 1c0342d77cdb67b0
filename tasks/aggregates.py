"""The vocabulary in which features ask about the past.

A function here (``count``, ``rate``, ``last`` …) returns a Polars expression over columns that do
not exist yet; each such column's name is the question itself, as JSON. ``tasks/sweeps.py`` answers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import polars as pl


@dataclass(frozen=True)
class Question:
    """One as-of column: ``kind`` of ``stream``'s events that share the probe's ``by`` columns."""

    kind: str
    stream: str
    by: tuple[str, ...]
    value: str = ""
    size: int = 0

    @property
    def name(self) -> str:
        """The column's name."""
        return json.dumps(asdict(self))

    @staticmethod
    def parse(name: str) -> Question | None:
        """The question a column name stands for, or None for a plain column."""
        if not name.startswith("{"):
            return None
        parts = json.loads(name)
        return Question(**{**parts, "by": tuple(parts["by"])})


def count(*by: str, stream: str = "plays", within: int = 0) -> pl.Expr:
    """Earlier events with the probe's ``by``; ``within`` > 0: only those of the last ticks."""
    return pl.col(Question("count", stream, by, size=within).name)


def rate(stream: str, *by: str, weight: float = 20.0) -> pl.Expr:
    """Share of earlier known labels that are true, shrunk to the overall share so far.

    (sum + weight · prior) / (count + weight), the prior (sum + 1) / (count + 2) over everybody:
    the posterior mean of a beta-binomial (Gelman et al., Bayesian Data Analysis, 2.1).
    """
    return _shrunk(stream, by, weight, _shrunk(stream, (), 2.0, pl.lit(0.5)))


def nested_rate(
    stream: str, by: tuple[str, ...], within: tuple[str, ...], weight: float = 5.0
) -> pl.Expr:
    """Like ``rate``, but shrunk to the rate of a coarser key."""
    return _shrunk(stream, by, weight, rate(stream, *within))


def _shrunk(stream: str, by: tuple[str, ...], weight: float, prior: pl.Expr) -> pl.Expr:
    total = pl.col(Question("sum", stream, by, value="label").name)
    known = pl.col(Question("known", stream, by, value="label").name)
    return (total + weight * prior) / (known + weight)


def known(stream: str, *by: str) -> pl.Expr:
    """Number of earlier known labels."""
    return pl.col(Question("known", stream, by, value="label").name)


def mean(value: str, *by: str) -> pl.Expr:
    """Mean of a column over earlier plays that have it; null before the first."""
    total = pl.col(Question("sum", "plays", by, value=value).name)
    return total / pl.col(Question("known", "plays", by, value=value).name)


def deviation(value: str, *by: str) -> pl.Expr:
    """Standard deviation of a column over earlier plays; null before the first."""
    return pl.col(Question("deviation", "plays", by, value=value).name)


def last(value: str, *by: str) -> pl.Expr:
    """Value of a column at the newest earlier play; null before the first."""
    return pl.col(Question("last", "plays", by, value=value).name)


def last_label(stream: str, *by: str) -> pl.Expr:
    """The newest earlier known label."""
    return pl.col(Question("last", stream, by, value="label").name)


def recent_rate(stream: str, size: int, *by: str) -> pl.Expr:
    """Mean of the newest ``size`` earlier known labels; null before the first."""
    return pl.col(Question("recent", stream, by, value="label", size=size).name)


def longest(*by: str) -> pl.Expr:
    """Longest earlier ended play of at least 30 s, in seconds; null before the first."""
    return pl.col(Question("longest", "ended", by, value="label").name)


def session(what: str) -> pl.Expr:
    """Of the user's running session: ``position`` (plays so far), ``elapsed`` or ``gap`` in ticks."""
    return pl.col(Question("session", "plays", ("user",), value=what).name)
