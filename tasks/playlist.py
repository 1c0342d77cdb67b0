"""The report's playlist: tracks a listener has heard, by the chance that the next play completes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from schemas import tables
from schemas.config import Config
from tasks import featurize, split, training
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
        frame = featurize.probe(history, _probes(heard, windows.end), names, warehouse)
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


def _probes(heard: pl.DataFrame, at: int) -> pl.DataFrame:
    """Rows shaped like plays that would start at tick ``at``; no context, no outcome."""
    schema = tables.columns(tables.Plays)
    moment = pl.lit(at).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    known = heard.select("user_id", "track_id", started_at=moment, seq=pl.lit(0, dtype=pl.Int64))
    return known.with_columns(
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
        if name not in known.columns
    ).select(*schema)


def _reason(at: int) -> pl.Expr:
    days = (pl.lit(at) - pl.col("last_heard").dt.epoch("ms")) // 86_400_000
    return pl.format("completed {} of {} plays, last heard {} days ago", "completed", "known", days)
