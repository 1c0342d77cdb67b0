"""Which tracks go together: the neighbours that a retriever has learned, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import moments
from tasks.featurize import History
from tasks.moments import Sides
from tasks.retrieval.played import played
from tasks.two_stage.candidates import known_at
from tasks.warehouse import Warehouse

MOST = 20  # neighbours kept of a track


def write(
    history: History, cutoff: int, retriever: str, config: Config, warehouse: Warehouse, folder: Path
) -> dict[str, Any]:
    """Write neighbours.parquet: track_id, other_id, rank (1-based), score; returns facts.

    By what lies before tick ``cutoff``. ``retriever`` is covisit (tracks played in one session) or
    item_knn (tracks that the same users play).
    """
    from tasks.retrieval import covisit, item_knn

    sides = Sides.read(history.users, history.tracks, warehouse)
    events = moments.read(history.plays, sides, history.timezone, warehouse)
    listening, _ = played(known_at(history, events, cutoff).listening)
    settings, threads = config.retrieval, config.store.threads
    if retriever == "covisit":
        near = covisit.fit(listening, settings, threads, config.models.seed).company
    else:
        near = item_knn.fit(listening, settings, threads, config.models.seed).similar
    ids = listening.tracks["track_id"]
    place = np.arange(len(near.columns)) - np.repeat(near.starts[:-1], np.diff(near.starts))
    kept = place < MOST  # each track's strongest come first
    pl.DataFrame(
        {
            "track_id": ids[near.rows[kept]],
            "other_id": ids[near.columns[kept]],
            "rank": (place[kept] + 1).astype(np.int32),
            "score": near.values[kept],
        }
    ).write_parquet(folder / "neighbours.parquet")
    return {"retriever": retriever, "tracks": len(ids)}


def of_track(
    neighbours: Path, plays: Path, tracks: Path, track: str | None, k: int
) -> tuple[str, pl.DataFrame]:
    """The track asked about, and its ``k`` nearest: rank, track_id, name, artist, score.

    Without ``track`` the most played one. Raises ``InputError`` for an id that is not there.
    """
    if track is None:
        played = pl.scan_parquet(plays).group_by("track_id").len()
        most = played.sort("len", "track_id", descending=[True, False]).head(1).collect()
        track = str(most["track_id"].item())
    known = pl.scan_parquet(tracks).select("track_id", "name", "artist").collect()
    asked = known.filter(pl.col("track_id") == track)
    if asked.is_empty():
        raise InputError(
            "no such track", place="similar.track", found=track, expected="a track_id of the data",
            do="look it up in recommendations.csv, or leave it out for the most played track",
        )  # fmt: skip
    near = pl.scan_parquet(neighbours).filter(pl.col("track_id") == track, pl.col("rank") <= k)
    found = (
        near.select("rank", "score", track_id="other_id")
        .collect()
        .join(known, on="track_id", how="left")
    )
    (name, artist) = asked.select("name", "artist").row(0)
    told = f"{name or track} by {artist or 'an unknown artist'} ({track})"
    return told, found.select("rank", "track_id", "name", "artist", "score").sort("rank")
