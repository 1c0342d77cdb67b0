"""The stages of lists: candidates at each cutoff, rankers of them, and how good their lists are.

Like ``tasks/stages.py``: each names its work by a key and does it once, through the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from schemas.two_stage import Als
from tasks import split
from tasks.split import Span
from tasks.stages import digests, past, store
from tasks.store import Entry, key
from tasks.two_stage import als_tuning, candidates, lists, neighbours, recommend, recommender
from tasks.two_stage import evaluation as lists_evaluation
from tasks.warehouse import Warehouse

DAY = 86_400_000


def spans(config: Config, data: Entry) -> list[Span]:
    """Windows of lists, oldest first: for training, one for validation, the judged ones."""
    start, end, length = _extent(config, data)
    count = config.lists.training_windows + 1 + config.backtest.cutoffs
    told = f"{length // DAY} days" if data.facts["clock"] == "time" else f"{length} rows"
    return split.spans(start, end, length, count, told)


def matured(config: Config, data: Entry, since: int, most: int) -> list[Span]:
    """Windows of lists from the tick ``since`` on that have passed, one after the other: the newest."""
    start, end, length = _extent(config, data)
    cutoffs = range(max(since, start + 1), end - length + 1, length)
    return [Span(cutoff, cutoff + length) for cutoff in cutoffs][-most:]


def tunes(config: Config) -> bool:
    """Whether there are settings of ALS to choose from."""
    return "als" in config.retrieval.retrievers and config.retrieval.als.trials > 0


def als_tuned(config: Config, data: Entry, outcomes: Entry, before: Sequence[Span]) -> Entry:
    """ALS's settings compared on the windows ``before`` every judged one."""
    read = {
        "retrieval": config.retrieval.model_dump(mode="json"), "timezone": config.source.timezone,
        "spans": before, "most_users": config.lists.max_users, "seed": config.models.seed,
        "evaluation": config.evaluation.model_dump(mode="json"),
    }  # fmt: skip

    def work(folder: Path) -> Mapping[str, Any]:
        with Warehouse(config.store) as warehouse:
            known = past(config, data, outcomes, None)
            return als_tuning.write(known, before, config, warehouse, folder)

    name = key(als_tuning.write, digests(data, "plays", "tracks", "users"), read)
    return store(config).once("als-tuning", name, work)


def with_als(config: Config, tuned: Entry) -> Config:
    """``config`` with the settings chosen: its candidates are kept under them."""
    retrieval = config.retrieval.model_copy(update={"als": Als.model_validate(tuned.facts["als"])})
    return config.model_copy(update={"retrieval": retrieval})


def candidates_at(
    config: Config,
    data: Entry,
    outcomes: Entry,
    span: Span,
    training: bool,
    silent: Sequence[str] = (),
) -> Entry:
    """Candidates at a cutoff; of at most ``lists.max_users`` users where they only train.

    ``silent`` are users without plays who are to have some too.
    """
    inputs = digests(data, *data.tables) + digests(outcomes, *outcomes.tables)
    most = config.lists.max_users if training else None
    read = {
        "retrieval": config.retrieval.model_dump(mode="json"), "timezone": config.source.timezone,
        "span": span, "most_users": most, "silent": list(silent), "seed": config.models.seed,
    }  # fmt: skip

    def work(folder: Path) -> Mapping[str, Any]:
        # without a clock labels are known by rows, and those before the cutoff all are
        until = span.cutoff if data.facts["clock"] == "order" else None
        with Warehouse(config.store) as warehouse:
            known = past(config, data, outcomes, until)
            return candidates.write(known, span, most, silent, config, warehouse, folder)

    return store(config).once("candidates", key(candidates.write, inputs, read), work)


def lists_fitted(
    config: Config, ranker: str, data: Entry, training: Sequence[Entry], validation: Entry
) -> Entry:
    """A ranker of candidates fitted on ``training`` windows; ``validation``'s stops and calibrates."""
    inputs = [entry.key for entry in (*training, validation)]

    def work(folder: Path) -> Mapping[str, Any]:
        columns = candidates.columns(validation.path, data.facts["clock"])
        windows = [entry.path for entry in training]
        return lists.fit(ranker, windows, validation.path, columns, config, folder)

    name = key(lists.fit, inputs, {"ranker": ranker, "models": config.models.model_dump(mode="json")})
    return store(config).once(f"lists-{ranker}", name, work)


def lists_evaluated(
    config: Config, data: Entry, windows: Sequence[tuple[Entry, Mapping[str, Entry]]]
) -> Entry:
    """All systems on each judged window: its candidates, and the rankers fitted before it."""
    inputs = [entry.key for found, fits in windows for entry in (found, *fits.values())]
    inputs += digests(data, "plays", "tracks", "users")
    read = {
        "k": config.lists.k, "candidate": config.lists.champion_candidate,
        "evaluation": config.evaluation.model_dump(mode="json"),
    }  # fmt: skip

    def work(folder: Path) -> Mapping[str, Any]:
        places = {
            found.facts["cutoff"]: {
                "candidates": found.path, **{name: entry.path for name, entry in fits.items()}
            }
            for found, fits in windows
        }  # fmt: skip
        tables = {name: data.tables[name].path for name in ("plays", "tracks", "users")}
        told = lists_evaluation.evaluate(places, config.lists.rankers, tables, config, folder)
        return told | {"als": config.retrieval.als.model_dump(mode="json")}

    return store(config).once("lists-evaluate", key(lists_evaluation.evaluate, inputs, read), work)


