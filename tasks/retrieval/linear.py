"""The closed-form linear item-item model, EASE: Steck, Embarrassingly Shallow Autoencoders (2019).

Imported lazily, as what it builds on compiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.two_stage import Retrieval
from tasks.retrieval import topk
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores

DAY = 86_400_000  # milliseconds
BLOCK = 512  # rows of the square that are made at once


@dataclass(frozen=True)
class Fitted:
    """``weights[i, j]``: what having heard catalogue track i says of j; (m, m) float32.

    ``catalogue`` (m,) int32: the tracks it knows, rising; ``rows``: each user's, as places in it,
    with what they count for in place of plays.
    """

    weights: Scores
    catalogue: Codes
    rows: topk.Pairs
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        found = topk.top_sums(self.weights, users, k, self.rows, heard, self.threads)
        return Candidates(found.user, self.catalogue[found.track], found.score, found.rank)

    def score(self, user: Codes, track: Codes) -> Scores:
        place = np.searchsorted(self.catalogue, track)
        known = place < len(self.catalogue)
        known[known] = self.catalogue[place[known]] == track[known]
        out = np.full(len(user), np.nan, np.float32)
        out[known] = topk.sums(self.weights, user[known], place[known].astype(np.int32), self.rows)
        return out


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Fitted:
    """Fit on which users played which of the ``linear_tracks`` tracks with the most users.

    With X the binary matrix of users × tracks and P = (XᵀX + linear_l2 · I)⁻¹, the weights are
    -P[i, j] / P[j, j], and 0 on the diagonal. A user's score of j is the sum of weights[i, j] over
    their tracks i, each times 0.5 ** (age of its newest play / ``linear_half_life_days``), or times
    1 without a clock: tastes move, what goes together does not. Memory: one square of float32,
    400 MB for 10,000 tracks, worked on in place; nothing is drawn, so that ``seed`` is not used.
    """
    del seed
    users, tracks = len(listening.users), len(listening.tracks)
    heard = topk.pairs(listening.user, listening.track, users, tracks)
    known = _most_heard(heard.track, tracks, settings.linear_tracks)
    place = np.full(tracks, -1, np.int32)
    place[known] = np.arange(len(known), dtype=np.int32)
    kept = place[heard.track] >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    item = place[heard.track[kept]]
    binary = topk.Pairs(before[heard.start], item, np.ones(len(item), np.float32))
    weights = _weights(binary, len(known), settings.linear_l2, threads)
    if listening.clock == "order":
        return Fitted(weights, known, binary, threads)
    age = (listening.at - _newest(listening, tracks)[kept]) / DAY
    fresh = np.exp2(-age / settings.linear_half_life_days).astype(np.float32)
    return Fitted(weights, known, replace(binary, count=fresh), threads)


def _newest(listening: Listening, tracks: int) -> NDArray[np.int64]:
    """The tick of the newest play of each pair, in the order of `topk.pairs`."""
    key = listening.user.astype(np.int64) * tracks + listening.track
    order = np.argsort(key, kind="stable")
    last = np.ones(len(key), bool)
    last[:-1] = np.diff(key[order]) > 0
    newest: NDArray[np.int64] = listening.tick[order[last]]
    return newest


def _most_heard(track: Codes, tracks: int, most: int) -> Codes:
    """Codes, rising, of the ``most`` tracks with the most users; ties by smaller code."""
    heard_by = np.bincount(track, minlength=tracks)
    order = np.argsort(-heard_by, kind="stable")[:most]
    return np.sort(order[heard_by[order] > 0]).astype(np.int32)


def _weights(rows: topk.Pairs, items: int, l2: float, threads: int) -> Scores:
    from scipy.linalg.lapack import spotrf, spotri
    from scipy.sparse import csr_array
    from threadpoolctl import threadpool_limits

    if not items:
        return np.empty((0, 0), np.float32)
    played = csr_array((rows.count, rows.track, rows.start), (len(rows.start) - 1, items))
    by_item = played.T.tocsr()
    square = np.empty((items, items), np.float32)
    for start in range(0, items, BLOCK):
        square[start : start + BLOCK] = (by_item[start : start + BLOCK] @ played).toarray()
    square[np.diag_indices(items)] += np.float32(l2)
    # LAPACK reads columns where numpy has rows: its lower triangle is our upper one
    with threadpool_limits(threads, "blas"):
        factor, fault = spotrf(square.T, lower=1, overwrite_a=1, clean=0)
        if fault == 0:
            factor, fault = spotri(factor, lower=1, overwrite_c=1)
    assert fault == 0, f"LAPACK stopped at {fault} of {items} tracks"
    inverse: Scores = factor.T
    for start in range(0, items, BLOCK):
        here = slice(start, start + BLOCK)
        inverse[here, :start] = inverse[:start, here].T
        upper = np.triu(inverse[here, here])
        inverse[here, here] = upper + np.triu(upper, 1).T
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0)
    return inverse
