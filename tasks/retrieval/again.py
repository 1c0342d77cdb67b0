"""The user's own earlier tracks: most plays are repeats."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.two_stage import Retrieval
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.sparse import Sparse, candidates, collected, identity, scored, top

DAY = 86_400_000  # ticks
DECAY = 0.5


@dataclass(frozen=True)
class Again:
    """``strength`` (users, tracks) of what each user has played."""

    strength: Sparse
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The user's strongest tracks; none with ``heard="exclude"``."""
        itself = identity(self.strength.width)
        found = top(self.strength, itself, users, k, self.strength, heard, self.threads)
        return candidates(users, found)

    def score(self, user: Codes, track: Codes) -> Scores:
        """The strength; NaN for a track that the user has not played."""
        return scored(self.strength, identity(self.strength.width), user, track, self.threads)


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Again:
    """Sum (1 + age) ** −DECAY over a user's plays of a track: recency and rate in one number.

    Age is in days with a clock, in rows without. The base-level activation of ACT-R (Anderson and
    Schooler 1991), which unlike a half-life forgets nothing and needs no time scale.
    """
    del settings, seed
    unit = DAY if listening.clock == "time" else 1
    age = (listening.at - listening.tick) / unit
    strength = collected(
        listening.user,
        listening.track,
        (1 + age) ** -DECAY,
        listening.users.height,
        listening.tracks.height,
    )
    return Again(strength, threads)
