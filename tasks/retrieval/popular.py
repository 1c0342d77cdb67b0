"""What many listen to just now, where the user lives and at the user's age."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.two_stage import Retrieval
from tasks.retrieval.protocol import Candidates, Codes, Heard, Listening, Scores, ranked
from tasks.retrieval.sparse import Sparse, candidates, collected, identity, scored, top

DAY = 86_400_000  # ticks
AGES = (18, 25, 35, 45, 55)  # where the next band of ages begins
PRIOR = 1_000.0  # listens of everyone that are mixed into each group's
LEAST = 100  # listens that make a group
EVERYONE = 0  # the group of all


@dataclass(frozen=True)
class Popular:
    """``group`` (users) is each user's; ``listens`` (groups, tracks) counts, ``total`` (groups) sums.

    ``share`` (tracks) is that of everyone's listens, ``order`` the tracks by it, the best first;
    ``heard`` (users, tracks) has all that was played, with its popularity for the user.
    """

    group: Codes
    listens: Sparse
    total: NDArray[np.float64]
    share: NDArray[np.float64]
    order: Codes
    heard: Sparse
    threads: int

    def retrieve(self, users: Codes, k: int, heard: Heard) -> Candidates:
        """The most popular tracks in each user's group; users without plays are served too.

        A group has one list, from whose beginning each of its users is served.
        """
        from tasks.retrieval import kernels

        if heard == "only":
            itself = identity(len(self.share))
            return candidates(users, top(self.heard, itself, users, k, self.heard, heard, self.threads))
        k = min(k, len(self.order))
        scores = np.empty((len(users), k), np.float32)
        tracks = np.empty((len(users), k), np.int32)
        found = np.zeros(len(users), np.int32)
        starts = self.heard.starts if heard == "exclude" else np.zeros_like(self.heard.starts)
        mark = np.full(len(self.share), -1, np.int64)
        groups = self.group[users]
        for group in np.unique(groups):
            places = np.flatnonzero(groups == group)
            members = users[places]
            played = int((starts[members + 1] - starts[members]).max())
            order, value = self._first(group, k + played)
            kernels.walk(
                members, places, order, value, starts, self.heard.columns, mark, scores, tracks, found
            )
        there = np.arange(k) < found[:, None]
        return ranked(np.repeat(users, found), tracks[there], scores[there])

    def score(self, user: Codes, track: Codes) -> Scores:
        """The popularity of the track in the user's group; NaN where nobody played it of late."""
        group = self.group[user]
        listens = scored(self.listens, identity(len(self.share)), group, track, self.threads)
        return _popularity(np.nan_to_num(listens), self.total[group], self.share[track])

    def _first(self, group: int, size: int) -> tuple[Codes, Scores]:
        """The ``size`` most popular tracks of a group, with their popularity.

        A track without listens in the group is among them only if it is among everyone's first.
        """
        row = slice(self.listens.starts[group], self.listens.starts[group + 1])
        own = self.listens.columns[row]
        tracks = np.union1d(own, self.order[:size])
        listens = np.zeros(len(tracks), np.float32)
        listens[np.searchsorted(tracks, own)] = self.listens.values[row]
        value = _popularity(listens, self.total[group], self.share[tracks])
        first = _best(value, size)
        return tracks[first], value[first]


