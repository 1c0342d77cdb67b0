"""The compiled loops under exact top-k. Imported lazily: numba takes half a second to load.

A user's k places are a heap while items are offered: its root is the worst kept, by score and then
by larger track. All loops are in this one file, because numba keeps what it compiled until the file
of the function changes, whatever becomes of the functions that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from tasks.retrieval.protocol import Codes, Scores

LANES = 32  # scores that are compared with the threshold at once

Function = TypeVar("Function", bound=Callable[..., object])


def _compiled(function: Function) -> Function:
    """numba's decorator is untyped; this keeps the signature of what it compiles."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@_compiled
def scan(
    scores: Scores,
    rows: NDArray[np.int64],
    users: Codes,
    mine: Scores,
    norm: NDArray[np.float64],
    tile: Scores,
    tracks: Codes,
    largest: float,
    after: float,
    heard_start: NDArray[np.int64],
    heard_track: Codes,
    place_score: Scores,
    place_track: Codes,
    place_size: NDArray[np.int64],
    goes_on: NDArray[np.bool_],
) -> None:
    """Offer a tile's items to the places of some users; tell which of them need the next tile.

    ``scores`` (users, items) may be off by the rounding of a float32 product of f terms, at most
    f · 2**-24 · Σ|u·v| ≤ f · 2**-24 · ‖u‖‖v‖ (Higham 2002, section 3.1), taken here twice over.
    """
    width = scores.shape[1]
    k = place_score.shape[1]
    slack = largest * (mine.shape[1] + 2) * 2.0**-23
    for place in range(rows.size):
        row = rows[place]
        approximate = scores[place]
        kept_score = place_score[row]
        kept_track = place_track[row]
        size = place_size[row]
        low = heard_start[users[row]]
        high = heard_start[users[row] + 1]
        limit = np.float32(-np.inf)
        if size == k:
            limit = np.float32(kept_score[0] - slack * norm[row])
        for start in range(0, width, LANES):
            end = min(start + LANES, width)
            if end == start + LANES:
                hits = 0
                for item in range(start, start + LANES):
                    hits += approximate[item] >= limit
                if hits == 0:
                    continue
            for item in range(start, end):
                if approximate[item] < limit or _position(heard_track, low, high, tracks[item]) >= 0:
                    continue
                size = _offer(kept_score, kept_track, size, _dot(mine[place], tile[item]), tracks[item])
                if size == k:
                    limit = np.float32(kept_score[0] - slack * norm[row])
        place_size[row] = size
        bound = np.float32(norm[row] * after * (1.0 + 1e-9))
        goes_on[place] = after >= 0.0 and (size < k or bound >= kept_score[0])


@_compiled
def listed(
    part: NDArray[np.int64],
    users: Codes,
    user_factors: Scores,
    factors: Scores,
    position: NDArray[np.int64],
    heard_start: NDArray[np.int64],
    heard_track: Codes,
    place_score: Scores,
    place_track: Codes,
    place_size: NDArray[np.int64],
) -> None:
    """Offer each user's own tracks; ``position`` of a track in ``factors``, -1 where absent."""
    for row in part:
        user = users[row]
        size = 0
        for pair in range(heard_start[user], heard_start[user + 1]):
            at = position[heard_track[pair]]
            if at >= 0:
                found = _dot(user_factors[user], factors[at])
                size = _offer(place_score[row], place_track[row], size, found, heard_track[pair])
        place_size[row] = size
    sort(part, place_score, place_track, place_size)


@_compiled
def summed(
    part: NDArray[np.int64],
    users: Codes,
    weights: Scores,
    row_start: NDArray[np.int64],
    row_item: Codes,
    row_value: Scores,
    wanted: int,
    place_score: Scores,
    place_item: Codes,
    place_size: NDArray[np.int64],
) -> None:
    """Offer each user all items (``wanted`` 0), those not in their row (1) or those in it (2)."""
    items = weights.shape[0]
    total = np.empty(items, np.float32)
    offered = np.empty(items, np.bool_)
    for row in part:
        low = row_start[users[row]]
        high = row_start[users[row] + 1]
        if low == high:
            continue
        total[:] = np.float32(0.0)
        offered[:] = wanted != 2
        for pair in range(low, high):
            value = row_value[pair]
            other = weights[row_item[pair]]
            for item in range(items):
                total[item] += value * other[item]
            if wanted != 0:
                offered[row_item[pair]] = wanted == 2
        size = _offer_all(total, offered, place_score[row], place_item[row])
        place_size[row] = size
    sort(part, place_score, place_item, place_size)


@_compiled
def pair_sums(
    weights: Scores,
    user: Codes,
    item: Codes,
    row_start: NDArray[np.int64],
    row_item: Codes,
    row_value: Scores,
    out: Scores,
) -> None:
    """One sum for each pair, in the order of `summed`."""
    for row in range(user.size):
        total = np.float32(0.0)
        low = row_start[user[row]]
        high = row_start[user[row] + 1]
        for pair in range(low, high):
            total += row_value[pair] * weights[row_item[pair], item[row]]
        out[row] = total if low < high else np.nan


