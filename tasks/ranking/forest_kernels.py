"""The compiled loops under a forest of bit masks. Imported lazily: numba takes half a second to load.

All loops are in this one file, because numba keeps what it compiled until the file of the function
changes, whatever becomes of the functions that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.uint64]
Codes = NDArray[np.uint16]
Rows = NDArray[np.int32]
Starts = NDArray[np.int64]
Floats = NDArray[np.float64]
Values = NDArray[np.float32]

# A de Bruijn sequence: its product with a power of two has in its upper six bits a number of each
# power's own (Leiserson, Prokop, Randall, Using de Bruijn sequences to index a 1 in a computer word).
SEQUENCE = np.uint64(0x03F79D71B4CB0A89)
SHIFT = np.uint64(58)
STEP = 16  # numbers compared at once

Function = TypeVar("Function", bound=Callable[..., object])


def _compiled(function: Function) -> Function:
    """numba's decorator is untyped; this keeps the signature of what it compiles."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@_compiled
def code_numbers(
    values: Values, edges: Values, last: Values, size: int, zero: float, out: Codes
) -> None:
    """In which of the intervals that end at the rising ``edges`` each value lies, ends included.

    After ``size`` + 1 intervals come the codes of no number and of those at most ``zero`` from 0.
    ``edges`` end in infinities, so that they are a multiple of STEP and more than ``size``; ``last``
    has the last of each STEP.
    """
    for row in range(values.size):
        value = values[row]
        # counted rather than searched: a search cannot tell where it will look next
        steps = np.int32(0)
        for step in range(last.size):
            steps += np.int32(last[step] < value)
        first = np.uint64(steps) * np.uint64(STEP)
        within = np.int32(0)
        for place in range(STEP):
            within += np.int32(edges[first + np.uint64(place)] < value)
        code = int(first) + int(within)
        if np.isnan(value):
            code = size + 1
        if np.abs(value) <= zero:
            code = size + 2
        out[row] = code


@_compiled
def code_categories(values: Values, edges: Floats, out: Codes) -> None:
    """The place of each category among the rising ``edges``, their number for all others."""
    size = edges.size
    for row in range(values.size):
        value = np.trunc(np.float64(values[row]))
        place = size
        if value >= 0:
            found = int(np.searchsorted(edges, value))
            if found < size and edges[found] == value:
                place = found
        out[row] = place


@_compiled
def place_of(bit: np.uint64) -> np.uint64:
    """A number below 64 for each power of two, 0 for the first of them and for 0 itself."""
    return (bit * SEQUENCE) >> SHIFT


@_compiled
def narrow(code: Codes, start: Starts, masks: Masks, every: Masks, out: Masks) -> None:
    """Leaves (``out``: rows × words) that each row's features leave.

    ``masks`` has a row for each code of each feature; a feature's begin at its ``start``.
    """
    for row in range(code.shape[0]):
        for word in range(every.size):
            out[row, word] = every[word]
        _join(code, row, start, masks, out, row)


@_compiled
def _join(code: Codes, row: int, start: Starts, masks: Masks, alive: Masks, place: int) -> None:
    """Leave in ``alive[place]`` what a row's features leave, four at a time; the last may come twice."""
    last = start.size - 1
    for one in range(0, start.size, 4):
        two, three, four = min(one + 1, last), min(one + 2, last), min(one + 3, last)
        first = start[one] + code[row, one]
        second = start[two] + code[row, two]
        third = start[three] + code[row, three]
        fourth = start[four] + code[row, four]
        for word in range(alive.shape[1]):
            alive[place, word] &= (masks[first, word] & masks[second, word]) & (
                masks[third, word] & masks[fourth, word]
            )


@_compiled
def add(
    code: Codes,
    start: Starts,
    masks: Masks,
    user: Rows,
    track: Rows,
    of_user: Masks,
    of_track: Masks,
    values: Floats,
    out: Floats,
) -> None:
    """Add to ``out``, word by word, the value of the only leaf that a row's features leave.

    ``of_user`` and ``of_track`` are what ``narrow`` has left for the rows' users and tracks. Rows go
    through it eight at a time, so that what is far in memory is waited for together, and four at a
    time are summed; of the last ones some may do so twice, with the same result.
    """
    words = masks.shape[1]
    alive = np.empty((8, words), np.uint64)
    last = out.size - 1
    for first in range(0, out.size, 8):
        for place in range(8):
            row = min(first + place, last)
            its, other = user[row], track[row]
            for word in range(words):
                alive[place, word] = of_user[its, word] & of_track[other, word]
        for place in range(8):
            _join(code, min(first + place, last), start, masks, alive, place)
        for place in range(0, 8, 4):
            row = first + place
            one, two, three, four = row, min(row + 1, last), min(row + 2, last), min(row + 3, last)
            if one > last:
                break
            sum_one, sum_two, sum_three, sum_four = out[one], out[two], out[three], out[four]
            for word in range(words):
                sum_one += values[word, place_of(alive[place, word])]
                sum_two += values[word, place_of(alive[place + 1, word])]
                sum_three += values[word, place_of(alive[place + 2, word])]
                sum_four += values[word, place_of(alive[place + 3, word])]
            out[one], out[two], out[three], out[four] = sum_one, sum_two, sum_three, sum_four
