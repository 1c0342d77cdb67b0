"""Tracks like those that the user plays: the same listeners play both, weighted by BM25."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.two_stage import Retrieval
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.sparse import Sparse, candidates, collected, identity, scored, top, transposed

K1 = 1.2  # how soon more plays of the same track stop counting
B = 0.75  # how much a user with many plays counts less for each


@dataclass(frozen=True)
class ItemKnn:
    """``weights`` (users, tracks) and ``similar`` (tracks, tracks): each track's best neighbours."""

    weights: Sparse
    similar: Sparse
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The tracks with the largest weight × similarity, summed over what the user has played."""
        found = top(self.weights, self.similar, users, k, self.weights, heard, self.threads)
        return candidates(users, found)

    def score(self, user: Codes, track: Codes) -> Scores:
        """The same sums; NaN where no track of the user has this one as a neighbour."""
        return scored(self.weights, self.similar, user, track, self.threads)


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> ItemKnn:
    """Weigh the counts and keep each track's ``settings.neighbours`` nearest, itself not among them.

    Time grows with the sum over users of their distinct tracks squared.
    """
    del seed
    plays = collected(
        listening.user, listening.track, None, listening.users.height, listening.tracks.height
    )
    weights = bm25(plays)
    tracks = np.arange(weights.width, dtype=np.int32)
    users, itself = transposed(weights), identity(weights.width)
    similar = top(users, weights, tracks, settings.neighbours, itself, "exclude", threads)
    return ItemKnn(weights, similar, threads)


def bm25(plays: Sparse) -> Sparse:
    """Play counts as BM25 weights, the user being the document and the track the term.

    idf(t) · c (K1 + 1) / (c + K1 (1 − B + B · plays of the user / mean plays of a user)) with
    idf(t) = ln(1 + (n − n_t + ½) / (n_t + ½)), n users with plays, n_t of them with track t:
    Robertson and Zaragoza 2009, the idf as in Lucene, which is never negative.
    """
    height = len(plays.starts) - 1
    count = plays.values.astype(np.float64)
    length = np.bincount(plays.rows, count, minlength=height)
    active = np.count_nonzero(length)
    mean = length.sum() / max(active, 1)
    listeners = np.bincount(plays.columns, minlength=plays.width)
    idf = np.log1p((active - listeners + 0.5) / (listeners + 0.5))
    full = K1 * (1 - B + B * length[plays.rows] / mean)
    weight = idf[plays.columns] * count * (K1 + 1) / (count + full)
    return Sparse(plays.starts, plays.columns, weight.astype(np.float32), plays.width)
