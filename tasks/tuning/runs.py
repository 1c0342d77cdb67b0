"""A search in MLflow: a run for the search, below it one for each trial, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.config import Config
from tasks import tracking_runs
from tasks.registry import Registry
from tasks.store import Entry
from tasks.tracking_store import using
from tasks.tuning import stages
from tasks.tuning.kinds import Material
from tasks.tuning.stages import Tried

NUMBER, PARENT = "encore.trial", "mlflow.parentRunId"


def record(config: Config, found: Material, done: Sequence[Tried]) -> str:
    """The trials so far; returns the id of the search's run.

    What is there is left as it is, but for a run that a killed process was writing.
    """
    registry, name = Registry(config.tracking), stages.named(config, found)
    with using(config.tracking):
        parent, known = _runs(registry, config, name)
        tuned = stages.kind(config)
        for each in done:
            if each.number in known:
                continue
            facts = each.entry.facts
            state = "pruned" if facts["value"] is None else "complete"
            tags = {
                **tracking_runs.tags(name), PARENT: parent, NUMBER: str(each.number),
                "encore.state": state,
            }  # fmt: skip
            title = f"trial {each.number}" if each.number else "the given settings"
            run = registry.client.create_run(_experiment(registry, config), tags=tags, run_name=title)
            metric = _metric(tuned.METRIC)
            curves = {f"{metric}_on_the_way": each.trial.curve, "seconds": [(0, each.entry.seconds)]}
            curves |= {metric: [(0, facts["value"])]} if facts["value"] is not None else {}
            registry.note(run.info.run_id, each.point, curves)
            registry.client.set_terminated(run.info.run_id)
    return parent


def conclude(config: Config, run_id: str, verdict: Entry) -> str:
    """The verdict, as parameters, metrics and tags of the search's run, which is ended; its id."""
    registry, facts = Registry(config.tracking), verdict.facts
    with using(config.tracking):
        tags = registry.client.get_run(run_id).data.tags
        if tracking_runs.COMPLETE in tags:
            return run_id
        metric = _metric(stages.kind(config).METRIC)
        told = facts["comparison"]
        curves = {
            f"validation_{metric}_{name}{end}": [(0, value)]
            for name in ("given", "best", "difference")
            for end, value in zip(("", "_low", "_high"), told[name], strict=True)
            if value is not None
        }
        registry.note(run_id, facts["settings"], curves)
        registry.client.set_tag(run_id, "encore.found", facts["found"])
        registry.client.set_tag(run_id, "encore.best", str(facts["best"]))
        registry.client.set_tag(run_id, tracking_runs.COMPLETE, "tune")
        registry.client.set_terminated(run_id)
    return run_id


def _runs(registry: Registry, config: Config, name: str) -> tuple[str, set[int]]:
    """The search's run, made if it is not there, and the trials that have one."""
    experiment = _experiment(registry, config)
    own, known = None, set()
    for run in tracking_runs.of(registry.client, experiment, name):
        number = run.data.tags.get(NUMBER)
        if number is None:
            own = run.info.run_id
            if run.info.status == "RUNNING":  # perhaps of a process that is no more
                process = tracking_runs.tags(name)[tracking_runs.PROCESS]
                registry.client.set_tag(own, tracking_runs.PROCESS, process)
        elif run.info.status == "FINISHED":
            known.add(int(number))
        else:  # of a killed process
            registry.client.delete_run(run.info.run_id)
    if own is None:
        own = _begun(registry, config, experiment, name)
    return own, known


def _begun(registry: Registry, config: Config, experiment: str, name: str) -> str:
    tuned = stages.kind(config)
    tags = {
        **tracking_runs.tags(name), "encore.tunes": tuned.NAME, "dataset": config.dataset,
        "target": config.labels.target,
    }  # fmt: skip
    title = f"tune {config.dataset} {config.labels.target}"
    made: Any = registry.client.create_run(experiment, tags=tags, run_name=title)
    told = {f"tune.{name}": value for name, value in config.tune.model_dump().items()}
    registry.note(made.info.run_id, {"dataset": config.dataset, **told}, {})
    return str(made.info.run_id)


def _experiment(registry: Registry, config: Config) -> str:
    found = registry.client.get_experiment_by_name(config.tracking.experiment)
    assert found is not None, "opening the registry made it"
    return str(found.experiment_id)


def _metric(told: str) -> str:
    """A metric's name as MLflow takes it."""
    return told.lower().replace(" ", "_").replace("@", "_at_")
