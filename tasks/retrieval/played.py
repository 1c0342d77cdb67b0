"""Tracks with plays among all known ones: what a catalogue adds, most retrievers never see.

So these give the same answers in the same time and memory, however large the catalogue is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Retriever, Scores


def played(listening: Listening) -> tuple[Listening, Codes]:
    """``listening`` of the tracks with plays alone, and their codes among all known ones, rising.

    Without any play all tracks stay. Tags, which number all known tracks, do not come along.
    """
    tracks, places = np.unique(listening.track, return_inverse=True)
    if len(tracks) in (0, listening.tracks.height):
        return listening, np.arange(listening.tracks.height, dtype=np.int32)
    own = replace(listening, track=places.astype(np.int32), tracks=listening.tracks[tracks], tags=None)
    return own, tracks.astype(np.int32)


@dataclass(frozen=True)
class OfPlayed:
    """A retriever of ``tracks``, answering in the codes of all ``width`` known ones."""

    own: Retriever
    tracks: Codes
    width: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """What the retriever finds; codes rise together, so that ties fall the same way."""
        found = self.own.retrieve(users, k, heard)
        return replace(found, track=self.tracks[found.track])

    def score(self, user: Codes, track: Codes) -> Scores:
        """The retriever's score; NaN for a track without plays."""
        place = np.full(self.width, -1, np.int32)
        place[self.tracks] = np.arange(len(self.tracks), dtype=np.int32)
        there = place[track] >= 0
        out = np.full(len(track), np.nan, np.float32)
        out[there] = self.own.score(user[there], place[track[there]])
        return out
