"""Tracks that carry the tags of what the user plays, whoever gave them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.two_stage import Retrieval
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.recency import freshness
from tasks.retrieval.sparse import Sparse, candidates, collected, identity, scored, top, transposed

HALF_LIFE = 270  # days after which a user's newest play of a track asks half as loud, with a clock
PRIOR = 20.0  # added to the length of each track's tags, so that two tags are no likeness yet
KEPT = 500  # strongest tags of a user's profile: bounds the time a user takes


@dataclass(frozen=True)
class Tags:
    """``profiles`` (users, tags) ask, ``tagged`` (tags, tracks) answers, ``heard`` is all plays."""

    profiles: Sparse
    tagged: Sparse
    heard: Sparse
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The tracks whose tags are most alike the user's profile."""
        found = top(self.profiles, self.tagged, users, k, self.heard, heard, self.threads)
        return candidates(users, found)

    def score(self, user: Codes, track: Codes) -> Scores:
        """The same likeness; NaN where the two have no tag in common, or one has none."""
        return scored(self.profiles, self.tagged, user, track, self.threads)


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Tags:
    """Weigh the tags of each track, and add up those of each user's tracks.

    A tag given c times to a track weighs ln(1 + c) · idf, with idf = ln(1 + (n - n_t + ½) / (n_t + ½)),
    n tracks with tags, n_t of them with this one. A user's profile is the sum over their tracks of
    the track's weights, of length 1, times 0.5 ** (age of the newest play / HALF_LIFE). The score is
    the product of the profile, of length 1, and the track's weights divided by their length + PRIOR:
    a cosine of tracks that many have tagged, far less of the others.
    """
    del settings, seed
    users, tracks = listening.users.height, listening.tracks.height
    heard = collected(listening.user, listening.track, None, users, tracks)
    given = listening.tags
    if given is None or given.is_empty():
        nothing = np.zeros(0, np.int32)
        none = collected(nothing, nothing, None, users, 0)
        return Tags(none, collected(nothing, nothing, None, 0, tracks), heard, threads)
    track, tag = given["track"].to_numpy(), given["tag"].to_numpy()
    weights = _weights(collected(track, tag, None, tracks, int(tag.max()) + 1))
    length = np.sqrt(np.bincount(weights.rows, weights.values.astype(np.float64) ** 2, tracks))
    everyone, alone = np.arange(users, dtype=np.int32), identity(weights.width)
    recent = Sparse(heard.starts, heard.columns, freshness(listening, HALF_LIFE), tracks)
    profiles = top(recent, _divided(weights, length), everyone, KEPT, alone, "include", threads)
    size = np.sqrt(np.bincount(profiles.rows, profiles.values.astype(np.float64) ** 2, users))
    return Tags(_divided(profiles, size), transposed(_divided(weights, length + PRIOR)), heard, threads)


def _weights(counts: Sparse) -> Sparse:
    """Counts of tags (tracks, tags) as weights: the logarithm, times how rare the tag is."""
    described = np.count_nonzero(np.diff(counts.starts))
    with_tag = np.bincount(counts.columns, minlength=counts.width)
    rarity = np.log1p((described - with_tag + 0.5) / (with_tag + 0.5))
    weight = np.log1p(counts.values.astype(np.float64)) * rarity[counts.columns]
    return Sparse(counts.starts, counts.columns, weight.astype(np.float32), counts.width)


def _divided(matrix: Sparse, length: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Sparse:
    """Each row divided by its number of ``length``."""
    values = (matrix.values / length[matrix.rows]).astype(np.float32)
    return Sparse(matrix.starts, matrix.columns, values, matrix.width)
