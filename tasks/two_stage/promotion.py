"""When a challenger for lists becomes champion: by NDCG, over the windows of the backtest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks.metrics.means import resampled_means
from tasks.promotion import DECISION, Decision, noted_on, refit
from tasks.registry import KEY, Child, Registry, Training, Version
from tasks.store import Entry
from tasks.two_stage.reports import recipe

METRIC = "ndcg"


def champion(config: Config, clock: str) -> tuple[Version | None, Config]:
    """The champion of this data's lists, and the configuration with its recipe.

    Raises ``InputError`` where the champion was trained on data of another kind.
    """
    found = Registry(config.tracking).version(config.lists_name, "champion")
    if found is None:
        return None, config
    if found.tags["clock"] != clock:
        raise InputError(
            f"the champion {found.name} version {found.number} was trained on other data",
            found=f"plays with a clock of kind {clock}", expected=found.tags["clock"],
            do="give this data a name of its own with --set dataset=NAME",
        )  # fmt: skip
    return found, with_recipe(config, found)


def with_recipe(config: Config, version: Version) -> Config:
    """``config`` with all settings that a version's fits read as they were."""
    told = json.loads(version.tags["recipe"])
    groups = {name: type(getattr(config, name)).model_validate(told[name]) for name in told}
    return config.model_copy(update=groups)


def decided(
    config: Config,
    told: Training,
    challenger: Version,
    judged: Entry,
    champion_judged: Entry | None,
    publishable: Callable[[], Child],
    until: int,
) -> Decision:
    """Compare both recipes on the same windows, and publish the refit where the challenger wins.

    ``champion_judged`` is the evaluation of the champion's recipe, None without a champion;
    ``until`` the tick up to which the refit has seen the data. Decided before, it is not decided
    again, neither after a kill nor after a champion was set by hand.
    """
    registry = Registry(config.tracking)
    before = Decision.of(challenger)
    if before is not None and (before.promoted or before.margin == config.promotion.margin):
        return before
    now = registry.version(config.lists_name, "champion")
    noted = Decision.of(now) if now and now.tags.get(KEY) == told.key else None
    if noted is not None:  # a killed run had come as far as the alias
        decision = noted
    else:
        decision = _compared(config, challenger, now, judged, champion_judged)
        if decision.promoted:
            tags = {DECISION: json.dumps(asdict(decision), sort_keys=True), "trained_until": str(until)}
            published = registry.publish(told, publishable(), challenger, tags)
            registry.describe(published, refit(decision))
            registry.set_alias(published, "champion")
    noted_on(registry, challenger, decision)
    return decision


def _compared(
    config: Config,
    challenger: Version,
    now: Version | None,
    judged: Entry,
    champion_judged: Entry | None,
) -> Decision:
    margin = config.promotion.margin
    if now is None or champion_judged is None:
        return Decision(True, "the first model of this name", challenger.number, None, {}, margin)
    if now.tags["recipe"] == json.dumps(recipe(config), sort_keys=True):
        reason = "same recipe on newer data, on the same windows no worse by construction"
        return Decision(True, reason, challenger.number, now.number, {METRIC: 0.0}, margin)
    theirs = json.loads(now.tags["recipe"])["lists"]["champion_candidate"]
    both = {
        "challenger": _users(judged, config.lists.champion_candidate),
        "champion": _users(champion_judged, theirs),
    }
    means = resampled_means(
        both,
        resamples=config.evaluation.resamples,
        seed=config.evaluation.seed,
        min_users=config.evaluation.min_users,
    )
    found = means.difference("challenger", "champion", METRIC)
    numbers = {METRIC: found.value, f"{METRIC}_low": found.low, f"{METRIC}_high": found.high}
    better = found.low > 0
    verdict = "better: the interval excludes 0" if better else "not shown to be better"
    reason = (
        f"new recipe, {verdict}; NDCG@{config.lists.k} {found.value:+.4f} "
        f"({found.low:+.4f} to {found.high:+.4f}) against version {now.number} on the same windows"
    )
    return Decision(better, reason, challenger.number, now.number, numbers, margin)


def _users(judged: Entry, system: str) -> pl.DataFrame:
    per_user = pl.read_parquet(judged.tables["per_user"].path)
    own = per_user.filter(pl.col("mode") == "include", pl.col("system") == system)
    return own.select("user", "cutoff", METRIC)
