"""Every retriever and ranker as a recommender: its lists against what was played after the cutoff."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks.metrics import beyond
from tasks.metrics.lists import ACCURACY, accuracy, recall_of
from tasks.metrics.means import Means, resampled_means
from tasks.ranking.protocol import Apart, Floats, ListRanker
from tasks.two_stage import candidates, details, lists
from tasks.two_stage import cohorts as list_cohorts
from tasks.two_stage.details import Judged

# lists with heard tracks among them, without, and of them alone
MODES = {"include": pl.lit(True), "exclude": ~pl.col("heard"), "only": pl.col("heard")}
PARTS = {"all": "include", "repeats": "only", "discoveries": "exclude"}  # of recall → mode
DEPTHS = (10, 50, 100, 200)
SLICE = 262_144  # candidates scored at a time


def evaluate(
    windows: Mapping[int, Mapping[str, Path]],
    rankers: Sequence[str],
    tables: Mapping[str, Path],
    config: Config,
    folder: Path,
) -> dict[str, Any]:
    """Judge all systems over one or several windows; write what reports need as Parquet.

    ``windows``: by cutoff (tick), the folders of its "candidates" and of each ranker fitted before
    it; ``tables``: plays, tracks and users. ``per_user`` has mode, system, cutoff, user (id) and the
    metrics of lists of ``lists.k``; each mode is judged by the plays of its kind, over users who
    have one; who got no candidate scores 0. ``recall`` has cutoff and what ``recall_of`` tells,
    ``users`` who was judged (``cohorts.attributes``), ``cohorts`` how they fared, and
    ``details.write`` tells of the newest window. The facts hold, by mode, metrics with 95 %
    intervals by user, and rankers' paired differences to every retriever; ``best`` is the best single
    one by NDCG; ``silent`` are cutoffs without a play to judge by. Raises InputError where none has
    any.
    """
    judged: dict[int, pl.DataFrame] = {}
    newest: Judged | None = None
    recalls: list[pl.DataFrame] = []
    spread: list[dict[str, Any]] = []
    for cutoff, window in windows.items():
        place = window["candidates"]
        relevant = pl.read_parquet(place / "relevant.parquet")
        newest = newest if relevant.is_empty() else None  # one window's candidates are enough to hold
        found = pl.read_parquet(place / "candidates.parquet", columns=_own(config))
        recalls.append(_recall(found, relevant, config).with_columns(cutoff=pl.lit(cutoff)))
        if relevant.is_empty():
            continue
        models = {name: lists.load(window[name]) for name in rankers}
        systems = dict(_systems(found, place, models, config))
        own, wide, tops = _judged(relevant, place, systems, tables["tracks"], config)
        judged[cutoff] = own.with_columns(cutoff=pl.lit(cutoff))
        spread += [{"cutoff": cutoff, **each} for each in wide]
        scores = {name: systems[name]["score"] for name in rankers}
        newest = Judged(cutoff, place, found, relevant, models, scores, tops)
    if newest is None:
        raise InputError(
            "nobody played anything known in the windows that lists are judged by",
            found=f"{len(windows)} windows without a play of a track, and by a user, known before them",
            expected="a window with such a play",
            do="choose a longer lists.horizon_days (lists.horizon_share), more backtest.cutoffs, or"
            " bring more data",
        )
    per_user = pl.concat(judged.values())
    per_user.write_parquet(folder / "per_user.parquet")
    pl.concat(recalls).write_parquet(folder / "recall.parquet")
    metrics, differences = [], []
    for mode in MODES:
        means = _means(per_user.filter(pl.col("mode") == mode), config)
        if means is None:
            continue
        told = {"mode": mode, "unit": means.unit, "units": means.units, "rows": means.rows}
        metrics += [told | row for row in means.table().to_dicts()]
        for other in config.retrieval.retrievers:
            against = means.against(other).filter(pl.col("system").is_in(list(rankers)))
            differences += [{"mode": mode, "against": other} | row for row in against.to_dicts()]
    candidate = config.lists.champion_candidate
    best = _best(metrics, config)
    people = list_cohorts.attributes(judged, tables, config)
    users = per_user.select("cutoff", "user").unique()
    users.join(people, on=["cutoff", "user"], how="left").sort("cutoff", "user").write_parquet(
        folder / "users.parquet"
    )
    served = list_cohorts.judged(per_user, people, candidate, best, config)
    served.write_parquet(folder / "cohorts.parquet")
    details.write(newest, candidate, best, tables, config, folder)
    return {
        "k": config.lists.k,
        "best": best,
        "newest": newest.cutoff,
        "threshold": details.THRESHOLD,
        # how deep a single retriever's list surely reaches in the union
        "depth": config.retrieval.candidates // 2 // max(len(config.retrieval.retrievers), 1),
        "cutoffs": list(windows),
        "silent": [cutoff for cutoff in windows if cutoff not in judged],
        "metrics": metrics,
        "differences": differences,
        "spread": spread,
    }


def scored(place: Path, model: ListRanker) -> Floats:
    """``model``'s order of each candidate of a table, put together slice by slice if it must be."""
    whole = pl.read_parquet(place / "candidates.parquet")
    users, tracks = (pl.read_parquet(place / f"{side}.parquet") for side in ("users", "tracks"))
    if isinstance(model, Apart):
        return model.order_apart(whole, users, tracks)
    parts = [model.order(candidates.beside(part, users, tracks)) for part in whole.iter_slices(SLICE)]
    return np.concatenate(parts) if parts else np.empty(0)