@_compiled
def mixed(
    part: NDArray[np.int64],
    users: Codes,
    shares: Scores,
    start: NDArray[np.int64],
    listener: Codes,
    scale: Scores,
    row_start: NDArray[np.int64],
    row_item: Codes,
    row_value: Scores,
    wanted: int,
    place_score: Scores,
    place_item: Codes,
    place_size: NDArray[np.int64],
) -> None:
    """As `summed`, of sums over each item's listeners; see `_mixture`."""
    items = scale.size
    total = np.empty(items, np.float32)
    own = np.zeros(items, np.float32)
    offered = np.empty(items, np.bool_)
    for row in part:
        low = row_start[users[row]]
        high = row_start[users[row] + 1]
        if low == high:
            continue
        offered[:] = wanted != 2
        for pair in range(low, high):
            own[row_item[pair]] = row_value[pair]
            if wanted != 0:
                offered[row_item[pair]] = wanted == 2
        mine = shares[users[row]]
        for item in range(items):
            total[item] = _mixture(mine, listener[start[item] : start[item + 1]], scale[item], own[item])
        for pair in range(low, high):
            own[row_item[pair]] = np.float32(0.0)
        place_size[row] = _offer_all(total, offered, place_score[row], place_item[row])
    sort(part, place_score, place_item, place_size)


@_compiled
def pair_mixed(
    shares: Scores,
    user: Codes,
    item: Codes,
    start: NDArray[np.int64],
    listener: Codes,
    scale: Scores,
    row_start: NDArray[np.int64],
    row_item: Codes,
    row_value: Scores,
    out: Scores,
) -> None:
    """One sum for each pair, as in `mixed`."""
    for row in range(user.size):
        low = row_start[user[row]]
        high = row_start[user[row] + 1]
        at = _position(row_item, low, high, item[row])
        own = row_value[at] if at >= 0 else np.float32(0.0)
        those = listener[start[item[row]] : start[item[row] + 1]]
        score = _mixture(shares[user[row]], those, scale[item[row]], own)
        out[row] = score if low < high else np.nan


@_compiled
def _mixture(mine: Scores, listeners: Codes, scale: np.float32, own: np.float32) -> np.float32:
    """``scale`` parts of the sum of what ``mine`` gives the listeners, the rest of ``own``."""
    total = 0.0
    for listener in listeners:
        total += mine[listener]
    return np.float32(scale * total + (1.0 - scale) * own)


@_compiled
def _offer_all(total: Scores, offered: NDArray[np.bool_], scores: Scores, items: Codes) -> int:
    """Keep the best of the ``offered`` items in an empty heap; how many there are."""
    size = 0
    for start in range(0, total.size, LANES):
        end = min(start + LANES, total.size)
        if size == scores.size and end == start + LANES:
            hits = 0
            for item in range(start, end):
                hits += total[item] >= scores[0]
            if hits == 0:
                continue
        for item in range(start, end):
            if offered[item]:
                size = _offer(scores, items, size, total[item], np.int32(item))
    return size


@_compiled
def products(user_factors: Scores, item_factors: Scores, user: Codes, track: Codes, out: Scores) -> None:
    for row in range(user.size):
        out[row] = _dot(user_factors[user[row]], item_factors[track[row]])


@_compiled
def _dot(left: Scores, right: Scores) -> np.float32:
    """In float64, where products of float32 are exact, in four sums of a fixed order."""
    first = second = third = fourth = 0.0
    whole = left.size - left.size % 4
    for place in range(0, whole, 4):
        first += np.float64(left[place]) * np.float64(right[place])
        second += np.float64(left[place + 1]) * np.float64(right[place + 1])
        third += np.float64(left[place + 2]) * np.float64(right[place + 2])
        fourth += np.float64(left[place + 3]) * np.float64(right[place + 3])
    for place in range(whole, left.size):
        first += np.float64(left[place]) * np.float64(right[place])
    return np.float32((first + second) + (third + fourth))


@_compiled
def _position(values: Codes, low: int, high: int, value: np.int32) -> int:
    """Where rising ``values[low:high]`` hold ``value``, -1 where they do not."""
    end = high
    while low < end:
        middle = (low + end) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            end = middle
    return low if low < high and values[low] == value else -1


@_compiled
def _worse(score: np.float32, track: np.int32, other_score: np.float32, other_track: np.int32) -> bool:
    return bool(score < other_score or (score == other_score and track > other_track))


@_compiled
def _offer(scores: Scores, tracks: Codes, size: int, score: np.float32, track: np.int32) -> int:
    """Keep the item if it is among the best so far; the new size of the heap, whose root is worst."""
    if size == scores.size:
        if _worse(scores[0], tracks[0], score, track):
            _sink(scores, tracks, size, score, track)
        return size
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if not _worse(score, track, scores[parent], tracks[parent]):
            break
        scores[place] = scores[parent]
        tracks[place] = tracks[parent]
        place = parent
    scores[place] = score
    tracks[place] = track
    return size + 1


@_compiled
def _sink(scores: Scores, tracks: Codes, size: int, score: np.float32, track: np.int32) -> None:
    """Put an item in the place of the root."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _worse(
            scores[child + 1], tracks[child + 1], scores[child], tracks[child]
        ):
            child += 1
        if not _worse(scores[child], tracks[child], score, track):
            break
        scores[place] = scores[child]
        tracks[place] = tracks[child]
        place = child
    scores[place] = score
    tracks[place] = track


@_compiled
def sort(part: NDArray[np.int64], scores: Scores, tracks: Codes, sizes: NDArray[np.int64]) -> None:
    """Turn the heaps of some users into lists, best first."""
    for row in part:
        for last in range(sizes[row] - 1, 0, -1):
            score = scores[row, last]
            track = tracks[row, last]
            scores[row, last] = scores[row, 0]
            tracks[row, last] = tracks[row, 0]
            _sink(scores[row], tracks[row], last, score, track)