def fit(listening: Listening, settings: Retrieval, threads: int, seed: int) -> Popular:
    """Count each (user, track, day) of the newest ``settings.popular_days`` once: a listen.

    So a song on repeat lifts nothing, while a single listener's habits still show. Without a clock
    there are no days: each (user, track) of all rows counts once. Popularity in a group is
    (listens in it + PRIOR · everyone's share) / (all listens in it + PRIOR). A user's group is the
    first of country and age, country, age, everyone that is known and has LEAST listens; a source
    with cities and no countries has those.
    """
    del seed
    height, width = listening.users.height, listening.tracks.height
    user, track = _listens(listening, settings.popular_days)
    place, age = _place(listening.users), _age(listening.users)
    # from the general to the particular; 0 stands for unknown, and for all
    levels = [
        (np.zeros(height, np.int64), np.ones(height, bool)),
        (age, age > 0),
        (place * (len(AGES) + 2), place > 0),
        (place * (len(AGES) + 2) + age, (place > 0) & (age > 0)),
    ]
    counted = [known[user] for _, known in levels]
    keys = np.concatenate([key[user[rows]] for (key, _), rows in zip(levels, counted, strict=True)])
    names, sizes = np.unique(keys, return_counts=True)
    names = np.union1d([EVERYONE], names[sizes >= LEAST])
    row, there = _positions(names, keys)
    column = np.concatenate([track[rows] for rows in counted])
    listens = collected(row[there], column[there], None, len(names), width)
    total = np.bincount(listens.rows, listens.values, minlength=len(names)).astype(np.float64)
    share = np.zeros(width)
    everyone = slice(0, listens.starts[EVERYONE + 1])
    share[listens.columns[everyone]] = listens.values[everyone] / max(total[EVERYONE], 1)
    group = np.zeros(height, np.int32)
    for key, known in levels:
        row, there = _positions(names, key)
        group = np.where(there & known, row, group)
    played = np.flatnonzero(share)
    order = played[np.lexsort((played, -share[played]))].astype(np.int32)
    heard = collected(listening.user, listening.track, None, height, width)
    fitted = Popular(group.astype(np.int32), listens, total, share, order, heard, threads)
    popularity = np.nan_to_num(fitted.score(heard.rows, heard.columns))
    return replace(fitted, heard=replace(heard, values=popularity))


def _listens(listening: Listening, days: int) -> tuple[Codes, Codes]:
    """User and track of each distinct (user, track, day) of late."""
    user, track, day = listening.user, listening.track, np.zeros(len(listening.tick), np.int64)
    if listening.clock == "time":
        late = listening.tick >= listening.at - days * DAY
        # counted back from the cutoff, so that a window is whole days
        user, track, day = user[late], track[late], (listening.at - 1 - listening.tick[late]) // DAY
    span = int(day.max(initial=0)) + 1
    width = listening.tracks.height
    pair = np.unique((user.astype(np.int64) * width + track) * span + day) // span
    return (pair // max(width, 1)).astype(np.int32), (pair % max(width, 1)).astype(np.int32)


def _popularity(
    listens: NDArray[np.float32], total: NDArray[np.float64] | np.float64, share: NDArray[np.float64]
) -> Scores:
    """NaN where everyone's share is zero."""
    popularity = (PRIOR * share + listens) / (total + PRIOR)
    return np.where(share > 0, popularity, np.nan).astype(np.float32)


def _best(value: Scores, size: int) -> NDArray[np.intp]:
    """Where the ``size`` largest of the values above zero lie, in order, of equal ones the first."""
    # floats above zero are in the order of their bits
    key = (value.view(np.int32).astype(np.int64) << 32) - np.arange(len(value))
    best = np.argpartition(-key, size)[:size] if size < len(key) else np.arange(len(key))
    return best[np.argsort(-key[best])]


def _positions(names: NDArray[np.int64], keys: NDArray[np.int64]) -> tuple[Codes, NDArray[np.bool_]]:
    """Where each key lies in the rising ``names``, and whether it does."""
    row = np.minimum(np.searchsorted(names, keys), len(names) - 1)
    return row.astype(np.int32), names[row] == keys


def _place(users: pl.DataFrame) -> NDArray[np.int64]:
    """1.. for each country, or city where there are no countries; 0 for unknown."""
    known = [name for name in ("country", "city") if name in users.columns and users[name].count()][:1]
    if not known:
        return np.zeros(users.height, np.int64)
    return users[known[0]].rank("dense").fill_null(0).cast(pl.Int64).to_numpy()


def _age(users: pl.DataFrame) -> NDArray[np.int64]:
    """1.. for each band of ages; 0 for unknown."""
    if "age" not in users.columns:
        return np.zeros(users.height, np.int64)
    age = users["age"].cast(pl.Int64)
    band = np.searchsorted(AGES, age.fill_null(0).to_numpy(), side="right") + 1
    return np.where(age.is_null().to_numpy(), 0, band).astype(np.int64)
