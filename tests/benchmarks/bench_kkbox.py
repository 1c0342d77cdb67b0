"""KKBox sample: every ranker, in both label modes, against a plain LightGBM on the raw columns.

The plain model gets the competition's columns as they are, joined and nothing more, categories as
integers, 1,000 rounds stopped on the same validation rows. With and without the two ids.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.loading import load
from tasks import evaluation, split, stages
from tasks.split import Windows

RAW = (
    "source_tab", "source_screen", "source_type", "city", "age", "gender", "registered_via",
    "registered_at", "expires_at", "duration_ms", "genre", "artist", "composer", "lyricist", "language",
    "year", "isrc_country",
)  # fmt: skip


def plain(plays: pl.DataFrame, windows: Windows, columns: list[str]) -> np.ndarray[Any, Any]:
    """Holdout probabilities of LightGBM on integer-coded raw columns."""
    import lightgbm

    texts = [name for name in columns if plays.schema[name] == pl.String]
    coded = plays.with_columns(pl.col(name).rank("dense") - 1 for name in texts).with_columns(
        pl.col(columns).cast(pl.Float64)
    )
    parts = {}
    for name in split.NAMES:
        start, end = windows.bounds(name)
        parts[name] = coded.filter(pl.col("seq") >= start, pl.col("seq") < end)
    train, validation = (
        lightgbm.Dataset(
            parts[name].select(columns).to_arrow(),
            label=parts[name]["repeated"].to_numpy(),
            categorical_feature=texts,
        )
        for name in split.NAMES[:2]
    )
    parameters = {
        "objective": "binary",
        "learning_rate": 0.05,
        "verbosity": -1,
        "num_threads": 2,
        "seed": 7,
    }
    stop = [lightgbm.early_stopping(50, verbose=False)]
    booster = lightgbm.train(parameters, train, 1_000, valid_sets=[validation], callbacks=stop)
    return np.asarray(booster.predict(parts["holdout"].select(columns).to_arrow()))


def main() -> None:
    """Print AUC with intervals and the paired differences to the plain models."""
    source = Path(os.environ.get("ENCORE_DATA", Path("..", "shared", "data"))) / "kkbox"
    for mode in ("competition", "production"):
        with tempfile.TemporaryDirectory() as name:
            overrides = (
                f"source.path={source}",
                f"labels.mode={mode}",
                "split.holdout=0.333333",
                f"store.path={name}",
            )
            _one(load(Path("configs/kkbox.yaml"), list(overrides)), mode)


def _one(config: Config, mode: str) -> None:
    data = stages.ingested(config, None, datetime.now(UTC))
    labels = stages.labelled(config, data)
    features = stages.featurized(config, data, labels)
    models = {ranker: stages.fitted(config, ranker, features) for ranker in config.models.rankers}
    scored = pl.read_parquet(
        stages.evaluated(config, data, features, models, None).tables["scored"].path
    )
    windows = Windows(**features.facts["windows"])
    first = {"genre": "genres", "composer": "composers", "lyricist": "lyricists"}
    tracks = pl.read_parquet(data.tables["tracks"].path).with_columns(
        pl.col(many).list.first().alias(one) for one, many in first.items()
    )
    plays = (
        pl.read_parquet(data.tables["plays"].path)
        .join(tracks, on="track_id", how="left", maintain_order="left")
        .join(
            pl.read_parquet(data.tables["users"].path), on="user_id", how="left", maintain_order="left"
        )
        .with_columns(pl.col("registered_at", "expires_at").cast(pl.Int32))
    )
    rows = split.rows(features.tables["features"].path, windows.bounds("holdout"), "order").collect()
    probabilities = {ranker: scored[ranker].to_numpy() for ranker in models} | {
        "plain LightGBM": plain(plays, windows, list(RAW)),
        "plain LightGBM, ids": plain(plays, windows, ["user_id", "track_id", *RAW]),
    }
    thresholds = dict.fromkeys(probabilities, 0.5)
    compared, unit = evaluation.resampled(rows, "order", probabilities, thresholds, config.evaluation)
    print(
        f"KKBox sample, {mode}: {rows.height:,} holdout plays, "
        f"{compared.blocks} resampled units ({unit})"
    )
    for name in probabilities:
        auc, loss = compared.interval(name, "auc"), compared.interval(name, "log_loss")
        print(
            f"  {name:20s} AUC {auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f})   "
            f"log loss {loss.value:.4f} ({loss.low:.4f} to {loss.high:.4f})"
        )
    for name in ("plain LightGBM", "plain LightGBM, ids"):
        difference = compared.difference("lightgbm", name, "auc")
        print(
            f"  lightgbm - {name}: AUC {difference.value:+.4f} "
            f"({difference.low:+.4f} to {difference.high:+.4f})"
        )


if __name__ == "__main__":
    main()
