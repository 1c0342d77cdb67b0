"""Settings of ALS compared on windows before every judged one; a better one is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.two_stage import Als, Retrieval
from tasks import moments
from tasks.featurize import History
from tasks.metrics.lists import accuracy
from tasks.metrics.means import resampled_means
from tasks.moments import Sides
from tasks.retrieval import RETRIEVERS
from tasks.retrieval.protocol import Codes, Heard, Listening
from tasks.split import Span
from tasks.two_stage.candidates import known_at, played_in
from tasks.warehouse import Warehouse

K = 10
# tracks heard before and new ones are retrieved apart, and count alike
MODES: dict[Heard, pl.Expr] = {"only": pl.col("heard"), "exclude": ~pl.col("heard")}
# what implicit 0.7 does if it is told nothing
IMPLICIT = Als(factors=100, regularization=0.01, alpha=1.0, iterations=15, trials=0)


@dataclass(frozen=True)
class Window:
    """What was known at a cutoff, some of those who played after it, and what they played then.

    ``relevant`` has user, track (Int32 places in ``listening``) and heard, of ``users`` alone.
    """

    listening: Listening
    users: Codes
    relevant: pl.DataFrame


def write(
    history: History, spans: Sequence[Span], config: Config, warehouse: Warehouse, folder: Path
) -> Mapping[str, Any]:
    """Fit each setting at the cutoffs of ``spans``, judge it by the windows after, choose one.

    Windows are taken from the newest on until they have ``lists.max_users`` users between them, so
    that much data needs one window. Writes trials.parquet: a row per setting with its mean ndcg and
    the paired difference to the given setting, with 95 % interval by user. Facts: ``als``, the
    settings chosen (the best, if its interval lies above 0, else the given), ``users``, ``windows``.
    """
    compared = drawn(config.retrieval.als, config.models.seed)
    windows = list(read(history, spans, config, warehouse))
    told: list[dict[str, Any]] = [each.model_dump(exclude={"trials"}) for each in compared]
    chosen, rows = compared[0], sum(len(window.users) for window in windows)
    if rows:
        judged = {
            str(number): judge(windows, config.retrieval.model_copy(update={"als": each}), config)
            for number, each in enumerate(compared)
        }
        means = resampled_means(
            judged, resamples=config.evaluation.resamples, seed=config.evaluation.seed,
            min_users=config.evaluation.min_users,
        )  # fmt: skip
        for number, row in enumerate(told):
            gain = means.difference(str(number), "0", "ndcg")
            row |= {"ndcg": means.values[str(number)]["ndcg"], "difference": gain.value}
            row |= {"low": gain.low, "high": gain.high}
        best = max(range(len(told)), key=lambda number: told[number]["ndcg"])
        chosen = compared[best] if told[best]["low"] > 0 else chosen
    pl.DataFrame(told).write_parquet(folder / "trials.parquet")
    return {"als": chosen.model_dump(mode="json"), "users": rows, "windows": len(windows)}


def drawn(given: Als, seed: int) -> list[Als]:
    """The settings to compare: those given, implicit's own, then ``given.trials`` at random.

    Ranges are those of the literature: regularization and alpha over decades, evenly in their
    logarithm.
    """
    random = np.random.default_rng(seed)
    own = given.model_copy(update={"trials": 0})
    return [own, IMPLICIT, *(_one(random) for _ in range(given.trials))]


def _one(random: np.random.Generator) -> Als:
    return Als(
        factors=int(random.choice([32, 64, 100, 128])),
        regularization=float(f"{10 ** random.uniform(-2, 1):.2g}"),
        alpha=float(f"{10 ** random.uniform(-0.5, 1.7):.2g}"),
        iterations=int(random.choice([10, 15, 20])),
        weighting=random.choice(np.array(["count", "log", "bm25"])).item(),
        half_life_days=int(random.choice([0, 90, 270, 730])),
        trials=0,
    )


def judge(windows: Sequence[Window], settings: Retrieval, config: Config) -> pl.DataFrame:
    """``user``, ``cutoff`` and ``ndcg`` at 10 of ALS's own lists, the mean over MODES, pooled."""
    parts = []
    for window in windows:
        known = window.listening
        fitted = RETRIEVERS["als"].fit(known, settings, config.store.threads, config.models.seed)
        for mode, kind in MODES.items():
            found = fitted.retrieve(window.users, K, mode)
            lists = pl.DataFrame({"user": found.user, "track": found.track, "rank": found.rank})
            wanted = window.relevant.filter(kind).select("user", "track")
            told = accuracy(lists, wanted, K).select("user", "ndcg")
            ids = known.users["user_id"][told["user"]]
            parts.append(told.with_columns(ids.alias("user"), cutoff=pl.lit(known.at)))
    return pl.concat(parts).group_by("user", "cutoff").agg(pl.col("ndcg").mean())


def read(
    history: History, spans: Sequence[Span], config: Config, warehouse: Warehouse
) -> Iterator[Window]:
    """The windows of ``spans``, the newest first, until they have ``lists.max_users`` users.

    Those in which nobody played tell nothing and are left out.
    """
    sides = Sides.read(history.users, history.tracks, warehouse)
    events = moments.read(history.plays, sides, history.timezone, warehouse)
    random = np.random.default_rng(config.models.seed)
    room = config.lists.max_users
    for span in reversed(spans):
        known = known_at(history, events, span.cutoff)
        relevant, _ = played_in(events, known, span)
        active = relevant["user"].unique().sort().to_numpy()
        users = np.sort(random.choice(active, min(room, len(active)), replace=False))
        if len(users):
            of_users = pl.col("user").is_in(pl.Series(users).implode())
            yield Window(known.listening, users.astype(np.int32), relevant.filter(of_users))
        room -= len(users)
        if not room:
            break
