"""The recommender that is served: candidates as of a cutoff, and the ranker that orders them live.

Everything lies in one folder, without pickle: Parquet, the booster's text, JSON. A user's answer is
made of the same rows by the same code as the published list, so both are the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.ranking.protocol import ListRanker
from tasks.two_stage import candidates, lists
from tasks.two_stage.evaluation import MODES

TABLES = ("candidates", "users", "tracks", "cold", "about")
MOST = 1_000  # longest list that is served


@dataclass(frozen=True)
class Recommender:
    """Candidates by user, features of users and tracks by place, and what tracks are called.

    ``starts`` (users + 1) are the first rows of each user's candidates; ``cold`` (track, score) is
    what somebody unknown gets.
    """

    candidates: pl.DataFrame
    users: pl.DataFrame
    tracks: pl.DataFrame
    cold: pl.DataFrame
    about: pl.DataFrame
    ranker: ListRanker
    place: Mapping[str, int]
    starts: NDArray[np.int64]
    facts: Mapping[str, Any]

    def answer(self, user_id: str, k: int, heard: str) -> dict[str, Any]:
        """The list of one user, best first; of an unknown one what is popular (``known`` is false).

        Raises ValueError for k below 1 or above MOST, or an unknown ``heard``.
        """
        if not 1 <= k <= MOST:
            raise ValueError(f"k is {k}; it may be 1 to {MOST}")
        if heard not in MODES:
            raise ValueError(f"heard is {heard!r}; it may be {', '.join(MODES)}")
        place = self.place.get(user_id)
        listed = self._cold(k) if place is None else self._ranked(place, k, heard)
        named = listed.hstack(self.about[listed["track"]]).select(
            "rank", "track_id", "name", "artist", "uri", "score", "probability"
        )
        return {
            "user_id": user_id,
            "known": place is not None,
            "recommendations": named.to_dicts(),
            **self.facts,
        }

    def _ranked(self, place: int, k: int, heard: str) -> pl.DataFrame:
        start, end = self.starts[place], self.starts[place + 1]
        own = self.candidates[int(start) : int(end)]
        order = self.ranker.order(candidates.beside(own, self.users, self.tracks))
        best = lists.top(own.with_columns(score=pl.Series(order)).filter(MODES[heard]), k)
        return best.with_columns(
            probability=pl.Series(self.ranker.probability(best["score"].to_numpy()))
        )

    def _cold(self, k: int) -> pl.DataFrame:
        return self.cold.head(k).with_columns(
            pl.col("score").cast(pl.Float64),
            rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32),
            probability=pl.lit(None, pl.Float64),
        )


def save(
    place: Path, ranker: Path, cold: pl.DataFrame, tracks: Path, facts: Mapping[str, Any], folder: Path
) -> None:
    """Put together what ``load`` reads: candidates, ranker, the cold list and the tracks' names."""
    for name in ("candidates", "users", "tracks"):
        shutil.copy(place / f"{name}.parquet", folder)
    shutil.copytree(ranker, folder / "ranker")
    cold.write_parquet(folder / "cold.parquet")
    ids = pl.read_parquet(place / "tracks.parquet", columns=["track_id"])
    described = pl.read_parquet(tracks, columns=["track_id", "name", "artist", "uri"])
    about = ids.join(described, on="track_id", how="left", maintain_order="left")
    about.write_parquet(folder / "about.parquet")
    (folder / "recommender.json").write_text(json.dumps(dict(facts)), encoding="utf-8")


def load(folder: Path) -> Recommender:
    """The recommender that ``save`` put together."""
    tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    ids = tables["users"]["user_id"]
    counts = np.bincount(tables["candidates"]["user"].to_numpy(), minlength=len(ids))
    return Recommender(
        **tables,
        ranker=lists.load(folder / "ranker"),
        place={user: number for number, user in enumerate(ids)},
        starts=np.append(0, np.cumsum(counts)),
        facts=json.loads((folder / "recommender.json").read_text(encoding="utf-8")),
    )
