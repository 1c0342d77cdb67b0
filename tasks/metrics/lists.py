"""How much of what was played a ranked list names, and how early: accuracy, and recall of candidates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numpy.typing import NDArray

ACCURACY: tuple[str, ...] = ("ndcg", "map", "mrr", "recall", "precision", "hit")
_RECALL = {
    "retriever": pl.String,
    "part": pl.String,
    "k": pl.Int64,
    "recall": pl.Float64,
    "users": pl.Int64,
    "tracks": pl.Int64,
    "candidates": pl.Float64,
}
_NEVER = np.iinfo(np.int32).max  # the rank of what a retriever has not retrieved
_SLICE = 1 << 18  # rows that one thread looks up at a time: what it makes of them fits its cache
_MIXER = np.uint32(0x9E3779B1)  # an odd number without pattern: 2**32 over the golden ratio


def accuracy(lists: pl.DataFrame, relevant: pl.DataFrame, k: int) -> pl.DataFrame:
    """How well the first ``k`` of each user's list name what the user played: one row per user.

    ``lists`` has integer columns ``user``, ``track`` and ``rank`` (1-based; a missing rank is an
    empty place; ranks beyond ``k`` are left out); ``relevant`` has ``user`` and ``track``, the
    distinct pairs of the label window. Ids are numbers from 0 that fit Int32. The rows are the users
    with at least one relevant track, ascending: ``user`` as in ``relevant`` and the Float64 columns
    of ``ACCURACY``. Such a user without a list scores 0; a user who played nothing says nothing of a
    list and is left out. A track is relevant or not (binary gains); with hits the relevant tracks
    among the first k and n the number of the user's relevant tracks:

    - ``ndcg``: sum over hits of 1 / log2(rank + 1), divided by that of an ideal list, which has
      hits at the first min(k, n) places (Järvelin & Kekäläinen, "Cumulated gain-based evaluation
      of IR techniques", ACM TOIS 2002, with the discount at rank 1 that is usual today);
    - ``map``: sum over hits of the precision down to their rank, divided by min(k, n), so that
      a perfect list has 1 whatever k (Manning, Raghavan & Schütze, "Introduction to information
      retrieval", 2008, 8.4, divide by n, which suits an endless list);
    - ``mrr``: 1 / rank of the first hit (Voorhees, TREC-8, 1999), 0 without one;
    - ``recall``: hits / n; ``precision``: hits / k, also for a shorter list; ``hit``: any hit.

    Raises ValueError for k < 1, a missing value, a rank below 1, a (user, rank) or (user, track)
    twice among the first k, or a pair twice in ``relevant``.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    cut = top(lists, k)
    keys = played(relevant)
    owner = keys >> 32
    first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])[: len(owner)])
    users, tracks = owner[first], np.diff(np.append(first, len(keys)))

    rows = found(cut, keys)
    row = np.searchsorted(users, ids(cut, "user")[rows])
    # one sort of numbers that hold both is ten times as fast as one by row, then rank
    hits = np.sort((row << 32) + ids(cut, "rank")[rows])
    row, rank = hits >> 32, hits & _NEVER
    count = np.bincount(row, minlength=len(users))
    earlier = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)  # hits of the user

    reachable = np.minimum(tracks, k)
    longest = int(max(rank.max(initial=1), reachable.max(initial=1)))  # k itself may be far beyond
    discount = 1.0 / np.log2(np.arange(2, longest + 2))
    reciprocal = np.zeros(len(users))
    reciprocal[row[earlier == 0]] = 1.0 / rank[earlier == 0]

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(row, weights=values, minlength=len(users)).astype(np.float64, copy=False)

    return pl.DataFrame(
        {
            "user": pl.Series(users, dtype=relevant["user"].dtype),
            "ndcg": total(discount[rank - 1]) / np.cumsum(discount)[reachable - 1],
            "map": total((earlier + 1) / rank) / reachable,
            "mrr": reciprocal,
            "recall": count / tracks,
            "precision": count / k,
            "hit": (count > 0).astype(np.float64),
        }
    )


