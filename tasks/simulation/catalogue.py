"""The world's music: artists and tracks with genres, lengths, popularity and audio features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.simulation import names

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AUDIO = (
    "danceability", "energy", "valence", "acousticness", "instrumentalness", "speechiness", "liveness",
    "loudness", "tempo",
)  # fmt: skip

# Genre: share of the artists, then mean audio features in the order of AUDIO and mean length in seconds.
# The means are those of public catalogues of Spotify audio features; the shares are made up.
_GENRES: dict[str, tuple[float, ...]] = {
    "pop": (0.13, 0.65, 0.69, 0.55, 0.18, 0.03, 0.08, 0.18, -6.4, 120, 213),
    "electropop": (0.05, 0.63, 0.67, 0.46, 0.19, 0.06, 0.08, 0.18, -6.5, 123, 212),
    "house": (0.05, 0.66, 0.74, 0.49, 0.12, 0.19, 0.08, 0.20, -7.3, 123, 240),
    "techno": (0.02, 0.67, 0.76, 0.45, 0.11, 0.47, 0.09, 0.17, -8.5, 128, 310),
    "drum and bass": (0.02, 0.53, 0.77, 0.32, 0.07, 0.16, 0.09, 0.20, -5.8, 135, 240),
    "rock": (0.10, 0.52, 0.63, 0.57, 0.24, 0.08, 0.06, 0.22, -10.2, 123, 240),
    "indie rock": (0.10, 0.52, 0.66, 0.49, 0.23, 0.14, 0.06, 0.19, -7.9, 124, 226),
    "metal": (0.04, 0.46, 0.83, 0.42, 0.06, 0.10, 0.08, 0.21, -6.0, 127, 240),
    "death metal": (0.01, 0.33, 0.90, 0.28, 0.02, 0.37, 0.10, 0.21, -7.1, 125, 262),
    "punk": (0.05, 0.53, 0.75, 0.46, 0.14, 0.06, 0.10, 0.20, -6.5, 130, 190),
    "hip hop": (0.12, 0.72, 0.67, 0.57, 0.17, 0.03, 0.20, 0.21, -7.2, 117, 208),
    "r&b": (0.05, 0.66, 0.57, 0.51, 0.28, 0.02, 0.12, 0.17, -7.9, 115, 218),
    "reggae": (0.02, 0.66, 0.69, 0.66, 0.19, 0.04, 0.12, 0.18, -7.3, 123, 222),
    "jazz": (0.02, 0.56, 0.42, 0.55, 0.61, 0.32, 0.06, 0.18, -13.0, 113, 262),
    "blues": (0.01, 0.54, 0.55, 0.61, 0.42, 0.10, 0.07, 0.21, -10.2, 121, 222),
    "folk": (0.04, 0.54, 0.47, 0.52, 0.51, 0.09, 0.06, 0.19, -11.0, 118, 218),
    "country": (0.03, 0.58, 0.56, 0.58, 0.37, 0.04, 0.05, 0.19, -9.4, 121, 205),
    "classical": (0.02, 0.33, 0.19, 0.25, 0.89, 0.50, 0.06, 0.17, -20.4, 103, 280),
    "new age": (0.01, 0.37, 0.25, 0.23, 0.77, 0.70, 0.04, 0.14, -17.8, 114, 270),
    "soundtrack": (0.02, 0.34, 0.33, 0.26, 0.66, 0.61, 0.05, 0.17, -15.9, 108, 190),
    "latin": (0.04, 0.68, 0.67, 0.62, 0.29, 0.02, 0.09, 0.19, -7.0, 121, 212),
    "bossa nova": (0.01, 0.57, 0.49, 0.63, 0.58, 0.12, 0.06, 0.18, -12.0, 114, 200),
    "k-pop": (0.03, 0.59, 0.73, 0.53, 0.21, 0.02, 0.07, 0.18, -5.6, 122, 210),
    "chanson": (0.01, 0.55, 0.37, 0.53, 0.69, 0.04, 0.09, 0.19, -12.7, 112, 200),
}
GENRES = tuple(_GENRES)
# Spread of an audio feature within a genre: about half is between artists, half within one
_SPREAD = np.array([0.14, 0.18, 0.20, 0.22, 0.16, 0.07, 0.11, 3.0, 22.0])
_LIMITS = np.array([[0, 1]] * 7 + [[-45.0, 0.0], [50.0, 210.0]])


@dataclass(frozen=True)
class Catalogue:
    """Tracks lie artist by artist: those of artist ``a`` are ``first[a] : first[a] + size[a]``,
    the best known first.

    ``artists``: artist, genre (index into GENRES), popularity (share of its genre's plays), quality
    (logit). ``tracks``: artist (index), title, album, uri, duration_ms, year, quality (logit) and AUDIO.
    ``shape``: (tracks, 4) float32, the audio features as four uncorrelated tastes can see them.
    """

    artists: pl.DataFrame
    tracks: pl.DataFrame
    shape: NDArray[np.float32]
    first: Ints
    size: Ints


def make(tracks: int, last_year: int, seed: int) -> Catalogue:
    """A catalogue of ``tracks`` tracks; the same seed gives the same one."""
    random = np.random.default_rng([seed, 1])
    count = max(1, tracks // 9)
    size = _sizes(tracks, count, random)
    count = len(size)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    share = np.array([values[0] for values in _GENRES.values()])
    genre = random.choice(len(GENRES), count, p=share / share.sum())
    # Zipf over the artists; the big ones have more tracks
    popularity = 1.0 / (5 + np.arange(count))
    artist_number = names.distinct(np.zeros(count, np.int64), np.arange(count))
    artists = pl.DataFrame(
        {
            "artist": names.artists(artist_number),
            "genre": genre,
            "popularity": popularity / popularity.sum(),
            "quality": random.normal(0, 0.3, count),
        }
    )
    return Catalogue(
        artists,
        *_tracks(np.repeat(np.arange(count), size), first, genre, last_year, random),
        first,
        size,
    )


def _sizes(tracks: int, count: int, random: np.random.Generator) -> Ints:
    """Tracks per artist, biggest first, at least one each, ``tracks`` in all."""
    weight = np.sort(random.lognormal(0, 0.9, count))[::-1]
    ends = np.round(np.cumsum(weight) / weight.sum() * (tracks - count)).astype(np.int64)
    size: Ints = np.diff(ends, prepend=0) + 1
    return size


def _tracks(
    artist: Ints, first: Ints, genre: Ints, last_year: int, random: np.random.Generator
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    rows, count = len(artist), len(first)
    table = np.array(list(_GENRES.values()))
    between = random.normal(0, 0.7, (count, len(AUDIO))) * _SPREAD
    audio = (table[genre, 1:10] + between)[artist] + random.normal(0, 0.7, (rows, len(AUDIO))) * _SPREAD
    audio = np.clip(audio, _LIMITS[:, 0], _LIMITS[:, 1])
    length = table[genre, 10] * random.lognormal(0, 0.1, count)
    duration = np.clip(length[artist] * random.lognormal(-0.02, 0.2, rows), 45, 900) * 1000
    place = np.arange(rows) - first[artist]
    album = place // 11
    debut = last_year - random.integers(0, 30, count) // (1 + random.integers(0, 4, count))
    year = np.minimum(debut[artist] + 2 * album, last_year)
    frame = pl.DataFrame(
        {
            "artist": artist,
            "title": names.titles(names.distinct(artist, place)),
            "album": names.titles(names.distinct(artist + 17, album * 11)),
            "uri": "spotify:track:" + names.codes(np.arange(rows), _BASE62, 22, 1),
            "duration_ms": duration.astype(np.int64),
            "year": year,
            "quality": random.normal(0, 0.35, rows),
        }
        | {name: audio[:, i].round(3) for i, name in enumerate(AUDIO)}
    )
    scaled = (audio - audio.mean(axis=0)) / np.maximum(audio.std(axis=0), 1e-9)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(AUDIO), len(AUDIO))))
    shape = scaled @ turn[:, :4]
    return frame, (shape / np.maximum(shape.std(axis=0), 1e-9)).astype(np.float32)


_BASE62 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
