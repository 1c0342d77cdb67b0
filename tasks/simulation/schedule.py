"""When a listener listens: the sessions, before anything is played."""

from __future__ import annotations

import numpy as np
from numba import njit

from tasks.simulation.scene import Array

_TRIES = 8


def sessions(
    plays: int, hours: Array, weekdays: Array, start_ms: int, random: np.random.Generator
) -> tuple[Array, Array]:
    """Starts (ms, sorted) and lengths (plays, summing to ``plays``) of one listener's sessions.

    ``hours`` (24,) is the cumulative share of the hours of a day, ``weekdays`` (days,) the weight of
    each day; the first one starts at ``start_ms``.
    """
    drawn = 1 + random.gamma(0.85, 28.0, plays).astype(np.int64)
    ends = np.cumsum(np.where(random.random(plays) < 0.05, 1, drawn))
    count = int(np.searchsorted(ends, plays)) + 1
    lengths = np.diff(np.minimum(ends[:count], plays), prepend=0)
    days = np.cumsum(random.gamma(2.5, 1.0, len(weekdays)) * weekdays)
    day = np.searchsorted(days, random.random((count, _TRIES)) * days[-1])
    hour = np.searchsorted(hours, random.random((count, _TRIES)))
    slots = _free(day * 24 + np.minimum(hour, 23), lengths, len(weekdays) * 24)
    return np.sort(start_ms + ((slots + random.random(count)) * 3_600_000).astype(np.int64)), lengths


@njit(cache=True, nogil=True)
def _free(wished: Array, lengths: Array, hours: int) -> Array:
    """The first of each session's wished hours that no earlier one takes, or else the last of them."""
    taken = np.zeros(hours, np.bool_)
    slots = np.empty(len(lengths), np.int64)
    for session in range(len(lengths)):
        slot = wished[session, 0]
        for slot in wished[session]:
            if not taken[slot]:
                break
        taken[slot : slot + 1 + lengths[session] // 28] = True
        slots[session] = slot
    return slots
