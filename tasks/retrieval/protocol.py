"""What a retriever is: fitted on the plays before a cutoff, then asked for the tracks of some users.

Users and tracks are dense integers throughout; what they stand for is the caller's to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.two_stage import Retrieval

Codes = NDArray[np.int32]
Scores = NDArray[np.float32]
Heard = Literal["include", "exclude", "only"]  # tracks that the user has played before


@dataclass(frozen=True)
class Listening:
    """The plays before a cutoff, in time order, and what is known of their users and tracks.

    ``user``, ``track`` (int32) and ``tick`` (int64, milliseconds with a clock, rows without) have a
    place per play. ``users`` and ``tracks`` are frames whose row i describes user or track i: users
    with the columns of their table in ``schemas.tables``, tracks with track_id, artist, genres and
    AUDIO; users without plays and, from a catalogue, tracks without plays may be among them. ``at``
    is the cutoff's tick: every ``tick`` lies below.
    ``tags``, where the source dates them, has a row for each tag given before: track and tag (Int32).
    """

    user: Codes
    track: Codes
    tick: NDArray[np.int64]
    users: pl.DataFrame
    tracks: pl.DataFrame
    at: int
    clock: str
    tags: pl.DataFrame | None = None


@dataclass(frozen=True)
class Candidates:
    """At most k tracks a user, as columns: by user in the order asked for, then by rank.

    ``score`` (float32) is the retriever's own, larger is better; ``rank`` (int32) is 1-based.
    """

    user: Codes
    track: Codes
    score: Scores
    rank: Codes


class Retriever(Protocol):
    """A fitted retriever. The same users and k give the same answer, however users are batched."""

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The k best tracks of each of ``users`` (distinct), fewer where it has no more.

        A user for whom the retriever knows nothing gets none. Equal scores go by the smaller track.
        """
        ...

    def score(self, user: Codes, track: Codes) -> Scores:
        """The score of each pair, whether or not it was retrieved; NaN where there is none."""
        ...


class Kind(Protocol):
    """A retriever's module."""

    def fit(self, listening: Listening, settings: Retrieval, threads: int, seed: int) -> Retriever:
        """Fit on ``listening``."""
        ...


def ranked(user: NDArray[Any], track: NDArray[Any], score: NDArray[Any]) -> Candidates:
    """Candidates with ranks, of rows that lie by user, then by falling score and rising track."""
    size = len(user)
    first = np.ones(size, bool)
    first[1:] = user[1:] != user[:-1]
    starts = np.flatnonzero(first)
    rank = np.arange(size) - np.repeat(starts, np.diff(np.append(starts, size))) + 1
    return Candidates(
        user.astype(np.int32), track.astype(np.int32), score.astype(np.float32), rank.astype(np.int32)
    )
