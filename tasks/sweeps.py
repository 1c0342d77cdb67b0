"""Sweeps through time: what features ask about the past, answered for one block of probes after another.

A ``Sweep`` holds all questions about one key of one stream, and the state of that key up to the last
block. Blocks bound the memory: nothing is kept of an answer that has been used, and what a block
needs of the events is gathered for it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.aggregates import Question
from tasks.moments import Moments

Array = NDArray[Any]
Rows = slice | Array
SESSION_GAP = 30 * 60 * 1000  # ms without a play that end a session
FEW = 1 << 22  # combinations of a key that may have a slot each, heard or not
KERNELS = {"known": "count_and_sum", "sum": "count_and_sum", "recent": "recent_mean"}


@dataclass(frozen=True)
class Stream:
    """Events of one kind: places in ``moments``, sorted by ``visible``, with a value each."""

    moments: Moments
    places: Array | None  # None: all, in order
    visible: Array
    value: Array | None

    def at(self, events: Rows) -> Rows:
        """Places in ``moments`` of some events."""
        return events if self.places is None else self.places[events]

    def of(self, column: Array) -> Array:
        """A column of the events, in the stream's order."""
        return column if self.places is None else column[self.places]

    def column(self, name: str, events: Rows) -> Array:
        """A column by name; ``label`` is the events' own value, an absent column is NaN."""
        if name == "label":
            assert self.value is not None
            return self.value[events]
        if name not in self.moments.columns:
            return np.full(len(self.visible[events]), np.nan, np.float32)
        return self.moments.columns[name][self.at(events)]


@dataclass(frozen=True)
class Codes:
    """How combinations of the columns ``by`` become dense integers below ``keys``.

    A combination is the sum of (value + 1) · weight. Where few sums are possible, they are the
    codes; else ``probe`` and ``moment`` number the sums of all probes and of all the moments.
    """

    by: tuple[str, ...]
    weights: tuple[int, ...]
    keys: int
    probe: Array | None = None
    moment: Array | None = None

    def of_probes(self, probes: Moments, rows: Rows) -> Array:
        """Codes of some probes, int32."""
        return self._mixed(probes, rows, np.int32) if self.probe is None else self.probe[rows]

    def of_moments(self, moments: Moments, rows: Rows) -> Array:
        """Codes of some of the stream's moments, int32."""
        return self._mixed(moments, rows, np.int32) if self.moment is None else self.moment[rows]

    def unknown(self, probes: Moments, rows: Rows) -> Array | None:
        """Which of some probes lack a part of the key; None if none does."""
        lacking = [_integers(probes, name, rows) < 0 for name in self.by]
        masks = [mask for mask in lacking if mask.any()]
        return np.logical_or.reduce(masks) if masks else None

    def numbered(self, probes: Moments, moments: Moments) -> Codes:
        """The same key with its sums numbered by first appearance."""
        from tasks import asof

        everything = slice(None)
        probe = self._mixed(probes, everything, np.int64)
        if probes is moments:
            codes, keys = asof.dense(probe)
            return Codes(self.by, self.weights, keys, codes, codes)
        moment = self._mixed(moments, everything, np.int64)
        codes, keys = asof.dense(np.concatenate([probe, moment]))
        return Codes(self.by, self.weights, keys, codes[: probes.rows], codes[probes.rows :])

    def _mixed(self, moments: Moments, rows: Rows, dtype: type[np.signedinteger[Any]]) -> Array:
        mixed = np.zeros(len(moments.columns["tick"][rows]), dtype)
        for name, weight in zip(self.by, self.weights, strict=True):
            mixed += (_integers(moments, name, rows).astype(dtype) + 1) * dtype(weight)
        return mixed


@dataclass
class _Work:
    """One kernel's way through a stream: its state, and how many events have left its window."""

    kernel: str
    value: str
    size: int
    state: tuple[Array, ...]
    left: int = 0