def lists_refitted(config: Config, data: Entry, windows: Sequence[Entry], model: Entry) -> Entry:
    """The candidate ranker fitted again on all labelled windows, to be published."""
    ranker = config.lists.champion_candidate
    inputs = [*(entry.key for entry in windows), model.key]

    def work(folder: Path) -> Mapping[str, Any]:
        columns = candidates.columns(windows[-1].path, data.facts["clock"])
        places = [entry.path for entry in windows]
        return lists.fit(ranker, places, None, columns, config, folder, like=model.path)

    name = key(lists.fit, inputs, {"ranker": ranker, "models": config.models.model_dump(mode="json")})
    return store(config).once("lists-refit", name, work)


def at_end(config: Config, data: Entry, outcomes: Entry) -> Entry:
    """Candidates at the end of the data: of all who played, and of whom ``recommend.users`` names."""
    _, end, _ = _extent(config, data)
    played = pl.scan_parquet(data.tables["plays"].path).select("user_id").unique()
    known = pl.scan_parquet(data.tables["users"].path).select("user_id")
    named = pl.LazyFrame({"user_id": config.recommend.users}, {"user_id": pl.String})
    silent = known.join(named, on="user_id").join(played, on="user_id", how="anti").unique().collect()
    ids = silent["user_id"].sort().to_list()
    return candidates_at(config, data, outcomes, Span(end, end), training=False, silent=ids)


def neighbouring(config: Config, data: Entry, outcomes: Entry) -> Entry:
    """Which tracks go together, at the end of the data."""
    _, end, _ = _extent(config, data)
    read = {
        "neighbours": config.retrieval.neighbours, "retriever": config.similar.retriever, "end": end,
    }  # fmt: skip

    def work(folder: Path) -> Mapping[str, Any]:
        with Warehouse(config.store) as warehouse:
            known = past(config, data, outcomes, None)
            return neighbours.write(known, end, config.similar.retriever, config, warehouse, folder)

    name = key(neighbours.write, digests(data, "plays", "tracks", "users"), read)
    return store(config).once("neighbours", name, work)


def similar(config: Config, data: Entry, near: Entry) -> tuple[str, pl.DataFrame]:
    """``similar.track`` in words, and the tracks nearest to it."""
    plays, tracks = data.tables["plays"].path, data.tables["tracks"].path
    asked = config.similar
    return neighbours.of_track(near.tables["neighbours"].path, plays, tracks, asked.track, asked.k)


def recommended(
    config: Config,
    data: Entry,
    outcomes: Entry,
    found: Entry,
    model: Entry,
    near: Entry,
    model_version: str,
) -> Entry:
    """Lists of ``recommend.users`` at the end of the data."""
    told = told_cutoff(data, found)
    inputs = [found.key, model.key, near.key, model_version]
    inputs += digests(data, *data.tables) + digests(outcomes, *outcomes.tables)

    def work(folder: Path) -> Mapping[str, Any]:
        with Warehouse(config.store) as warehouse:
            return recommend.write(
                found.path,
                model.path,
                near.tables["neighbours"].path,
                near.facts["retriever"],
                past(config, data, outcomes, None),
                config.recommend,
                model_version,
                told,
                warehouse,
                folder,
            )

    name = key(recommend.write, inputs, config.recommend.model_dump(mode="json"))
    return store(config).once("recommend", name, work)


def packaged(
    config: Config, data: Entry, outcomes: Entry, found: Entry, model: Entry, model_version: str
) -> Entry:
    """The recommender to be served: candidates at the end of the data, ranker, cold list."""
    facts = {"model_version": model_version, "cutoff": told_cutoff(data, found)}
    inputs = [found.key, model.key, model_version, *digests(data, "plays", "tracks", "users")]

    def work(folder: Path) -> Mapping[str, Any]:
        with Warehouse(config.store) as warehouse:
            known = past(config, data, outcomes, None)
            cold = candidates.cold(known, found.facts["cutoff"], config, warehouse)
        tracks = data.tables["tracks"].path
        recommender.save(found.path, model.path, cold, tracks, facts, folder)
        return facts

    name = key(recommender.save, inputs, config.retrieval.model_dump(mode="json"))
    return store(config).once("recommender", name, work)


def told_cutoff(data: Entry, found: Entry) -> str:
    """The cutoff of candidates in words."""
    cutoff = found.facts["cutoff"]
    if data.facts["clock"] == "order":
        return f"row {cutoff}"
    return f"{datetime.fromtimestamp(cutoff / 1000, UTC):%Y-%m-%dT%H:%MZ}"


def _extent(config: Config, data: Entry) -> tuple[int, int, int]:
    """First tick, the tick after the last (a whole minute or day), and a window's length."""
    plays = pl.scan_parquet(data.tables["plays"].path)
    if data.facts["clock"] == "order":
        first, last = plays.select(pl.col("seq").min(), last=pl.col("seq").max()).collect().row(0)
        length = max(round((last + 1 - first) * config.lists.horizon_share), 1)
        return first, last + 1, length
    started = pl.col("started_at").dt.epoch("ms")
    first, last, days = (
        plays.select(started.min(), last=started.max(), days=(pl.col("resolution") == "day").any())
        .collect()
        .row(0)
    )
    grain = DAY if days else 60_000
    return first, (last // grain + 1) * grain, config.lists.horizon_days * DAY
