"""Settings of ALS, judged by NDCG@10 of its own lists on windows that all end before judged ones.

They are the windows of which ``tasks/two_stage/als_tuning.py`` takes its own, and it reads and judges
them. The newest, that of validation, has no part in the choice and confirms it, so that its interval
holds although many settings were tried. A trial may be given up after a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import stages
from tasks.metrics.means import resampled_means
from tasks.store import Entry
from tasks.tuning.kinds import Compared, Judged, Material, Watch
from tasks.tuning.search import STRETCH, Direction
from tasks.tuning.space import Choice, Range, Space
from tasks.two_stage import als_tuning
from tasks.two_stage import stages as two_stage
from tasks.warehouse import Warehouse

NAME = "ALS"
GROUP = ("retrieval", "als")
METRIC = f"NDCG@{als_tuning.K}"
DIRECTION: Direction = "maximize"
SPACE: Space = {
    "factors": Range(16, 192, "whole", "log"),
    "regularization": Range(0.01, 10.0, "real", "log"),
    "alpha": Range(0.3, 50.0, "real", "log"),
    "iterations": Range(5, 30, "whole", "linear"),
    "weighting": Choice(("count", "log", "bm25")),
    "half_life_days": Choice((0, 90, 270, 730)),
}


def refuse(config: Config) -> None:
    """Refuse to search settings that nothing would use."""
    if "als" not in config.retrieval.retrievers:
        raise InputError(
            "the settings of ALS are not used", place="retrieval.retrievers",
            found=", ".join(config.retrieval.retrievers), expected="als among them",
            do="add it, or tune LightGBM with labels.target=completed or repeat",
        )  # fmt: skip


def material(config: Config, data: Entry, outcomes: Entry) -> Material:
    """Windows before every judged one, as many as there are up to ``tune.windows`` and one more."""
    before = two_stage.spans(config, data)[: config.lists.training_windows + 1]
    windows = before[-(config.tune.windows + 1) :]
    return Material(
        entries={"data": data, "labels": outcomes},
        windows=windows,
        inputs=stages.digests(data, "plays", "tracks", "users"),
        read={
            "timezone": config.source.timezone, "seed": config.models.seed,
            "most_users": config.lists.max_users,
        },
        edges=[(window.cutoff, window.end) for window in windows],
    )  # fmt: skip


def judged(config: Config, material: Material, windows: Sequence[Any], watch: Watch) -> Judged:
    """Fit at each cutoff, the newest first, and judge the lists by what was played after it.

    ``rows``: user, cutoff and value, the NDCG. Facts: users, pooled over windows, and windows.
    """
    with Warehouse(config.store) as warehouse:
        history = stages.past(config, material.entries["data"], material.entries["labels"], None)
        read = list(als_tuning.read(history, windows, config, warehouse))
    if not read:
        raise InputError(
            "nobody played in the windows that settings are judged on", place="lists.horizon_days",
            found=f"{len(windows)} windows without plays", expected="plays",
            do="choose longer windows",
        )  # fmt: skip
    parts: list[pl.DataFrame] = []
    for number, window in enumerate(read):
        if parts:  # what is finished is no longer given up
            step = STRETCH * (number - 1)
            watch(step, float(pl.concat(parts)["ndcg"].to_numpy().mean()), step)
        parts.append(als_tuning.judge([window], config.retrieval, config))
    rows = pl.concat(parts).sort("user", "cutoff").rename({"ndcg": "value"})
    return Judged(rows, {"users": rows.height, "windows": len(read)})


def compared(
    config: Config,
    material: Material,  # noqa: ARG001 - the rows say it all
    best: pl.DataFrame,
    given: pl.DataFrame,
) -> Compared:
    """Mean NDCG of two settings for the same users, resampled together."""
    means = resampled_means(
        {"best": best, "given": given}, resamples=config.evaluation.resamples,
        seed=config.evaluation.seed, min_users=config.evaluation.min_users,
    )  # fmt: skip
    return Compared(
        given=means.interval("given", "value"),
        best=means.interval("best", "value"),
        difference=means.difference("best", "given", "value"),
        unit=means.unit,
        units=means.units,
        rows=means.rows,
    )
