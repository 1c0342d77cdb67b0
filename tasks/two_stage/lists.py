"""The second stage: rankers fitted on candidates of several windows, and the lists they make."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks.ranking import RANKERS
from tasks.ranking.protocol import Column, ListRanker, Task
from tasks.two_stage import candidates

GROUP = "list"  # number of the (window, user) a candidate belongs to


def fit(
    ranker: str,
    training: Sequence[Path],
    validation: Path | None,
    columns: tuple[Column, ...],
    config: Config,
    folder: Path,
    like: Path | None = None,
) -> dict[str, Any]:
    """Fit on the candidates of ``training`` windows and save into ``folder``; returns the facts.

    ``validation`` stops and calibrates; without it the model takes over ``like``'s size. Raises
    InputError where the windows have nothing to learn from: no candidate that was played, or no other.
    """
    started = time.perf_counter()
    names = [column.name for column in columns]
    task = Task(
        columns,
        _checked(_lists(training, names), "training"),
        _checked(_lists([validation], names), "validation") if validation else None,
        config.models,
        config.store.threads,
        load(like) if like else None,
        GROUP,
    )
    model = RANKERS[ranker].fit(task)
    told = {
        "seconds": time.perf_counter() - started,
        "lists": int(task.train[GROUP].n_unique()),
        "positives": float(task.train["target"].mean()),  # type: ignore[arg-type]
        **model.facts,
    }
    model.save(folder)
    saved = {"ranker": ranker, "facts": told, "columns": names}
    (folder / "ranker.json").write_text(json.dumps(saved), encoding="utf-8")
    return told


def load(folder: Path) -> ListRanker:
    """The ranker saved in ``folder``."""
    saved = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
    return cast(ListRanker, RANKERS[saved["ranker"]].load(folder))


def top(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    """The k rows of each user with the highest ``score``, with their ``rank``, by user and rank.

    ``frame`` has user, track and score, never null; equal scores go by the smaller track.
    """
    # sorting is what takes long, and few rows can be among the first
    least = pl.col("score").top_k(k).min().over("user")
    near = frame.filter(pl.col("score") >= least)
    ordered = near.sort("user", "score", "track", descending=[False, True, False])
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("user")
    return ordered.with_columns(rank=rank).filter(pl.col("rank") <= k)


def _checked(frame: pl.DataFrame, use: str) -> pl.DataFrame:
    """The candidates themselves, if they tell what is played from what is not."""
    hits = int(frame["target"].sum())
    if 0 < hits < frame.height:
        return frame
    raise InputError(
        f"{'every' if hits else 'no'} candidate was played in the windows of lists for {use}",
        found=f"{frame.height} candidates, {hits} of them played",
        expected="some that were played and some that were not",
        do="choose other lists.horizon_days (lists.horizon_share) or lists.training_windows, more"
        " retrieval.candidates, or bring more data",
    )


def _lists(folders: Iterable[Path], names: list[str]) -> pl.DataFrame:
    """Labelled candidates of several windows, one list after the other, numbered by GROUP.

    Users without a single hit teach neither order nor, beside so many others, a rate: they stay.
    """
    frames = []
    lists = 0
    for folder in folders:
        frame = candidates.rows(folder, names)
        number = frame["user"].rle_id() + lists
        frames.append(frame.with_columns(number.alias(GROUP)))
        lists += int(frame["user"].n_unique())
    return pl.concat(frames, how="vertical_relaxed")
