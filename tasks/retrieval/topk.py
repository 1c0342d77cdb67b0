"""Exact top-k over a whole catalogue, in bounded memory: the compiled loops and their Python doors.

Imported lazily: numba takes half a second to load. A score is rounded once, from a sum whose order
is fixed, so that it is the same number however users are batched, and equal scores are truly equal;
matrix products in float32 only tell which pairs are worth that sum. Nothing here is ever as large
as users × tracks: a thread holds one tile of scores, and k places for each of its users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tasks.retrieval import topk_kernels as kernels
from tasks.retrieval.protocol import Candidates, Codes, Heard, Scores

TILE = 2048  # items whose scores are computed at once,
ROWS = 256  # for so many users: what a processor's second-level cache holds
PART = 4096  # users that one thread works on before it asks for more


@dataclass(frozen=True)
class Pairs:
    """The distinct tracks of each user, as rows: user u's are ``track[start[u]:start[u + 1]]``.

    ``start`` (users + 1,) int64; ``track`` (pairs,) int32, rising within a user; ``count`` (pairs,)
    float32, the user's plays of the track.
    """

    start: NDArray[np.int64]
    track: Codes
    count: Scores


def pairs(user: Codes, track: Codes, users: int, tracks: int) -> Pairs:
    """The distinct pairs of plays (``user``, ``track``), of ``users`` users and ``tracks`` tracks."""
    keys, count = np.unique(user.astype(np.int64) * tracks + track, return_counts=True)
    start = np.searchsorted(keys, np.arange(users + 1, dtype=np.int64) * tracks)
    return Pairs(start, (keys % max(tracks, 1)).astype(np.int32), count.astype(np.float32))


@dataclass(frozen=True)
class Catalogue:
    """Items by falling norm. Those whose factors are all zero, of which nothing is known, are absent.

    ``track`` (items,) int32: their codes; ``norm`` (items,) float64; ``factors`` (items, f) float32,
    a copy in this order; ``width``: the number of codes, absent items included.
    """

    track: Codes
    norm: NDArray[np.float64]
    factors: Scores
    width: int


def catalogue(item_factors: Scores) -> Catalogue:
    """Sort ``item_factors`` (tracks, f), float32, row i being track i's, for `top`."""
    norm = _norms(item_factors)
    order = np.argsort(-norm, kind="stable")[: np.count_nonzero(norm)]
    factors = np.ascontiguousarray(item_factors[order], np.float32)
    return Catalogue(order.astype(np.int32), norm[order], factors, len(item_factors))


def top(
    user_factors: Scores,
    items: Catalogue,
    users: Codes,
    k: int,
    heard: Pairs,
    mode: Heard,
    threads: int,
) -> Candidates:
    """The k tracks of largest ``user_factors[u] · item`` of each u in ``users``; ties by smaller track.

    ``user_factors`` (all users, f) float32; ``heard`` has a row for each of them, and ``mode`` says
    whether its tracks may be offered. A user whose factors are all zero gets none. Exact: items come
    by falling norm, and a user is done when ‖user‖ · ‖item‖ falls below the k-th best score
    (Cauchy-Schwarz), as in Teflioudi et al., LEMP (SIGMOD 2015). Memory: the places of the answer,
    and a tile of ``ROWS`` × ``TILE`` float32 a thread.
    """
    norm = _norms(user_factors[users])
    known = np.flatnonzero(norm > 0).astype(np.int64)
    places = _Places.empty(len(users), min(k, len(items.track)))
    if mode == "only":
        position = np.full(items.width, -1, np.int64)
        position[items.track] = np.arange(len(items.track))

        def work(part: NDArray[np.int64]) -> None:
            kernels.listed(
                part, users, user_factors, items.factors, position,
                heard.start, heard.track, places.score, places.track, places.size,
            )  # fmt: skip
    else:
        listed = (
            heard
            if mode == "exclude"
            else Pairs(np.zeros_like(heard.start), heard.track[:0], heard.count[:0])
        )

        def work(part: NDArray[np.int64]) -> None:
            _tiles(part, users, user_factors, norm, items, listed, places)

    if places.score.shape[1]:
        # one BLAS thread in each of ours: theirs inside ours would wait for each other
        with threadpool_limits(1, "blas"):
            _in_threads(work, known, threads)
    return places.candidates(users)


def score(user_factors: Scores, item_factors: Scores, user: Codes, track: Codes) -> Scores:
    """The product that `top` gives each pair; NaN where either side's factors are all zero."""
    out = np.empty(len(user), np.float32)
    kernels.products(user_factors, item_factors, user, track, out)
    out[(_norms(user_factors) == 0)[user] | (_norms(item_factors) == 0)[track]] = np.nan
    return out


def top_sums(
    weights: Scores, users: Codes, k: int, rows: Pairs, mode: Heard, threads: int
) -> Candidates:
    """The k items of largest sum of ``weights[j]`` over the user's ``rows``, with their positions.

    ``weights`` (items, items) float32. ``rows`` has a row for each user, of positions in ``weights``;
    they are also what ``mode`` may leave out. A user without any gets none; ties by smaller position.
    """
    places = _Places.empty(len(users), min(k, len(weights)))
    wanted = {"include": 0, "exclude": 1, "only": 2}[mode]

    def work(part: NDArray[np.int64]) -> None:
        kernels.summed(
            part, users, weights, rows.start, rows.track, rows.count, wanted,
            places.score, places.track, places.size,
        )  # fmt: skip

    if places.score.shape[1]:
        _in_threads(work, np.arange(len(users), dtype=np.int64), threads)
    return places.candidates(users)


