"""A search over made features without Prefect: the same stages that the flow calls, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from tasks.store import Entry, Store
from tasks.tuning import stages
from tasks.tuning.kinds import Material
from tasks.tuning.stages import Tried

DAY = 86_400_000
ROWS, USERS = 3_000, 40
# a row a minute: the first four fifths are history, of which the last 15 % validation
WINDOWS = {"start": 0, "validation": 2_040 * 60_000, "cutoff": 2_400 * 60_000, "end": 3_000 * 60_000}


def features(seed: int = 1) -> pl.DataFrame:
    """A feature table in which two columns and a category tell most of the target."""
    rng = np.random.default_rng(seed)
    rate, platform = rng.uniform(0.05, 0.95, ROWS), rng.choice(["ios", "web"], ROWS)
    odds = 5 * (rate - 0.5) + np.where(platform == "web", 1.0, -0.5)
    tick = np.arange(ROWS, dtype=np.int64) * 60_000
    return pl.DataFrame(
        {
            "play": np.arange(ROWS, dtype=np.int64),
            "user": rng.integers(0, USERS, ROWS).astype(np.int32),
            "tick": tick,
            "matures_at": tick + 30_000,
            "target": rng.random(ROWS) < 1 / (1 + np.exp(-odds)),
            "track_completion_rate": pl.Series(rate, dtype=pl.Float32),
            "artist_completion_rate": pl.Series(rng.uniform(0, 1, ROWS), dtype=pl.Float32),
            "platform": pl.Series(platform, dtype=pl.Categorical),
        }
    )


def entry(frame: pl.DataFrame, folder: Path) -> Entry:
    """The table as its stage keeps it."""
    names = [name for name in frame.columns if name not in ("play", "user", "tick", "matures_at")]

    def work(place: Path) -> Mapping[str, Any]:
        frame.write_parquet(place / "features.parquet")
        return {"clock": "time", "windows": WINDOWS, "names": names}

    digest = str(frame.hash_rows().sum())
    return Store(folder).once("features", digest, work)


def search(config: Config, found: Material) -> tuple[list[Tried], Entry]:
    """All trials in order, and the verdict."""
    done: list[Tried] = []
    while batch := stages.batch(config, done):
        before = tuple(done)
        for number, point in batch:
            done.append(Tried(number, point, stages.tried(config, found, point, before)))
    best = stages.best(config, done)
    given, chosen = (stages.confirmed(config, found, each.point) for each in (done[0], best))
    return done, stages.concluded(config, found, done, given, chosen)


def told(verdict: Entry) -> dict[str, Any]:
    """The verdict's facts without what a clock says."""
    facts = dict(verdict.facts)
    trials = [{name: each[name] for name in each if name != "seconds"} for each in facts["trials"]]
    return facts | {"trials": trials}
