"""How new each user's newest play of each of their tracks is."""

from __future__ import annotations

import numpy as np

from tasks.retrieval.protocol import Listening, Scores

DAY = 86_400_000  # milliseconds
OLDEST = 100  # half-lives that a weight falls at most: below, a float of 32 bits would be 0


def freshness(listening: Listening, half_life_days: float) -> Scores:
    """0.5 ** (age of the newest play / half-life) of each distinct (user, track), by user and track.

    (pairs,) float32, above 0; ones without a clock, where ages have no days.
    """
    tracks = listening.tracks.height
    key = listening.user.astype(np.int64) * tracks + listening.track
    order = np.argsort(key, kind="stable")  # in time order within each pair
    last = np.ones(len(key), bool)
    last[:-1] = np.diff(key[order]) > 0
    newest = listening.tick[order[last]]
    if listening.clock != "time":
        return np.ones(len(newest), np.float32)
    age = (listening.at - newest) / DAY
    return np.exp2(-np.minimum(age / half_life_days, OLDEST)).astype(np.float32)
