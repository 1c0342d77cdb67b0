"""Whom the lists serve better or worse: attributes of users as of each cutoff, metrics by cohort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from schemas.config import Config
from tasks.metrics import cohorts
from tasks.warehouse import Warehouse

METRICS = ("ndcg", "recall", "hit")
GAIN = "ndcg_gain"  # over the best single retriever, paired


def attributes(cutoffs: Iterable[int], tables: Mapping[str, Path], config: Config) -> pl.DataFrame:
    """Who users were at each cutoff: a row per cutoff and user (id) with plays before it.

    ``tables``: plays, tracks and users. Columns ``activity`` (plays before the cutoff), ``tenure``
    (whole days since the first; null without a clock), ``main_genre`` (of most of these plays),
    and of the users' table ``age``, ``gender`` and ``country``. Nothing here was played later.
    """
    with Warehouse(config.store) as warehouse:
        for name in ("plays", "tracks", "users"):
            warehouse.relation(name, tables[name])
        found = [
            warehouse.frame("reports/list_users", cutoff=cutoff).with_columns(cutoff=pl.lit(cutoff))
            for cutoff in cutoffs
        ]
    return pl.concat(found).rename({"user_id": "user"})


def judged(
    per_user: pl.DataFrame, attributes: pl.DataFrame, candidate: str, best: str, config: Config
) -> pl.DataFrame:
    """``cohorts.cohorts`` of ``candidate``'s lists among all tracks; attributes nobody has are absent.

    ``per_user`` as in ``evaluation``. Metrics are ``METRICS`` and ``GAIN``: NDCG minus that of
    the same user's list by ``best``.
    """
    lists = per_user.filter(pl.col("mode") == "include")
    own = lists.filter(pl.col("system") == candidate)
    theirs = lists.filter(pl.col("system") == best).select("user", "cutoff", other="ndcg")
    paired = own.join(theirs, on=["user", "cutoff"], how="left").select(
        "user", "cutoff", *METRICS, (pl.col("ndcg") - pl.col("other")).alias(GAIN)
    )
    known = [name for name in attributes.columns if attributes[name].null_count() < attributes.height]
    return cohorts.cohorts(
        paired,
        attributes.select(known),
        resamples=config.evaluation.resamples,
        seed=config.evaluation.seed,
    )
