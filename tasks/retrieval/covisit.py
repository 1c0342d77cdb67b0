"""Tracks that share a session with what the user has played of late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas.two_stage import Retrieval
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.sparse import Sparse, by_blocks, candidates, collected, scored, top

GAP = 30 * 60 * 1000  # ticks between two starts that end a session
REACH = 10  # plays before and after that keep a play company
PRIOR = 5.0  # plays added to each track's, so that one shared session of two rare tracks is little
RECENT = 100  # newest plays of a user that ask for company
HALF = 20  # plays after which one of them asks half as loud


@dataclass(frozen=True)
class Covisit:
    """``recent`` (users, tracks) asks, ``company`` (tracks, tracks) answers, ``heard`` is all plays."""

    recent: Sparse
    company: Sparse
    heard: Sparse
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The tracks with the largest recency × company, summed over the user's newest plays."""
        found = top(self.recent, self.company, users, k, self.heard, heard, self.threads)
        return candidates(users, found)

    def score(self, user: Codes, track: Codes) -> Scores:
        """The same sums; NaN where no recent track of the user has this one as a neighbour."""
        return scored(self.recent, self.company, user, track, self.threads)


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Covisit:
    """Count company in sessions and keep each track's ``settings.neighbours`` closest.

    Two plays of a session at distance d ≤ REACH add 1 / d; the sum for tracks a and b is divided by
    √((plays of a + PRIOR) (plays of b + PRIOR)), a cosine. A session ends after GAP; without a clock
    it is the user's whole list. A user's n-th newest play asks with 2 ** (−n / HALF).
    """
    del seed
    users, tracks = listening.users.height, listening.tracks.height
    order = np.argsort(listening.user, kind="stable")  # in time order within each user
    user, track = listening.user[order], listening.track[order]
    starts_anew = np.ones(len(user), bool)
    starts_anew[1:] = user[1:] != user[:-1]
    plays = np.bincount(user, minlength=users)
    newest = np.repeat(np.cumsum(plays), plays) - 1 - np.arange(len(user))  # 0 is the newest
    if listening.clock == "time":
        starts_anew[1:] |= np.diff(listening.tick[order]) > GAP
    company = _company(track, np.cumsum(starts_anew, dtype=np.int32), tracks, settings, threads)
    asks = newest < RECENT
    recency = np.exp2(-newest[asks] / HALF)
    return Covisit(
        collected(user[asks], track[asks], recency, users, tracks),
        company,
        collected(user, track, None, users, tracks),
        threads,
    )


def _company(track: Codes, session: Codes, size: int, settings: Retrieval, threads: int) -> Sparse:
    """Each track's closest others, with their cosines."""
    from tasks.retrieval import kernels

    plays = np.bincount(track, minlength=size)
    places = np.argsort(track, kind="stable").astype(np.int32)
    starts = np.append(0, np.cumsum(plays))
    decay = np.append(0.0, 1 / np.arange(1, REACH + 1))
    scale = 1 / np.sqrt(plays + PRIOR)

    def best(block: Codes, scores: Scores, tracks: Codes, found: Codes) -> None:
        kernels.top_company(block, starts, places, session, track, decay, scale, scores, tracks, found)

    asked = np.arange(size, dtype=np.int32)
    return by_blocks(best, asked, settings.neighbours, size, threads)
