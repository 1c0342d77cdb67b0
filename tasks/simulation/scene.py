"""What the compiled loop reads and writes: the lists of words that its numbers stand for, and arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

STARTS = ("clickrow", "trackdone", "fwdbtn", "backbtn", "playbtn", "appload", "remote", "unknown")
ENDS = (
    "trackdone", "fwdbtn", "endplay", "backbtn", "trackerror", "unexpected-exit",
    "unexpected-exit-while-paused", "logout",
)  # fmt: skip
# How a track came up; a real export does not show it, KKBox does.
ORIGINS = ("library", "playlist", "discovery", "radio", "artist", "album", "search", "friend")

EPISODE = -1  # the track of a play that is a podcast's episode

Array = NDArray[Any]


class Music(NamedTuple):
    """The catalogue; artists of genre ``g`` are ``by_genre[genre_first[g] : genre_first[g + 1]]``."""

    first: Array
    size: Array
    artist: Array
    duration: Array
    quality: Array  # of a track and its artist together, logit
    shape: Array
    genre: Array  # of an artist
    genre_first: Array
    by_genre: Array
    cumulative: Array  # popularity within the genre, in the order of by_genre


class Listener(NamedTuple):
    """One listener."""

    seed: int  # fixes what no feature explains of their taste
    offset: int  # ms ahead of UTC
    plays_a_day: float
    patience: float  # logit
    curiosity: float  # shares from here on
    shuffles: float
    binges: float
    podcasts: float
    offline: float
    genres: Array  # cumulative share of new music by genre
    liking: Array  # logit by genre
    tastes: Array  # weights of a track's shape
    devices: Array  # platform by kind of device
    outages: Array  # rows of start (sorted), end (ms), severity


class Log(NamedTuple):
    """What happened, one row a play."""

    ended: Array  # ms, whole seconds
    ms_played: Array
    track: Array
    probability: Array
    start: Array
    end: Array
    platform: Array
    shuffle: Array
    offline: Array
    origin: Array
    connection_errors: Array
    playback_errors: Array


# The kernel's own forms: one array of records keeps a play, or what is known of a track, together
PLAY = np.dtype(
    [
        ("ended", np.int64), ("ms_played", np.int32), ("track", np.int32), ("probability", np.float64),
        ("start", np.int8), ("end", np.int8), ("platform", np.int8), ("shuffle", np.bool_),
        ("offline", np.bool_), ("origin", np.int8), ("connection_errors", np.int8),
        ("playback_errors", np.int8),
    ]
)  # fmt: skip
# A listener's memory of a track: plays, end of the latest (ms), plays lately (halved every day since)
MEMORY = np.dtype([("last", np.int64), ("times", np.int32), ("heat", np.float32)])
