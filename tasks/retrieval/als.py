"""Alternating least squares on play counts, by the implicit library: Hu, Koren & Volinsky 2008.

Imported lazily: it compiles and loads native code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from schemas.two_stage import Als, Retrieval
from tasks.retrieval import topk
from tasks.retrieval.item_knn import bm25
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.recency import freshness
from tasks.retrieval.sparse import Sparse


@dataclass(frozen=True)
class Fitted:
    """Factors of every user and track, (n, factors) float32, zero for those without plays."""

    user_factors: Scores
    track_factors: Scores
    heard: topk.Pairs
    threads: int

    @cached_property
    def _catalogue(self) -> topk.Catalogue:
        return topk.catalogue(self.track_factors)

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        return topk.top(self.user_factors, self._catalogue, users, k, self.heard, heard, self.threads)

    def score(self, user: Codes, track: Codes) -> Scores:
        return topk.score(self.user_factors, self.track_factors, user, track)


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Fitted:
    """Fit ``settings.als`` on the plays of each pair of user and track.

    The confidence of a pair that was played is 1 + alpha · weight, of any other 1; the weight is the
    number of plays, ln(1 + number) or its BM25, times 0.5 ** (age of the newest / half-life) where
    ``half_life_days`` is not 0 and there is a clock. implicit takes what it is given for the
    confidence, times its own alpha and without the 1, so that it is given ours and an alpha of 1.
    Each factor is solved alone, in whichever thread: the same seed and plays give the same factors,
    whatever ``threads``.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    users, tracks = len(listening.users), len(listening.tracks)
    heard = topk.pairs(listening.user, listening.track, users, tracks)
    if not len(heard.track):
        none = settings.als.factors
        return Fitted(
            np.zeros((users, none), np.float32), np.zeros((tracks, none), np.float32), heard, threads
        )
    confidence = 1 + np.float32(settings.als.alpha) * _weights(listening, heard, settings.als)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=settings.als.factors,
            regularization=settings.als.regularization,
            alpha=1.0,
            iterations=settings.als.iterations,
            num_threads=threads,
            random_state=seed,
        )
        given = csr_matrix((confidence, heard.track, heard.start), (users, tracks))
        model.fit(given, show_progress=False)
    return Fitted(model.user_factors, model.item_factors, heard, threads)


def _weights(listening: Listening, heard: topk.Pairs, settings: Als) -> Scores:
    """What each pair's plays add to its confidence, by alpha; (pairs,) float32."""
    weight = heard.count
    if settings.weighting == "log":
        weight = np.log1p(weight)
    elif settings.weighting == "bm25":
        counts = Sparse(heard.start, heard.track, heard.count, len(listening.tracks))
        weight = bm25(counts).values
    if settings.half_life_days:
        weight = weight * freshness(listening, settings.half_life_days)
    return weight