def _recall(found: pl.DataFrame, relevant: pl.DataFrame, config: Config) -> pl.DataFrame:
    """``recall_of`` for all tracks, for those heard before, and for the others.

    Candidates come ranked in their kind; for all of them each retriever's are ranked by its scores.
    """
    ranks: dict[str, str] = {name: f"{name}_rank" for name in config.retrieval.retrievers}
    scores = (
        pl.when(pl.col(rank).is_not_null())
        .then(f"{name}_score")
        .rank("ordinal", descending=True)
        .over("user")
        .alias(rank)
        for name, rank in ranks.items()
    )
    mixed = found.sort("user", "track").with_columns(scores)  # of equal scores the smaller track first
    told = []
    for part, mode in PARTS.items():
        kind = MODES[mode]
        known = mixed if mode == "include" else found.filter(kind)
        recall = recall_of(known, relevant.filter(kind).drop("heard"), DEPTHS, ranks)
        told.append(recall.with_columns(part=pl.lit(part)))
    return pl.concat(told)


def _judged(
    relevant: pl.DataFrame,
    place: Path,
    systems: Mapping[str, pl.DataFrame],
    tracks: Path,
    config: Config,
) -> tuple[pl.DataFrame, list[dict[str, Any]], dict[str, pl.DataFrame]]:
    """Metrics per mode, system and user; by mode and system what no single user has; lists of all."""
    k = config.lists.k
    ids = pl.read_parquet(place / "users.parquet", columns=["user_id"]).to_series()
    catalogue = pl.read_parquet(place / "tracks.parquet", columns=["track_id"])
    described = pl.read_parquet(tracks, columns=["track_id", "genres"])
    genres = catalogue.join(described, on="track_id", how="left", maintain_order="left").select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("track"), "genres"
    )
    heard = pl.read_parquet(place / "heard.parquet")
    audio = genres.select("track")
    if (place / "audio.parquet").exists():
        audio = pl.read_parquet(place / "audio.parquet")
    frames: list[pl.DataFrame] = []
    wide: list[dict[str, Any]] = []
    whole: dict[str, pl.DataFrame] = {}
    for mode, kind in MODES.items():
        wanted = relevant.filter(kind).select("user", "track")
        if wanted.is_empty():
            continue
        tops = {name: lists.top(frame.filter(kind), k) for name, frame in systems.items()}
        whole = tops if mode == "include" else whole
        popular = tops.get("popular", next(iter(tops.values())).clear())
        for name, ordered in tops.items():
            told = accuracy(ordered, wanted, k)
            varied = beyond.per_user(
                ordered, k, relevant=wanted, popular=popular, heard=heard, genres=genres, audio=audio
            )
            both = told.join(varied, on="user", how="left", maintain_order="left")
            user = ids[both["user"]].alias("user")
            frames.append(
                both.with_columns(user, mode=pl.lit(mode), system=pl.lit(name)).select(
                    "mode", "system", "user", *ACCURACY, *beyond.PER_USER
                )
            )
            wide.append(
                {
                    "mode": mode,
                    "system": name,
                    "coverage": beyond.coverage(ordered, k, catalogue.height),
                    "gini": beyond.gini(ordered, k, catalogue.height),
                }
            )
    return pl.concat(frames), wide, whole


def _means(per_user: pl.DataFrame, config: Config) -> Means | None:
    if per_user.is_empty():
        return None
    known = per_user.drop("mode").partition_by("system", as_dict=True, include_key=False)
    return resampled_means(
        {str(name): frame for (name,), frame in known.items()},
        resamples=config.evaluation.resamples,
        seed=config.evaluation.seed,
        min_users=config.evaluation.min_users,
    )


def _systems(
    found: pl.DataFrame, place: Path, models: Mapping[str, ListRanker], config: Config
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each system's name and its candidates with what it sorts them by."""
    for name in config.retrieval.retrievers:
        own = found.filter(pl.col(f"{name}_rank").is_not_null())
        yield name, own.select("user", "track", "heard", score=f"{name}_score")
    for ranker, model in models.items():
        order = scored(place, model)
        yield ranker, found.select("user", "track", "heard").with_columns(score=pl.Series(order))


def _own(config: Config) -> list[str]:
    names = [f"{name}_{what}" for name in config.retrieval.retrievers for what in ("score", "rank")]
    return ["user", "track", "heard", "target", *names]


def _best(metrics: Sequence[Mapping[str, Any]], config: Config) -> str:
    """The retriever with the highest NDCG of lists with heard tracks among them."""
    told = {
        row["system"]: row["value"]
        for row in metrics
        if (row["mode"], row["metric"]) == ("include", "ndcg")
    }
    return max(config.retrieval.retrievers, key=lambda name: told[name])
