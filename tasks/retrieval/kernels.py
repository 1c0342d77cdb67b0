"""The compiled loops of the counting retrievers. Imported lazily: numba takes half a second to load.

Matrices are sparse, by rows: row r has the columns ``columns[starts[r]:starts[r + 1]]`` (int32) with
the ``values`` (float32) beside them, all above zero. A row of a product is summed in float64 in one
slot per column, in the order of the stored entries, so it does not depend on other rows; it is cut to
its best k right away, so no product is ever kept. Entries are compared as they are given back, in
float32, equal ones by the smaller column. All loops are in this one file, because numba keeps what it
compiled until the file of the function changes, whatever becomes of the functions that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from tasks.retrieval.protocol import Codes, Scores

Starts = NDArray[np.int64]
Sums = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., object])

INCLUDE, EXCLUDE, ONLY = 0, 1, 2


def _compiled(function: Function) -> Function:
    """numba's decorator is untyped; this keeps the signature of what it compiles."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@_compiled
def _sink(scores: Scores, tracks: Codes, size: int, slot: int) -> None:
    """Let the entry at ``slot`` down to its place in a heap whose root is the worst entry."""
    score, track = scores[slot], tracks[slot]
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            scores[other] < scores[child]
            or (scores[other] == scores[child] and tracks[other] > tracks[child])
        ):
            child = other
        if score < scores[child] or (score == scores[child] and track > tracks[child]):
            break
        scores[slot], tracks[slot] = scores[child], tracks[child]
        slot = child
    scores[slot], tracks[slot] = score, track


