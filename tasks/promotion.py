"""When a challenger becomes champion, decided once and recorded with its numbers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schemas.config import Config
from schemas.errors import InputError
from tasks import evaluation, split, stages, tracking, training
from tasks.ranking import RANKERS
from tasks.ranking.protocol import Ranker, Task
from tasks.registry import KEY, Child, Registry, Training, Version
from tasks.split import Windows
from tasks.store import Entry

DECISION = "encore.decision"


@dataclass(frozen=True)
class Decision:
    """Whether the challenger became champion; version numbers before and after.

    ``margin`` is the ``promotion.margin`` that counted.
    """

    promoted: bool
    reason: str
    challenger: int
    champion: int | None
    numbers: Mapping[str, float] = field(default_factory=dict)
    margin: float | None = None

    @staticmethod
    def of(version: Version) -> Decision | None:
        """The decision that a version's tag records, if any."""
        told = version.tags.get(DECISION)
        return Decision(**json.loads(told)) if told else None


def decide(
    config: Config,
    registry: Registry,
    told: Training,
    challenger: Version,
    features: Entry,
    candidate: Entry,
    publishable: Callable[[], Child],
) -> Decision:
    """Compare, and publish the refit as ``champion`` where the challenger wins.

    Decided before (the same inputs, settings and code), it is not decided again: neither after a
    kill between publishing and the last note of it, nor after a champion was set by hand.
    """
    before = Decision.of(challenger)
    if before is not None and (before.promoted or before.margin == config.promotion.margin):
        return before
    champion = registry.version(told.model, "champion")
    noted = Decision.of(champion) if champion and champion.tags.get(KEY) == told.key else None
    if noted is not None:  # a killed run had come as far as the alias
        decision = noted
    else:
        decision = _compare(config, registry, challenger, champion, features, candidate)
        if decision.promoted:
            tags = {DECISION: _json(decision), "trained_until": str(features.facts["windows"]["end"])}
            published = registry.publish(told, publishable(), challenger, tags)
            registry.describe(published, refit(decision))
            registry.set_alias(published, "champion")
    noted_on(registry, challenger, decision)
    return decision


def refit(decision: Decision) -> str:
    """What the page of the published refit says."""
    return f"Refit on all data of version {decision.challenger}, which was judged: {decision.reason}."


def noted_on(registry: Registry, challenger: Version, decision: Decision) -> None:
    """Leave the decision where people look for it, and last where runs do: with it, it is whole."""
    outcome = "Won" if decision.promoted else "Did not replace the champion"
    registry.attach_json(challenger.run_id, asdict(decision), "promotion.json")
    registry.describe(challenger, f"{outcome}: {decision.reason}.")
    registry.tag(challenger, {DECISION: _json(decision)})


def decided(
    config: Config,
    told: Training,
    challenger: Version,
    entries: Mapping[str, Entry],
    candidate: Entry,
) -> Decision:
    """``decide`` for the stages' entries; the refit goes through the store."""

    def publishable() -> Child:
        final = stages.featurized_at_end(config, entries["ingest"], entries["labels"])
        return tracking.published_child(config, final, stages.refitted(config, final, candidate))

    registry = Registry(config.tracking)
    return decide(config, registry, told, challenger, entries["features"], candidate, publishable)


def answered(config: Config, entries: Mapping[str, Entry], candidate: Entry) -> Entry:
    """Predictions for the plays that ask, by the candidate refitted on all labels."""
    final = stages.featurized_at_end(config, entries["ingest"], entries["labels"])
    return stages.answered(config, entries["ingest"], final, stages.refitted(config, final, candidate))


def by_hand(config: Config) -> Decision:
    """Make ``promotion.version`` champion without a comparison, e.g. to roll back."""
    registry, number = Registry(config.tracking), config.promotion.version
    assert number is not None
    version = registry.version(config.model_name, str(number))
    if version is None:
        raise InputError(
            "no such model version", place="promotion.version", found=number,
            expected=f"a version of {config.model_name}", do="look it up in the MLflow page",
        )  # fmt: skip
    champion = registry.version(config.model_name, "champion")
    before = champion.number if champion else None
    decision = Decision(True, "promoted by hand", number, before, {}, config.promotion.margin)
    registry.set_alias(version, "champion")
    earlier = registry.client.get_model_version(version.name, str(version.number)).description
    instead = f" in place of version {before}" if before not in (None, number) else ""
    made = f"Made champion by hand on {datetime.now(UTC):%Y-%m-%d}{instead}."
    registry.describe(version, f"{made}\n\n{earlier}" if earlier else made)
    registry.tag(version, {DECISION: _json(decision)})
    return decision


