"""The as-of pass: what was known of a key at a moment, in one compiled sweep through time.

Every kernel takes *events* sorted by ``visible`` (the first tick at which an event may be seen)
and *probes* sorted by ``tick`` (the moments asked about), both int64, with dense int32 keys. An
event counts for a probe exactly when ``visible <= tick``: a play is visible one tick after its
start, so plays that start together do not see each other; an outcome is visible from the end of
its play, a label from its maturity. State is one slot per key, so a sweep costs
O(events + probes) time and O(keys) memory, and nothing is ever sorted by key.
"""

# numba ships no types: its decorators make every kernel untyped to mypy, hence the one exemption
# for this module in pyproject.toml.

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]


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
def count(probe: Codes, tick: Ints, event: Codes, visible: Ints, keys: int, window: int) -> Floats:
    """Events of the probe's key seen so far; with ``window`` > 0 only those of the last ticks."""
    state = np.zeros(keys, np.int32)
    out = np.empty(probe.size, np.float32)
    seen = left = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            state[event[seen]] += 1
            seen += 1
        if window > 0:
            while left < seen and visible[left] <= now - window:
                state[event[left]] -= 1
                left += 1
        out[row] = state[probe[row]]
    return out


@numba.njit(nogil=True, cache=True)
def count_and_sum(
    probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats, keys: int
) -> tuple[Floats, Floats]:
    """Number and sum of the values seen so far of the probe's key."""
    counts = np.zeros(keys, np.int32)
    sums = np.zeros(keys, np.float64)
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
def deviation(probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats, keys: int) -> Floats:
    """Standard deviation of all values seen so far of the probe's key, NaN before the first.

    Welford's running sum of squared distances from the mean (Technometrics 4, 1962): a sum of
    squares has no digits left for years that lie close together.
    """
    counts = np.zeros(keys, np.int32)
    means = np.zeros(keys, np.float64)
    squares = np.zeros(keys, np.float64)
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
def last(probe: Codes, tick: Ints, event: Codes, visible: Ints, keys: int) -> Codes:
    """Index of the newest event seen of the probe's key, or -1."""
    state = np.full(keys, -1, np.int32)
    out = np.empty(probe.size, np.int32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            state[event[seen]] = seen
            seen += 1
        out[row] = state[probe[row]]
    return out


@numba.njit(nogil=True, cache=True)
def longest(probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats, keys: int) -> Floats:
    """Largest value seen so far of the probe's key, NaN before the first."""
    state = np.full(keys, np.nan, np.float32)
    out = np.empty(probe.size, np.float32)
    seen = 0
    for row in range(probe.size):
        now = tick[row]
        while seen < event.size and visible[seen] <= now:
            key = event[seen]
            if not state[key] >= value[seen]:
                state[key] = value[seen]
            seen += 1
        out[row] = state[probe[row]]
    return out


@numba.njit(nogil=True, cache=True)
def recent_mean(
    probe: Codes, tick: Ints, event: Codes, visible: Ints, value: Floats, keys: int, size: int
) -> Floats:
    """Mean of the newest ``size`` values seen of the probe's key, NaN before the first."""
    ring = np.zeros((keys, size), np.float32)
    filled = np.zeros(keys, np.int64)
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
    probe: Codes, tick: Ints, event: Codes, visible: Ints, start: Ints, end: Ints, keys: int, gap: int
) -> tuple[Floats, Floats, Floats]:
    """Session state of the probe's user: position, ticks since its start, ticks since the last end.

    ``event`` are plays with their ``start`` and ``end``. The session goes on while the probe starts
    at most ``gap`` after the latest end; of a play still running only that is used that it has not
    ended. Ticks since the last end are NaN before the first play.
    """
    latest = np.full(keys, np.iinfo(np.int64).min // 4, np.int64)
    begun = np.zeros(keys, np.int64)
    position = np.zeros(keys, np.int32)
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