@_compiled
def _offer(scores: Scores, tracks: Codes, size: int, score: np.float32, track: np.int32) -> int:
    """Keep the entry if it is among the best that there is room for; returns how many are kept."""
    room = scores.size
    if size < room:
        scores[size], tracks[size] = score, track
        size += 1
        if size == room:
            for slot in range(room // 2 - 1, -1, -1):
                _sink(scores, tracks, room, slot)
    elif room > 0 and (score > scores[0] or (score == scores[0] and track < tracks[0])):
        scores[0], tracks[0] = score, track
        _sink(scores, tracks, room, 0)
    return size


@_compiled
def _order(scores: Scores, tracks: Codes, size: int) -> None:
    """Put what was kept in order, the best first."""
    if size < scores.size:
        for slot in range(size // 2 - 1, -1, -1):
            _sink(scores, tracks, size, slot)
    for last in range(size - 1, 0, -1):
        scores[0], scores[last] = scores[last], scores[0]
        tracks[0], tracks[last] = tracks[last], tracks[0]
        _sink(scores, tracks, last, 0)


@_compiled
def _sum(
    row: int,
    left_starts: Starts,
    left_columns: Codes,
    left_values: Scores,
    right_starts: Starts,
    right_columns: Codes,
    right_values: Scores,
    sums: Sums,
    touched: Codes,
) -> int:
    """Add a row of left @ right to ``sums``; the columns it reached are among ``touched[:returned]``.

    Where more is added than there are columns, all are named: asking of each addend whether its
    column is new costs more than looking through them once.
    """
    addends = 0
    for entry in range(left_starts[row], left_starts[row + 1]):
        middle = left_columns[entry]
        addends += right_starts[middle + 1] - right_starts[middle]
    if addends > touched.size:
        for entry in range(left_starts[row], left_starts[row + 1]):
            weight = np.float64(left_values[entry])
            middle = left_columns[entry]
            for place in range(right_starts[middle], right_starts[middle + 1]):
                sums[right_columns[place]] += weight * right_values[place]
        for column in range(touched.size):
            touched[column] = column
        return touched.size
    reached = 0
    for entry in range(left_starts[row], left_starts[row + 1]):
        weight = np.float64(left_values[entry])
        middle = left_columns[entry]
        for place in range(right_starts[middle], right_starts[middle + 1]):
            column = right_columns[place]
            if sums[column] == 0.0:
                touched[reached] = column
                reached += 1
            sums[column] += weight * right_values[place]
    return reached


@_compiled
def _cut(sums: Sums, touched: Codes, reached: int, scores: Scores, tracks: Codes) -> int:
    """The best of the sums above zero, in order; the sums are zero again afterwards."""
    size = 0
    worst = np.float32(0)  # kept: most of a row falls here, before any call
    for slot in range(reached):
        column = touched[slot]
        score = np.float32(sums[column])
        sums[column] = 0.0
        if score > worst or (score == worst and score > 0):
            size = _offer(scores, tracks, size, score, column)
            if size == scores.size and size > 0:
                worst = scores[0]
    _order(scores, tracks, size)
    return size


@_compiled
def top_products(
    rows: Codes,
    left_starts: Starts,
    left_columns: Codes,
    left_values: Scores,
    right_starts: Starts,
    right_columns: Codes,
    right_values: Scores,
    seen_starts: Starts,
    seen_columns: Codes,
    mode: int,
    width: int,
    scores: Scores,
    tracks: Codes,
    found: Codes,
) -> None:
    """The k best columns of ``rows`` of left @ right into ``scores`` and ``tracks`` (rows, k).

    ``found`` (rows) receives how many there are. ``mode`` says what becomes of the columns that the
    row has in ``seen``; ``width`` is the number of columns.
    """
    sums = np.zeros(width)
    touched = np.empty(width, np.int32)
    for place in range(rows.size):
        row = rows[place]
        reached = _sum(
            row,
            left_starts,
            left_columns,
            left_values,
            right_starts,
            right_columns,
            right_values,
            sums,
            touched,
        )
        if mode == ONLY:
            size = 0
            for entry in range(seen_starts[row], seen_starts[row + 1]):
                score = np.float32(sums[seen_columns[entry]])
                if score > 0:
                    size = _offer(scores[place], tracks[place], size, score, seen_columns[entry])
            _order(scores[place], tracks[place], size)
            for slot in range(reached):
                sums[touched[slot]] = 0.0
        else:
            if mode == EXCLUDE:
                for entry in range(seen_starts[row], seen_starts[row + 1]):
                    sums[seen_columns[entry]] = 0.0
            size = _cut(sums, touched, reached, scores[place], tracks[place])
        found[place] = size


@_compiled
def pair_products(
    rows: Codes,
    bounds: Starts,
    columns: Codes,
    left_starts: Starts,
    left_columns: Codes,
    left_values: Scores,
    right_starts: Starts,
    right_columns: Codes,
    right_values: Scores,
    width: int,
    out: Scores,
) -> None:
    """Entries of left @ right: ``columns[bounds[i]:bounds[i + 1]]`` of row ``rows[i]``; NaN for none."""
    sums = np.zeros(width)
    touched = np.empty(width, np.int32)
    for place in range(rows.size):
        reached = _sum(
            rows[place],
            left_starts,
            left_columns,
            left_values,
            right_starts,
            right_columns,
            right_values,
            sums,
            touched,
        )
        for pair in range(bounds[place], bounds[place + 1]):
            score = np.float32(sums[columns[pair]])
            out[pair] = score if score > 0 else np.float32(np.nan)
        for slot in range(reached):
            sums[touched[slot]] = 0.0


@_compiled
def top_company(
    rows: Codes,
    starts: Starts,
    places: Codes,
    session: Codes,
    track: Codes,
    decay: Sums,
    scale: Sums,
    scores: Scores,
    tracks: Codes,
    found: Codes,
) -> None:
    """The k tracks that keep ``rows`` (tracks) company most, into ``scores``, ``tracks`` (rows, k).

    ``track`` and ``session`` stand for the plays, session after session, in time order;
    ``places[starts[t]:starts[t + 1]]`` are the plays of track t. Another play of the session at
    distance d adds ``decay[d]``; the sum for tracks a, b is multiplied by ``scale[a] * scale[b]``.
    """
    sums = np.zeros(scale.size)
    touched = np.empty(scale.size, np.int32)
    for out in range(rows.size):
        row = rows[out]
        reached = 0
        for entry in range(starts[row], starts[row + 1]):
            here = places[entry]
            first = max(here - decay.size + 1, 0)
            last = min(here + decay.size, track.size)
            for there in range(first, last):
                other = track[there]
                if session[there] == session[here] and other != row:
                    if sums[other] == 0.0:
                        touched[reached] = other
                        reached += 1
                    sums[other] += decay[abs(there - here)]
        for slot in range(reached):
            sums[touched[slot]] *= scale[row] * scale[touched[slot]]
        found[out] = _cut(sums, touched, reached, scores[out], tracks[out])


@_compiled
def walk(
    users: Codes,
    places: Starts,
    order: Codes,
    value: Scores,
    barred_starts: Starts,
    barred_columns: Codes,
    mark: Starts,
    scores: Scores,
    tracks: Codes,
    found: Codes,
) -> None:
    """The k best of one list for each of ``users``, into rows ``places`` of ``scores``, ``tracks``.

    ``order`` is the list, the best first, with its ``value``; a user's row of ``barred`` is left
    out. ``mark`` (all tracks) holds no number of ``places`` and is written to.
    """
    room = scores.shape[1]
    for member in range(users.size):
        user, place = users[member], places[member]
        for entry in range(barred_starts[user], barred_starts[user + 1]):
            mark[barred_columns[entry]] = place
        size = 0
        for slot in range(order.size):
            if size == room:
                break
            if mark[order[slot]] != place:
                scores[place, size], tracks[place, size] = value[slot], order[slot]
                size += 1
        found[place] = size
