"""The vocabulary in which features ask about the past, and the pass that answers.

A function here (``count``, ``rate``, ``last`` …) returns a Polars expression over columns that do
not exist yet; each such column's name is the question itself, as JSON. ``answer`` collects the
questions of all features, groups them by key and runs the sweeps of ``tasks/asof.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.moments import Moments

Array = NDArray[Any]
SESSION_GAP = 30 * 60 * 1000  # ms without a play that end a session


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


@dataclass(frozen=True)
class Stream:
    """Events of one kind: places in ``moments``, sorted by ``visible``, with a value each."""

    moments: Moments
    places: Array | None  # None: all, in order
    visible: Array
    value: Array | None

    def of(self, column: Array) -> Array:
        """A column of the events, in the stream's order."""
        return column if self.places is None else column[self.places]

    def column(self, name: str) -> Array:
        """A column by name; ``label`` is the events' own value, an absent column is NaN."""
        if name == "label":
            assert self.value is not None
            return self.value
        if name not in self.moments.columns:
            return np.full(len(self.visible), np.nan, np.float32)
        return self.of(self.moments.columns[name])


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


def load() -> None:
    """Load the compiled sweeps, which takes a second, before they are wanted."""
    from tasks import asof

    asof.dense(np.zeros(1, np.int64))


@dataclass(frozen=True)
class Codes:
    """Dense codes of a key at the probes and at the moments of a stream, and how many there are.

    ``unknown`` marks probes that lack a part of the key; None if none does.
    """

    probe: Array
    moment: Array
    keys: int
    unknown: Array | None


Key = tuple[tuple[str, ...], int]  # the columns of a key, and which moments the stream's events are


