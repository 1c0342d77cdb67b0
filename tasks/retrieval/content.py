"""Tracks that sound like what the user plays, or are of the same artists and genres, heard or not.

A track is a few words: its artist, its genres, and the kinds of sound it is nearest to. A user is the
words of what they have played. So a user has as many tastes as words, and none is an average of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.two_stage import Retrieval
from tasks.retrieval.audio import NOTES, standardised
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores
from tasks.retrieval.sparse import Sparse, candidates, collected, scored, top, transposed

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DAY = 86_400_000  # ticks
DECAY = 0.5  # of a play's weight with its age, as in `again`
# What each kind of word weighs. Measured on nine windows of a person's export and 63,641 tracks: of
# the unheard tracks of the catalogue that were played next, artists alone bring .09 into the first
# 200, genres .05, sounds .01, the three together .12; nothing is gained by keys, modes and years.
ARTIST, GENRE, SOUND = 1.0, 1.0, 0.1
# Of an artist, one play says nearly as much as many: all artists, then, before more of one
FLAT = 0.25
SOUNDS = 64  # kinds of sound
NEAREST = 3  # of them make up a track
SAMPLE = 20_000  # tracks that the kinds are found on
BLOCK = 65_536  # tracks whose distances are held at once


@dataclass(frozen=True)
class Content:
    """``tastes`` (users, words), ``tracks`` (words, tracks), ``heard`` (users, tracks): all plays."""

    tastes: Sparse
    tracks: Sparse
    heard: Sparse
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The tracks with the largest taste × word, summed over the words that both have."""
        found = top(self.tastes, self.tracks, users, k, self.heard, heard, self.threads)
        return candidates(users, found)

    def score(self, user: Codes, track: Codes) -> Scores:
        """The same sums; NaN for a track without a word of the user's."""
        return scored(self.tastes, self.tracks, user, track, self.threads)


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Content:
    """Put all known tracks into words, and each user's plays into weights of these.

    A play weighs (1 + age) ** −DECAY, age in days with a clock, in rows without. By kind of word: an
    artist's weight is (sum / the largest) ** FLAT; genres and sounds are vectors of length 1, the
    sounds' of square roots of sums. ``seed`` draws the tracks that the kinds of sound are found on.
    Memory: about 16 bytes for each word of a track and of a user.
    """
    from scipy.sparse import hstack

    del settings
    users, tracks = listening.users.height, listening.tracks.height
    age = (listening.at - listening.tick) / (DAY if listening.clock == "time" else 1)
    strength = collected(listening.user, listening.track, (1 + age) ** -DECAY, users, tracks)
    plays = _matrix(strength)
    artists, genres = _artists(listening.tracks), _genres(listening.tracks)
    sounds = _sounds(listening.tracks, seed)
    by_artist = plays @ artists
    by_artist.data = ARTIST * (by_artist.data / _largest(by_artist)[_rows(by_artist)]) ** FLAT
    by_sound = plays @ sounds
    by_sound.data = np.sqrt(by_sound.data)
    tastes = [by_artist, GENRE * _unit(plays @ genres), SOUND * _unit(by_sound)]
    words = _sparse(hstack([artists, genres, sounds], format="csr"))
    return Content(_sparse(hstack(tastes, format="csr")), transposed(words), strength, threads)


def _artists(tracks: pl.DataFrame) -> csr_array:
    """A one for each track's artist, however the name's letters are cased."""
    code = tracks["artist"].str.to_lowercase().rank("dense")
    rows = code.is_not_null().arg_true().to_numpy()
    columns = code.drop_nulls().cast(pl.Int64).to_numpy() - 1
    return _csr(rows, columns, np.ones(len(rows)), tracks.height)


def _genres(tracks: pl.DataFrame) -> csr_array:
    """Genres of each track, the rarer ones with more weight, as vectors of length 1."""
    listed = (
        tracks.select("genres")
        .with_row_index("track")
        .explode("genres", empty_as_null=True)
        .drop_nulls()
        .unique(maintain_order=True)
    )
    rows = listed["track"].to_numpy().astype(np.int64)
    columns = listed["genres"].rank("dense").cast(pl.Int64).to_numpy() - 1
    held = np.bincount(columns)
    return _unit(_csr(rows, columns, np.log1p(tracks.height / held[columns]), tracks.height))


def _sounds(tracks: pl.DataFrame, seed: int) -> csr_array:
    """How near each measured track lies to its NEAREST kinds of sound, as vectors of length 1.

    Kinds are centres of k-means over standardised features; what is not measured lies in the middle.
    """
    from scipy.cluster.vq import kmeans2
    from scipy.spatial.distance import cdist
    from threadpoolctl import threadpool_limits

    features = standardised(tracks).drop(NOTES)
    measured = features.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    if measured.is_empty():
        return _csr(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), tracks.height)
    points = features[measured].fill_null(0.0).to_numpy().astype(np.float64)
    random = np.random.default_rng(seed)
    drawn = points[np.sort(random.choice(len(points), min(SAMPLE, len(points)), replace=False))]
    kinds = min(SOUNDS, len(np.unique(drawn, axis=0)))
    with threadpool_limits(1, "blas"):  # the same sums whatever the machine's threads
        centres, _ = kmeans2(drawn, kinds, minit="++", rng=random)
    nearest = min(NEAREST, kinds)
    near = np.empty((len(points), nearest), np.int64)
    weight = np.empty((len(points), nearest))
    for start in range(0, len(points), BLOCK):
        apart = cdist(points[start : start + BLOCK], centres, "sqeuclidean")
        place = np.argsort(apart, axis=1, kind="stable")[:, :nearest]
        apart = np.take_along_axis(apart, place, axis=1)
        near[start : start + BLOCK] = place
        # a floor, so that rounding to float32 leaves no word without weight
        weight[start : start + BLOCK] = np.maximum(np.exp((apart[:, :1] - apart) / 2), 1e-9)
    rows = np.repeat(measured.to_numpy().astype(np.int64), nearest)
    return _unit(_csr(rows, near.ravel(), weight.ravel(), tracks.height))


def _csr(
    rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float64], height: int
) -> csr_array:
    from scipy.sparse import csr_array

    width = int(columns.max(initial=-1)) + 1
    return csr_array((values, (rows, columns)), (height, width))


def _unit(matrix: csr_array) -> csr_array:
    """Rows of length 1, but for those without an entry."""
    squares = np.bincount(_rows(matrix), matrix.data**2, minlength=matrix.shape[0])
    matrix.data = matrix.data / np.sqrt(squares)[_rows(matrix)]
    return matrix


def _largest(matrix: csr_array) -> NDArray[np.float64]:
    largest = np.zeros(matrix.shape[0])
    np.maximum.at(largest, _rows(matrix), matrix.data)
    return largest


def _rows(matrix: csr_array) -> NDArray[np.int64]:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _matrix(matrix: Sparse) -> csr_array:
    from scipy.sparse import csr_array

    shape = (len(matrix.starts) - 1, matrix.width)
    return csr_array((matrix.values.astype(np.float64), matrix.columns, matrix.starts), shape)


def _sparse(matrix: csr_array) -> Sparse:
    matrix.sort_indices()
    return Sparse(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
        matrix.shape[1],
    )