def sums(weights: Scores, user: Codes, item: Codes, rows: Pairs) -> Scores:
    """The sum that `top_sums` gives each pair; NaN for a user without ``rows``."""
    out = np.empty(len(user), np.float32)
    kernels.pair_sums(weights, user, item, rows.start, rows.track, rows.count, out)
    return out


@dataclass(frozen=True)
class Mixtures:
    """Scores of items as sums over their listeners, where there are fewer of them than items.

    ``shares`` (users, users) float32: what each user, in rows, gives each listener;
    ``listeners``: the users of each item; ``scale`` (items,) float32. The score of an item is
    scale · Σ shares of its listeners + (1 - scale) · the user's own value of the item.
    """

    shares: Scores
    listeners: Pairs
    scale: Scores


def top_mixtures(
    mixtures: Mixtures, users: Codes, k: int, rows: Pairs, mode: Heard, threads: int
) -> Candidates:
    """As `top_sums`, of ``mixtures``; ``rows`` has each user's own values."""
    places = _Places.empty(len(users), min(k, len(mixtures.scale)))
    wanted = {"include": 0, "exclude": 1, "only": 2}[mode]

    def work(part: NDArray[np.int64]) -> None:
        kernels.mixed(
            part, users, mixtures.shares, mixtures.listeners.start, mixtures.listeners.track,
            mixtures.scale, rows.start, rows.track, rows.count, wanted,
            places.score, places.track, places.size,
        )  # fmt: skip

    if places.score.shape[1]:
        _in_threads(work, np.arange(len(users), dtype=np.int64), threads)
    return places.candidates(users)


def mixed(mixtures: Mixtures, user: Codes, item: Codes, rows: Pairs) -> Scores:
    """The score that `top_mixtures` gives each pair; NaN for a user without ``rows``."""
    out = np.empty(len(user), np.float32)
    kernels.pair_mixed(
        mixtures.shares, user, item, mixtures.listeners.start, mixtures.listeners.track,
        mixtures.scale, rows.start, rows.track, rows.count, out,
    )  # fmt: skip
    return out


@dataclass(frozen=True)
class _Places:
    """k places of each user: heaps while work goes on, by rank when it is done."""

    score: Scores
    track: Codes
    size: NDArray[np.int64]

    @staticmethod
    def empty(users: int, k: int) -> _Places:
        return _Places(
            np.empty((users, k), np.float32), np.empty((users, k), np.int32), np.zeros(users, np.int64)
        )

    def candidates(self, users: Codes) -> Candidates:
        ranks = np.arange(1, self.score.shape[1] + 1, dtype=np.int32)
        filled = ranks <= self.size[:, None]
        return Candidates(
            np.repeat(users, self.size).astype(np.int32),
            self.track[filled],
            self.score[filled],
            np.broadcast_to(ranks, filled.shape)[filled],
        )


def _in_threads(
    work: Callable[[NDArray[np.int64]], None], rows: NDArray[np.int64], threads: int
) -> None:
    size = max(1, min(PART, -(-len(rows) // threads)))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    with ThreadPoolExecutor(threads) as pool:
        _all(pool.map(work, parts))


def _all(results: Iterable[Any]) -> None:
    """Wait for every result, and raise what one raised."""
    for _ in results:
        pass


def _norms(factors: Scores) -> NDArray[np.float64]:
    """Euclidean norms of the rows, (n,) float64; of slices, which need no float64 copy of it all."""
    out = np.empty(len(factors))
    for start in range(0, len(factors), PART):
        part = factors[start : start + PART].astype(np.float64)
        out[start : start + PART] = np.sqrt(np.einsum("nf,nf->n", part, part))
    return out


def _tiles(
    part: NDArray[np.int64],
    users: Codes,
    user_factors: Scores,
    norm: NDArray[np.float64],
    items: Catalogue,
    heard: Pairs,
    places: _Places,
) -> None:
    """All tiles of items for the users at ``part``, of whom fewer and fewer go on."""
    buffer = np.empty(ROWS * TILE, np.float32)
    live = part
    for start in range(0, len(items.track), TILE):
        tile = items.factors[start : start + TILE]
        after = items.norm[start + TILE] if start + TILE < len(items.track) else -1.0
        goes_on = np.empty(len(live), np.bool_)
        for first in range(0, len(live), ROWS):
            some = live[first : first + ROWS]
            mine = user_factors[users[some]]
            scores = buffer[: len(some) * len(tile)].reshape(len(some), len(tile))
            np.matmul(mine, tile.T, out=scores)
            kernels.scan(
                scores, some, users, mine, norm, tile, items.track[start : start + TILE],
                items.norm[start], after, heard.start, heard.track,
                places.score, places.track, places.size, goes_on[first : first + ROWS],
            )  # fmt: skip
        live = live[goes_on]
        if not len(live):
            break
    kernels.sort(part, places.score, places.track, places.size)