@dataclass
class Sweep:
    """The questions about one key of one stream, answered block by block; ``seen`` events are past."""

    name: str
    stream: Stream
    probes: Moments
    codes: Codes
    works: list[_Work]
    seen: int = 0

    def answers(self, rows: slice) -> dict[str, Array]:
        """Columns (float, NaN for unknown) at the next ``rows`` of the probes, by question."""
        codes, tick = self.codes, self.probes.columns["tick"][rows]
        probe = codes.of_probes(self.probes, rows)
        newest = tick[-1] if len(tick) else np.iinfo(np.int64).min
        events = slice(self.seen, max(self.seen, self._until(newest)))
        columns: dict[str, Array] = {}
        event = self._event(events)
        for work in self.works:
            columns.update(self._answer(work, probe, tick, events, event))
        unknown = codes.unknown(self.probes, rows)
        if unknown is not None:
            for column in columns.values():
                column[unknown] = np.nan
        self.seen = events.stop
        return columns

    def _until(self, tick: int) -> int:
        return int(np.searchsorted(self.stream.visible, tick, side="right"))

    def _event(self, events: slice) -> Array:
        return self.codes.of_moments(self.stream.moments, self.stream.at(events))

    def _answer(
        self, work: _Work, probe: Array, tick: Array, events: slice, event: Array
    ) -> dict[str, Array]:
        from tasks import asof

        stream, state, size = self.stream, work.state, work.size
        visible = stream.visible[events]
        by = self.codes.by
        if work.kernel == "count":
            gone = slice(0, 0)
            if size:
                gone = slice(work.left, max(work.left, self._until(int(tick.max(initial=0)) - size)))
                work.left = gone.stop
            left, until = self._event(gone), stream.visible[gone]
            found = asof.count(state, probe, tick, event, visible, left, until, size)
            return {Question("count", self.name, by, size=size).name: found}
        if work.kernel == "session":
            start, end = (stream.column(name, events) for name in ("tick", "end_tick"))
            states = asof.session(state, probe, tick, event, visible, start, end, SESSION_GAP)
            whats = ("position", "elapsed", "gap")
            names = (Question("session", self.name, by, what).name for what in whats)
            return dict(zip(names, states, strict=True))
        if work.kernel == "last":
            newest = asof.last(state, probe, tick, event, visible, events.start)
            return {Question("last", self.name, by, work.value).name: _told(stream, work.value, newest)}
        value = _values(stream, work.value, events)
        if work.kernel in ("count_and_sum", "deviation") and (missing := np.isnan(value)).any():
            event, visible, value = event[~missing], visible[~missing], value[~missing]
        if work.kernel == "count_and_sum":
            pair = asof.count_and_sum(state, probe, tick, event, visible, value)
            names = (Question(kind, self.name, by, work.value).name for kind in ("known", "sum"))
            return dict(zip(names, pair, strict=True))
        kind = {"recent_mean": "recent"}.get(work.kernel, work.kernel)
        sweep = {"deviation": asof.deviation, "longest": asof.longest, "recent_mean": asof.recent_mean}
        found = sweep[work.kernel](state, probe, tick, event, visible, value)
        return {Question(kind, self.name, by, work.value, size).name: found}


def sweeps(
    questions: Iterable[Question],
    probes: Moments,
    streams: Mapping[str, Stream],
    pool: ThreadPoolExecutor,
) -> list[Sweep]:
    """Sweeps that answer ``questions``, the longest first; probes and each stream sorted in time.

    Raises ``OverflowError`` for a key with 2**62 combinations or more.
    """
    from tasks import asof

    groups: dict[tuple[str, tuple[str, ...]], dict[tuple[str, str, int], None]] = {}
    for question in sorted(set(questions), key=lambda question: question.name):
        kernel = KERNELS.get(question.kind, question.kind)
        value = "" if kernel == "session" else question.value
        groups.setdefault((question.stream, question.by), {})[kernel, value, question.size] = None
    moments = {(by, id(streams[name].moments)): streams[name].moments for name, by in groups}
    made = pool.map(lambda key: _codes(key[0], probes, moments[key]), moments)
    codes = dict(zip(moments, made, strict=True))
    found = []
    for (name, by), asked in groups.items():
        of_key = codes[by, id(streams[name].moments)]
        works = [
            _Work(kernel, value, size, asof.fresh(kernel, of_key.keys, size))
            for kernel, value, size in asked
        ]
        found.append(Sweep(name, streams[name], probes, of_key, works))
    return sorted(found, key=lambda sweep: -len(sweep.works))


def _values(stream: Stream, name: str, events: slice) -> Array:
    """Values of a column, or with ``column=text`` whether it has that text."""
    column, _, wanted = name.partition("=")
    values = stream.column(column, events)
    if not wanted:
        return values
    names = stream.moments.names.get(column, [])
    code = names.index(wanted) if wanted in names else -2
    shares: Array = (values == code).astype(np.float32)
    return shares


def _told(stream: Stream, name: str, newest: Array) -> Array:
    """A column at events by number, NaN at -1 and for null codes."""
    if not len(stream.visible):
        return np.full(len(newest), np.nan, np.float32)
    values = stream.column(name, newest)
    told: Array = values.astype(np.float64 if values.dtype == np.int64 else np.float32)
    if values.dtype == np.int32:
        told[told < 0] = np.nan  # a null code
    told[newest < 0] = np.nan
    return told


def _codes(by: tuple[str, ...], probes: Moments, moments: Moments) -> Codes:
    weights, keys = [], 1
    for name in by:
        highest = (_integers(each, name, slice(None)).max(initial=0) for each in (probes, moments))
        width = int(max(highest)) + 2
        if keys * width >= 2**62:
            raise OverflowError(f"too many combinations of {', '.join(by)}")
        weights.append(keys)
        keys *= width
    codes = Codes(by, tuple(weights), keys)
    return codes if keys < FEW else codes.numbered(probes, moments)


def _integers(moments: Moments, name: str, rows: Rows) -> Array:
    """A column as integers with -1 for null; a column that is absent is null throughout."""
    if name not in moments.columns:
        return np.full(len(moments.columns["tick"][rows]), -1, np.int32)
    column = moments.columns[name][rows]
    if column.dtype.kind != "f":
        return column
    return np.where(np.isnan(column), -1, column).astype(np.int32)