def answer(
    questions: Iterable[Question],
    probes: Moments,
    streams: Mapping[str, Stream],
    codes: dict[Key, Codes],
    pool: ThreadPoolExecutor,
) -> dict[str, Array]:
    """Columns (float, NaN for unknown) that answer ``questions`` at each probe, by name.

    Probes and each stream are sorted in time. ``codes`` keeps the codes of this call's keys for the
    next one with the same probes and streams, and forgets others.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[Question]] = {}
    for question in sorted(set(questions), key=lambda question: question.name):
        groups.setdefault((question.stream, question.by), []).append(question)
    moments = {(by, id(streams[name].moments)): streams[name].moments for name, by in groups}
    for key in codes.keys() - moments.keys():
        del codes[key]
    missing = [key for key in moments if key not in codes]
    made = pool.map(lambda key: _codes(key[0], probes, moments[key]), missing)
    codes.update(zip(missing, made, strict=True))

    def work(group: tuple[tuple[str, tuple[str, ...]], list[Question]]) -> dict[str, Array]:
        (name, by), asked = group
        return _answer_group(asked, by, probes, streams[name], codes[by, id(streams[name].moments)])

    answers: dict[str, Array] = {}
    for columns in pool.map(work, groups.items()):
        answers.update(columns)
    return answers


def _answer_group(
    asked: list[Question], by: tuple[str, ...], probes: Moments, stream: Stream, codes: Codes
) -> dict[str, Array]:
    from tasks import asof

    probe, event, keys, unknown = codes.probe, stream.of(codes.moment), codes.keys, codes.unknown
    tick, visible = probes.columns["tick"], stream.visible
    columns: dict[str, Array] = {}
    for question in asked:
        if question.name in columns:
            continue
        size = question.size
        if question.kind == "count":
            columns[question.name] = asof.count(probe, tick, event, visible, keys, size)
        elif question.kind in ("known", "sum"):
            places, value = _values(stream, question.value)
            counted = asof.count_and_sum(
                probe, tick, event[places], visible[places], value[places], keys
            )
            for kind, column in zip(("known", "sum"), counted, strict=True):
                columns[Question(kind, question.stream, by, question.value).name] = column
        elif question.kind == "last":
            newest = asof.last(probe, tick, event, visible, keys)
            columns[question.name] = _gathered(stream, question.value, newest)
        elif question.kind == "deviation":
            places, value = _values(stream, question.value)
            columns[question.name] = asof.deviation(
                probe, tick, event[places], visible[places], value[places], keys
            )
        elif question.kind == "recent":
            value = stream.column(question.value)
            columns[question.name] = asof.recent_mean(probe, tick, event, visible, value, keys, size)
        elif question.kind == "longest":
            value = stream.column(question.value)
            columns[question.name] = asof.longest(probe, tick, event, visible, value, keys)
        elif question.kind == "session":
            start, end = (stream.column(name) for name in ("tick", "end_tick"))
            states = asof.session(probe, tick, event, visible, start, end, keys, SESSION_GAP)
            for what, column in zip(("position", "elapsed", "gap"), states, strict=True):
                columns[Question("session", "plays", by, what).name] = column
        else:
            raise ValueError(f"unknown kind of question: {question.kind}")
    if unknown is not None:
        for column in columns.values():
            column[unknown] = np.nan
    return columns


def _values(stream: Stream, name: str) -> tuple[slice | Array, Array]:
    """Which events have a value, and the values of all."""
    column, _, wanted = name.partition("=")
    values = stream.column(column)
    if wanted:  # share of one category
        names = stream.moments.names.get(column, [])
        code = names.index(wanted) if wanted in names else -2
        return slice(None), (values == code).astype(np.float32)
    missing = np.isnan(values)
    return (slice(None) if not missing.any() else np.flatnonzero(~missing)), values


def _gathered(stream: Stream, name: str, newest: Array) -> Array:
    values = stream.column(name)
    kept: Array = values.astype(np.float64 if values.dtype == np.int64 else np.float32)
    gathered: Array = kept[newest] if len(kept) else np.zeros(len(newest), np.float32)
    if values.dtype == np.int32:
        gathered[gathered < 0] = np.nan  # a null code
    gathered[newest < 0] = np.nan
    return gathered


def _codes(by: tuple[str, ...], probes: Moments, moments: Moments) -> Codes:
    """Codes of the columns ``by``, whose combinations are mixed into one integer each."""
    from tasks import asof

    if not by:
        return Codes(np.zeros(probes.rows, np.int32), np.zeros(moments.rows, np.int32), 1, None)
    same = probes is moments
    mixed_probe = np.zeros(probes.rows, np.int64)
    mixed_event = mixed_probe if same else np.zeros(moments.rows, np.int64)
    unknown = np.zeros(probes.rows, bool)
    radix = 1
    for name in by:
        at_probe = _integers(probes, name)
        at_event = at_probe if same else _integers(moments, name)
        unknown |= at_probe < 0
        width = int(max(at_probe.max(initial=0), at_event.max(initial=0))) + 2
        if radix * width >= 2**62:
            raise OverflowError(f"too many combinations of {', '.join(by)}")
        mixed_probe += (at_probe.astype(np.int64) + 1) * radix
        if not same:
            mixed_event += (at_event.astype(np.int64) + 1) * radix
        radix *= width
    missing = unknown if unknown.any() else None
    if radix < 1 << 22:  # few enough to have a slot each
        probe, event = mixed_probe.astype(np.int32), mixed_event.astype(np.int32)
        return Codes(probe, event, radix, missing)
    if same:
        probe, keys = asof.dense(mixed_probe)
        return Codes(probe, probe, keys, missing)
    both, keys = asof.dense(np.concatenate([mixed_probe, mixed_event]))
    return Codes(both[: probes.rows], both[probes.rows :], keys, missing)


def _integers(moments: Moments, name: str) -> Array:
    """A column as integers with -1 for null; a column that is absent is null throughout."""
    if name not in moments.columns:
        return np.full(moments.rows, -1, np.int32)
    column = moments.columns[name]
    if column.dtype.kind != "f":
        return column
    return np.where(np.isnan(column), -1, column).astype(np.int32)
