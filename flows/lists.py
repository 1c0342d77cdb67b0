"""The steps of lists that several flows share: retrieval and ranking, judged, registered."""

from dataclasses import dataclass

from flows import artifacts, measures, steps
from flows.ingest import prepared
from schemas.config import Config
from tasks.promotion import Decision
from tasks.registry import Child, Training, Version
from tasks.store import Entry
from tasks.two_stage import promotion, reports, stages


@dataclass(frozen=True)
class Judged:
    """Candidates of all windows, oldest first, the newest window's rankers, and how lists fared.

    ``config`` has the settings that candidates were made with.
    """

    config: Config
    data: Entry
    labels: Entry
    windows: list[Entry]
    fits: dict[str, Entry]
    evaluation: Entry


@dataclass(frozen=True)
class Listed:
    """What judged lists left in the registry."""

    judged: Judged
    training: Training
    run_id: str
    challenger: Version


def judged(config: Config, data: Entry, labels: Entry) -> Judged:
    """Steps up to the evaluated lists."""
    spans, training = stages.spans(config, data), config.lists.training_windows
    if stages.tunes(config):
        tuned = steps.tune_als(config, data, labels, spans[: training + 1])
        config = stages.with_als(config, tuned)
    windows = [
        steps.candidates(config, data, labels, span, number < training, number)
        for number, span in enumerate(spans)
    ]
    each: list[tuple[Entry, dict[str, Entry]]] = []
    for place in range(config.backtest.cutoffs):
        history, validation = windows[place : place + training], windows[place + training]
        fits: dict[str, Entry] = {
            ranker: steps.fit_lists(config, ranker, data, history, validation)
            for ranker in config.lists.rankers
        }
        each.append((windows[place + training + 1], fits))
    evaluation = steps.evaluate_lists(config, data, each)
    artifacts.lists(evaluation)
    return Judged(config, data, labels, windows, each[-1][1], evaluation)


def listed(config: Config) -> Listed:
    """Steps up to the challenger for lists."""
    entries = prepared(config)
    done = judged(config, entries["ingest"], entries["labels"])
    told, run_id, version = steps.record_lists(
        config, done.data, done.windows[-2], done.fits, done.evaluation
    )
    measures.into(run_id)
    return Listed(done, told, run_id, version)


def refitted(config: Config, done: Judged) -> Entry:
    """The candidate ranker fitted on the newest windows, all of which are known by now."""
    newest = done.windows[-config.lists.training_windows :]
    return steps.refit_lists(config, done.data, newest, done.fits[config.lists.champion_candidate])


def promoted(config: Config, done: Listed) -> Decision:
    """Compare the challenger with the champion's recipe on the same windows."""
    own = done.judged
    now, theirs = promotion.champion(config, own.data.facts["clock"])
    same = reports.recipe(theirs) == reports.recipe(config)
    rival = own if now is None or same else judged(theirs, own.data, own.labels)

    def publishable() -> Child:
        columns = done.training.children[0].columns
        fitted = refitted(config, own)
        return reports.child(config.lists.champion_candidate, fitted, columns, {})

    decision = steps.promote_lists(
        config, done.training, done.challenger, own.evaluation,
        None if now is None else rival.evaluation, publishable, own.windows[-1].facts["end"],
    )  # fmt: skip
    artifacts.decision(decision)
    return decision
