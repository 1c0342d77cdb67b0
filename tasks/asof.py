"""The as-of pass: what was known of a key at a moment, in one compiled sweep through time.

Every kernel takes *events* sorted by ``visible`` (the first tick at which an event may be seen)
and *probes* sorted by ``tick`` (the moments asked about), both int64, with dense int32 keys. An
event counts for a probe exactly when ``visible <= tick``: a play is visible one tick after its
start, so plays that start together do not see each other; an outcome is visible from the end of
its play, a label from its maturity. State is one slot per key, so a sweep costs
O(events + probes) time and O(keys) memory, and nothing is ever sorted by key.

A sweep may be cut into blocks of probes: the ``state`` that ``fresh`` makes is kept up to date in
place, and each block brings the events that become visible up to its last probe.
"""

# numba ships no types: its decorators make every kernel untyped to mypy, hence the one exemption
# for this module in pyproject.toml.

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]
State = tuple[Array, ...]


def fresh(kind: str, keys: int, size: int = 0) -> State:
    """The state of ``keys`` keys of which nothing has been seen, for the kernel named ``kind``."""
    never = np.iinfo(np.int64).min // 4
    if kind == "count":
        return (np.zeros(keys, np.int32),)
    if kind == "count_and_sum":
        return np.zeros(keys, np.int32), np.zeros(keys, np.float64)
    if kind == "deviation":
        return np.zeros(keys, np.int32), np.zeros(keys, np.float64), np.zeros(keys, np.float64)
    if kind == "last":
        return (np.full(keys, -1, np.int32),)
    if kind == "longest":
        return (np.full(keys, np.nan, np.float32),)
    if kind == "recent_mean":
        return np.zeros((keys, size), np.float32), np.zeros(keys, np.int64)
    if kind == "session":
        return np.full(keys, never, np.int64), np.zeros(keys, np.int64), np.zeros(keys, np.int32)
    raise ValueError(f"unknown kernel: {kind}")


@numba.njit(nogil=True, cache=True)
def dense(keys: Ints) -> tuple[Codes, int]:
    """Codes 0..n-1 of int64 keys in order of first appearance, and n; open addressing."""
    size = 1 << 10
    while size < 2 * keys.size:
        size <<= 1
    mask = size - 1
    slots = np.full(size, -1, np.int32)
    firsts = np.empty(max(keys.size, 1), np.int64)
    codes = np.empty(keys.size, np.int32)
    found = 0
    for row in range(keys.size):
        key = keys[row]
        mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(mask))
        while True:
            code = slots[slot]
            if code < 0:
                slots[slot] = found
                firsts[found] = key
                codes[row] = found
                found += 1
                break
            if firsts[code] == key:
                codes[row] = code
                break
            slot = (slot + 1) & mask
    return codes, found


@numba.njit(nogil=True, cache=True)
def count(
    state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints,
    left: Codes, until: Ints, window: int,
) -> Floats:  # fmt: skip
    """Events of the probe's key seen so far, less those that ``left``.

    With ``window`` > 0 only those of the last ticks count: ``left`` are the events (``until`` is
    their ``visible``) that fall out of it up to the last probe. Else it is empty.
    """
    (counts,) = state
    out = np.empty(probe.size, np.float32)
    seen = gone = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            counts[event[seen]] += 1
            seen += 1
        while gone < left.size and until[gone] <= now - window:
            counts[left[gone]] -= 1
            gone += 1
        out[row] = counts[probe[row]]
    return out


@numba.njit(nogil=True, cache=True)
def count_and_sum(
    state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats
) -> tuple[Floats, Floats]:
    """Number and sum of the values seen so far of the probe's key."""
    counts, sums = state
    out_count = np.empty(probe.size, np.float32)
    out_sum = np.empty(probe.size, np.float32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            key = event[seen]
            counts[key] += 1
            sums[key] += value[seen]
            seen += 1
        out_count[row] = counts[probe[row]]
        out_sum[row] = sums[probe[row]]
    return out_count, out_sum


@numba.njit(nogil=True, cache=True)
def deviation(
    state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats
) -> Floats:
    """Standard deviation of all values seen so far of the probe's key, NaN before the first.

    Welford's running sum of squared distances from the mean (Technometrics 4, 1962): a sum of
    squares has no digits left for years that lie close together.
    """
    counts, means, squares = state
    out = np.empty(probe.size, np.float32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            key = event[seen]
            counts[key] += 1
            distance = value[seen] - means[key]
            means[key] += distance / counts[key]
            squares[key] += distance * (value[seen] - means[key])
            seen += 1
        held = counts[probe[row]]
        out[row] = np.sqrt(squares[probe[row]] / held) if held > 0 else np.nan
    return out


@numba.njit(nogil=True, cache=True)
def last(state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints, first: int) -> Codes:
    """Number of the newest event seen of the probe's key, or -1; ``event`` begins with the ``first``."""
    (newest,) = state
    out = np.empty(probe.size, np.int32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            newest[event[seen]] = first + seen
            seen += 1
        out[row] = newest[probe[row]]
    return out


@numba.njit(nogil=True, cache=True)
def longest(
    state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats
) -> Floats:
    """Largest value seen so far of the probe's key, NaN before the first."""
    (largest,) = state
    out = np.empty(probe.size, np.float32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            key = event[seen]
            if not largest[key] >= value[seen]:
                largest[key] = value[seen]
            seen += 1
        out[row] = largest[probe[row]]
    return out


@numba.njit(nogil=True, cache=True)
def recent_mean(
    state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats
) -> Floats:
    """Mean of the newest values seen of the probe's key, as many as its ring holds; NaN before any."""
    ring, filled = state
    size = ring.shape[1]
    out = np.empty(probe.size, np.float32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            key = event[seen]
            ring[key, filled[key] % size] = value[seen]
            filled[key] += 1
            seen += 1
        held = min(filled[probe[row]], size)
        total = 0.0
        for place in range(held):
            total += ring[probe[row], place]
        out[row] = total / held if held > 0 else np.nan
    return out


@numba.njit(nogil=True, cache=True)
def session(
    state: State, probe: Codes, tick: Ints, event: Codes, visible: Ints, start: Ints, end: Ints, gap: int
) -> tuple[Floats, Floats, Floats]:
    """Session state of the probe's user: position, ticks since its start, ticks since the last end.

    ``event`` are plays with their ``start`` and ``end``. The session goes on while the probe starts
    at most ``gap`` after the latest end; of a play still running only that is used that it has not
    ended. Ticks since the last end are NaN before the first play.
    """
    latest, begun, position = state
    out_position = np.empty(probe.size, np.float32)
    out_elapsed = np.empty(probe.size, np.float32)
    out_gap = np.empty(probe.size, np.float32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            key = event[seen]
            if start[seen] - latest[key] > gap:
                begun[key] = start[seen]
                position[key] = 0
            position[key] += 1
            latest[key] = max(latest[key], end[seen])
            seen += 1
        key = probe[row]
        since = max(now - latest[key], 0)
        going = since <= gap
        out_position[row] = position[key] if going else 0
        out_elapsed[row] = now - begun[key] if going else 0
        out_gap[row] = since if position[key] > 0 else np.nan
    return out_position, out_elapsed, out_gap