def recall_of(
    candidates: pl.DataFrame,
    relevant: pl.DataFrame,
    ks: Sequence[int],
    ranks: Mapping[str, str],
) -> pl.DataFrame:
    """The share of what users played that is among their candidates, by retriever and depth.

    ``candidates`` has a row per (user, track) and, for each retriever, a column with its rank of
    that track (1-based, null where it has not retrieved it); ``ranks`` names them: retriever →
    column. ``relevant`` has ``user``, ``track`` and, to split by it, Boolean ``heard``: the pair
    had been played before the cutoff. One row per retriever, part and k:

    ``retriever``: those of ``ranks``, then, of several, ``union`` (a candidate is in the union at k
    if any of them has it at rank <= k, so it is larger than each: see ``candidates``); ``part``:
    ``all`` and, with ``heard``, ``repeats`` and ``discoveries``; ``k``; ``recall``: mean over users
    with a relevant track of that part of the share found (null without such users); ``users``;
    ``tracks``: their relevant tracks of the part; ``candidates``: their mean number of candidates.
    For intervals, ``accuracy`` of one retriever's rank has its recall per user.

    Raises ValueError for a k < 1, a retriever called "union", a missing user, track or ``heard``,
    or a pair twice in either frame.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"depths must be at least 1, got {list(ks)}")
    if "union" in ranks:
        raise ValueError("no retriever can be called union")
    key = pair(candidates)
    distinct(np.sort(key), "candidates")
    keys = played(relevant)
    users, row = np.unique(keys >> 32, return_inverse=True)
    parts = {"all": np.ones(len(keys), dtype=np.bool_)}
    if "heard" in relevant.columns:
        if relevant["heard"].null_count():
            raise ValueError("a relevant pair is neither heard before nor not")
        repeated = relevant["heard"].to_numpy()[np.argsort(pair(relevant))]
        parts |= {"repeats": repeated, "discoveries": ~repeated}

    rows = found(candidates, keys)
    named = np.searchsorted(keys, key[rows])  # the relevant pair that each of these rows is
    owner = candidates["user"].to_numpy()
    rank = {name: candidates[column].fill_null(_NEVER).to_numpy() for name, column in ranks.items()}
    if len(rank) > 1:
        rank["union"] = np.minimum.reduce(list(rank.values()))
    told = []
    for part, mine in parts.items():
        tracks = np.bincount(row[mine], minlength=len(users))
        there = tracks > 0
        of_users = np.isin(owner, users[there])
        count = int(there.sum())
        for name, each in rank.items():
            for k in ks:
                hits = named[each[rows] <= k]
                share = np.bincount(row[hits[mine[hits]]], minlength=len(users))[there] / tracks[there]
                size = np.count_nonzero(of_users & (each <= k))
                mean = (share.mean(), size / count) if count else (None, None)
                told.append((name, part, k, mean[0], count, int(mine.sum()), mean[1]))
    place = {name: number for number, name in enumerate(rank)}
    return pl.DataFrame(sorted(told, key=lambda line: place[line[0]]), _RECALL, orient="row")


def top(lists: pl.DataFrame, k: int) -> pl.DataFrame:
    """The rows of ``lists`` at ranks 1 to ``k``, by rising user: what every metric starts from.

    Raises ValueError for a missing value, a rank below 1, or a (user, rank) or (user, track) twice.
    Works in a table of users × their longest list.
    """
    rank = ids(lists, "rank", least=1)
    cut = lists if int(rank.max(initial=0)) <= k else lists.filter(rank <= k)
    if not cut["user"].is_sorted():
        cut = cut.sort("user", maintain_order=True)
    ids(cut, "user")
    rank, track = ids(cut, "rank", least=1), ids(cut, "track")
    # in place: at millions of rows the memory of a passing array costs more than the sum in it
    cell = cut["user"].rle_id().to_numpy().astype(np.int64)
    users, places = int(cell[-1]) + 1 if len(cell) else 0, int(rank.max(initial=0))
    cell *= places
    cell += rank
    table = np.full(users * places + 1, -1, dtype=np.int32)
    table[cell] = track
    if twice := len(track) - np.count_nonzero(table >= 0):
        raise ValueError(f"ranks of a user must be distinct: {twice} come twice")
    ordered = table[1:].reshape(users, places)
    ordered.sort(axis=1)
    if twice := np.count_nonzero((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
        raise ValueError(f"tracks of a user's list must be distinct: {twice} come twice")
    return cut


def played(relevant: pl.DataFrame) -> NDArray[np.int64]:
    """The pairs of ``relevant`` as rising keys. Raises ValueError if one comes twice."""
    keys = np.sort(pair(relevant))
    distinct(keys, "relevant pairs")
    return keys


def found(rows: pl.DataFrame, keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """The numbers of those ``rows`` whose (user, track) is among the rising ``keys``, rising."""
    if len(keys) == 0:
        return np.empty(0, dtype=np.intp)
    # Most rows are no hit: a sieve of one byte a slot lets few of them through to the exact search.
    mask = np.uint32((1 << min(max(len(keys).bit_length() + 3, 10), 28)) - 1)
    sieve = np.zeros(int(mask) + 1, dtype=np.bool_)
    sieve[_slot((keys >> 32).astype(np.uint32), keys.astype(np.uint32), mask)] = True
    user, track = ids(rows, "user"), ids(rows, "track")

    def part(start: int) -> NDArray[np.intp]:
        some = slice(start, start + _SLICE)
        slot = _slot(user[some].view(np.uint32), track[some].view(np.uint32), mask)
        maybe = np.flatnonzero(sieve[slot]) + start
        key = (user[maybe].astype(np.int64) << 32) + track[maybe]
        place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        certain: NDArray[np.intp] = maybe[keys[place] == key]
        return certain

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy leaves Python's lock to others
        return np.concatenate(list(pool.map(part, range(0, max(len(user), 1), _SLICE))))


def _slot(user: NDArray[np.uint32], track: NDArray[np.uint32], mask: np.uint32) -> NDArray[np.uint32]:
    slot = user * _MIXER
    slot += track
    slot &= mask
    return slot


def pair(frame: pl.DataFrame) -> NDArray[np.int64]:
    """(user, track) of each row as one key that sorts like the two. Raises ValueError as ``ids``."""
    return (ids(frame, "user").astype(np.int64) << 32) + ids(frame, "track")


def ids(frame: pl.DataFrame, column: str, least: int = 0) -> NDArray[np.int32]:
    """A column of integers as Int32. Raises ValueError if one is missing, below ``least``, too large."""
    values = frame[column]
    if values.null_count():
        raise ValueError(f"{values.null_count()} rows have no {column}")
    if not values.dtype.is_integer():
        raise ValueError(f"{column} must be integers, got {values.dtype}")
    if len(values) and (int(values.min()) < least or int(values.max()) >= _NEVER):  # type: ignore[arg-type]
        raise ValueError(f"{column} must lie in {least} to {_NEVER - 1}")
    return values.cast(pl.Int32).to_numpy()


def distinct(ordered: NDArray[np.int64], what: str) -> None:
    """Raises ValueError if a key comes twice among rising ones."""
    if twice := np.count_nonzero(ordered[1:] == ordered[:-1]):
        raise ValueError(f"{what} must be distinct: {twice} come twice")
