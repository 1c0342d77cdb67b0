"""The closed-form linear item-item model, EASE: Steck, Embarrassingly Shallow Autoencoders (2019).

Imported lazily, as what it builds on compiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.two_stage import Retrieval
from tasks.retrieval import topk
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.recency import freshness

if TYPE_CHECKING:
    from scipy.sparse import csr_array

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
        place, known = _places(self.catalogue, track)
        out = np.full(len(user), np.nan, np.float32)
        out[known] = topk.sums(self.weights, user[known], place[known], self.rows)
        return out


@dataclass(frozen=True)
class Dual:
    """The same scores without a square of tracks, from one of users: ``mixtures``.

    ``catalogue`` and ``rows`` are as in ``Fitted``.
    """

    mixtures: topk.Mixtures
    catalogue: Codes
    rows: topk.Pairs
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        found = topk.top_mixtures(self.mixtures, users, k, self.rows, heard, self.threads)
        return Candidates(found.user, self.catalogue[found.track], found.score, found.rank)

    def score(self, user: Codes, track: Codes) -> Scores:
        place, known = _places(self.catalogue, track)
        out = np.full(len(user), np.nan, np.float32)
        out[known] = topk.mixed(self.mixtures, user[known], place[known], self.rows)
        return out


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Fitted | Dual:
    """Fit on which users played which tracks.

    With X the binary matrix of users × tracks and P = (XᵀX + linear_l2 · I)⁻¹, the weights are
    -P[i, j] / P[j, j], and 0 on the diagonal. A user's score of j is the sum of weights[i, j] over
    their tracks i, each times 0.5 ** (age of its newest play / ``linear_half_life_days``), or times
    1 without a clock: tastes move, what goes together does not.

    The square that is inverted has a side of at most ``linear_tracks``. Where there are fewer users
    than tracks and no more than that, it is one of users, and all tracks take part; else it is one of
    the tracks with the most users. Memory: of users two squares of float32, of tracks one, 400 MB
    for 10,000 tracks, worked on in place; nothing is drawn, so that ``seed`` is not used.
    """
    del seed
    users, tracks = len(listening.users), len(listening.tracks)
    heard = topk.pairs(listening.user, listening.track, users, tracks)
    known = _most_heard(heard.track, tracks, tracks)
    dual = users < len(known) and users <= settings.linear_tracks
    if not dual:
        known = _most_heard(heard.track, tracks, settings.linear_tracks)
    place = np.full(tracks, -1, np.int32)
    place[known] = np.arange(len(known), dtype=np.int32)
    kept = place[heard.track] >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    item = place[heard.track[kept]]
    binary = topk.Pairs(before[heard.start], item, np.ones(len(item), np.float32))
    rows = replace(binary, count=freshness(listening, settings.linear_half_life_days)[kept])
    if dual:
        mixtures = _mixtures(binary, rows, len(known), settings.linear_l2, threads)
        return Dual(mixtures, known, rows, threads)
    return Fitted(_weights(binary, len(known), settings.linear_l2, threads), known, rows, threads)


def _places(catalogue: Codes, track: Codes) -> tuple[Codes, NDArray[np.bool_]]:
    """Where each track lies in the rising ``catalogue``, and whether it does."""
    place = np.searchsorted(catalogue, track)
    known = place < len(catalogue)
    known[known] = catalogue[place[known]] == track[known]
    return place.astype(np.int32), known


def _most_heard(track: Codes, tracks: int, most: int) -> Codes:
    """Codes, rising, of the ``most`` tracks with the most users; ties by smaller code."""
    heard_by = np.bincount(track, minlength=tracks)
    order = np.argsort(-heard_by, kind="stable")[:most]
    return np.sort(order[heard_by[order] > 0]).astype(np.int32)


def _weights(rows: topk.Pairs, items: int, l2: float, threads: int) -> Scores:
    if not items:
        return np.empty((0, 0), np.float32)
    played = _matrix(rows, items)
    square = _gram(played.T.tocsr(), played, l2)
    inverse = _inverse(_factor(square, threads), threads)
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0)
    return inverse


def _mixtures(
    binary: topk.Pairs, rows: topk.Pairs, items: int, l2: float, threads: int
) -> topk.Mixtures:
    """The scores of ``rows``, W, by Woodbury's identity: with G = XXᵀ + l2 · I, P = (I - XᵀG⁻¹X) / l2.

    The score of track j is W[u, j] - (WP)[u, j] / P[j, j]. With s = l2 · P[j, j], which is
    1 - X[:, j]ᵀ G⁻¹ X[:, j], that is (WXᵀG⁻¹X)[u, j] / s + (1 - 1 / s) · W[u, j].
    """
    from scipy.linalg.lapack import spotrs
    from threadpoolctl import threadpool_limits

    played, asking = _matrix(binary, items), _matrix(rows, items)
    listeners = played.T.tocsr()
    factor = _factor(_gram(played, listeners, l2), threads)
    overlaps = _gram(asking, listeners, 0.0)
    with threadpool_limits(threads, "blas"):
        solved, fault = spotrs(factor, overlaps.T, lower=1, overwrite_b=1)
    assert fault == 0, f"LAPACK refused argument {-fault}"
    inverse = _inverse(factor, threads)
    parts = []
    for start in range(0, items, BLOCK):
        block = listeners[start : start + BLOCK]
        parts.append(block.multiply(block @ inverse).sum(axis=1))
    scale = (1 / (1 - np.concatenate(parts))).astype(np.float32)
    by_item = topk.Pairs(listeners.indptr.astype(np.int64), listeners.indices, listeners.data)
    return topk.Mixtures(np.ascontiguousarray(solved.T), by_item, scale)


def _matrix(rows: topk.Pairs, items: int) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((rows.count, rows.track, rows.start), (len(rows.start) - 1, items))


def _gram(left: csr_array, right: csr_array, l2: float) -> Scores:
    """left @ right + l2 · I, dense, made block by block."""
    square = np.empty((left.shape[0], right.shape[1]), np.float32)
    for start in range(0, len(square), BLOCK):
        square[start : start + BLOCK] = (left[start : start + BLOCK] @ right).toarray()
    square[np.diag_indices(len(square))] += np.float32(l2)
    return square


def _factor(square: Scores, threads: int) -> Scores:
    """Cholesky's, in place: lower, as LAPACK reads columns where numpy has rows."""
    from scipy.linalg.lapack import spotrf
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, "blas"):
        factor, fault = spotrf(square.T, lower=1, overwrite_a=1, clean=0)
    assert fault == 0, f"LAPACK stopped at {fault} of {len(square)}"
    return np.asarray(factor)


def _inverse(factor: Scores, threads: int) -> Scores:
    """The inverse of what was factored, in place."""
    from scipy.linalg.lapack import spotri
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, "blas"):
        found, fault = spotri(factor, lower=1, overwrite_c=1)
    assert fault == 0, f"LAPACK stopped at {fault} of {len(factor)}"
    # LAPACK's lower triangle is our upper one
    inverse: Scores = found.T
    for start in range(0, len(inverse), BLOCK):
        here = slice(start, start + BLOCK)
        inverse[here, :start] = inverse[:start, here].T
        upper = np.triu(inverse[here, here])
        inverse[here, here] = upper + np.triu(upper, 1).T
    return inverse