def _compare(
    config: Config,
    registry: Registry,
    challenger: Version,
    champion: Version | None,
    features: Entry,
    candidate: Entry,
) -> Decision:
    if champion is None:
        reason, margin = "the first model of this name", config.promotion.margin
        return Decision(True, reason, challenger.number, None, {}, margin)
    windows, clock = Windows(**features.facts["windows"]), features.facts["clock"]
    table = features.tables["features"].path
    same_recipe = champion.tags.get("recipe") == challenger.tags["recipe"]
    holdout = split.rows(table, windows.bounds("holdout"), clock).collect()
    new = training.load(candidate.path).score(holdout)
    with tempfile.TemporaryDirectory() as scratch:
        folder = registry.ranker(champion, Path(scratch))
        needed = set(columns_of(folder))
        known = needed <= set(holdout.columns)
        unseen = (
            int(champion.tags["trained_until"]) <= windows.cutoff and champion.tags["clock"] == clock
        )
        how = "as it was published"
        if known and unseen:
            old = training.load(folder).score(holdout)
        elif same_recipe:
            how, old = "its recipe, the challenger's own, on the same rows", new
        else:
            how = "its recipe refitted on the challenger's training rows"
            old = _refit(config, champion, features, windows, clock).score(holdout)
    both = {"challenger": new, "champion": old}
    thresholds = dict.fromkeys(both, 0.5)
    compared, _ = evaluation.resampled(holdout, clock, both, thresholds, config.evaluation)
    numbers: dict[str, float] = {}
    for metric in ("log_loss", "auc", "brier"):
        interval = compared.difference("challenger", "champion", metric)
        numbers |= {
            metric: interval.value,
            f"{metric}_low": interval.low,
            f"{metric}_high": interval.high,
        }
    return _judge(config, challenger, champion, same_recipe, how, numbers)


def _judge(
    config: Config,
    challenger: Version,
    champion: Version,
    same_recipe: bool,
    how: str,
    numbers: Mapping[str, float],
) -> Decision:
    worse, low, high = (numbers[f"log_loss{suffix}"] for suffix in ("", "_low", "_high"))
    margin = config.promotion.margin
    shown = f"log loss {worse:+.4f} ({low:+.4f} to {high:+.4f}) against version {champion.number}, {how}"
    if same_recipe:
        promoted = worse <= margin
        verdict = f"same recipe on newer data, {'not ' if promoted else ''}worse by more than {margin}"
    else:
        promoted = high < 0
        shown_better = (
            "better: the interval excludes"
            if promoted
            else "not shown to be better: the interval does not lie below"
        )
        verdict = f"new recipe, {shown_better} 0"
    reason = f"{verdict}; {shown}"
    return Decision(promoted, reason, challenger.number, champion.number, numbers, margin)


def _refit(config: Config, champion: Version, features: Entry, windows: Windows, clock: str) -> Ranker:
    recipe = json.loads(champion.tags["recipe"])
    table = features.tables["features"].path
    own = {"lightgbm": "lightgbm", "logistic": "logistic"}.get(recipe["ranker"])
    models = config.models.model_dump()
    models |= {"min_category_share": recipe["min_category_share"], "seed": recipe["seed"]}
    if own:
        models[own] = recipe["settings"]
    settings = type(config.models).model_validate(models)
    columns = training.columns(table, clock)
    train = split.rows(table, windows.bounds("training"), clock).collect()
    validation = split.rows(table, windows.bounds("validation"), clock).collect()
    return RANKERS[recipe["ranker"]].fit(
        Task(columns, train, validation, settings, config.store.threads)
    )


def columns_of(folder: Path) -> list[str]:
    """Feature columns that a saved ranker reads."""
    saved = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    encoding = saved.get("encoding")
    if encoding is not None:
        return [*encoding["numbers"], *encoding["levels"]]
    return [name for name in (saved.get("track"), saved.get("artist")) if name]


def _json(decision: Decision) -> str:
    return json.dumps(asdict(decision), sort_keys=True)
