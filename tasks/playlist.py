"""The report's playlist: tracks a listener has heard, by the chance that the next play completes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from tasks import featurize, moments, split, training
from tasks.featurize import History
from tasks.ranking import RANKERS
from tasks.ranking.protocol import Task
from tasks.split import Windows
from tasks.warehouse import Warehouse

USERS = 10  # most active listeners that get a list
TRACKS = 30  # tracks on it
NEWEST = 300_000  # training rows; the list only orders tracks, it reports no metric


def write(
    features: Path, history: History, windows: Windows, config: Config, folder: Path
) -> Mapping[str, Any]:
    """Write ``playlist.parquet``: user_id, rank, uri, name, artist, probability, reason.

    Tracks are probed at the end of the data (a moment after the newest play) by a model that uses
    no context, because no play is happening: LightGBM on the features of user, track and pair.
    """
    columns = training.columns(features, history.clock, without_context="context")
    train = split.rows(features, windows.bounds("training"), history.clock).collect().tail(NEWEST)
    validation = split.rows(features, windows.bounds("validation"), history.clock).collect().tail(NEWEST)
    model = RANKERS["lightgbm"].fit(
        Task(columns, train, validation, config.models, config.store.threads)
    )
    with Warehouse(config.store) as warehouse:
        warehouse.numbered("plays", history.plays)
        warehouse.relation("tracks", history.tracks)
        warehouse.relation("completed", history.labels["completed"])
        heard = warehouse.frame("marts/heard_tracks", users=USERS)
        names = [column.name for column in columns]
        probes = moments.starting(heard, windows.end, history.clock)
        frame = featurize.probe(history, probes, names, warehouse)
    ranked = heard.with_columns(probability=pl.Series(model.score(frame)))
    order = ("probability", "completed", "track_id")
    listed = (
        ranked.sort("user_id", *order, descending=[False, True, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
        .filter(pl.col("rank") <= TRACKS)
        .with_columns(reason=_reason(windows.end))
    )
    listed.select("user_id", "rank", "uri", "name", "artist", "probability", "reason").write_parquet(
        folder / "playlist.parquet"
    )
    return {"users": heard["user_id"].n_unique(), "tracks": listed.height, "features": len(names)}


def _reason(at: int) -> pl.Expr:
    days = (pl.lit(at) - pl.col("last_heard").dt.epoch("ms")) // 86_400_000
    return pl.format("completed {} of {} plays, last heard {} days ago", "completed", "known", days)
