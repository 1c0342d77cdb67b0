"""What `monitor` leaves: the report in ``output.dir``, a run in MLflow, numbers for whoever listens."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.config import Config
from tasks import tracking_runs
from tasks.monitoring.windows import DAY
from tasks.registry import KEY, Registry
from tasks.report.text import count
from tasks.report.words import UNNAMED, WORDS
from tasks.store import Entry
from tasks.tracking_store import using

if TYPE_CHECKING:
    from tasks.report.monitor import Monitored


def published(config: Config, data: Entry, made: Entry, now: datetime) -> tuple[Path, Monitored]:
    """Write the report of ``tasks.monitoring.comparison.compared``; returns the folder and what it says.

    That is ``output.dir``, or ``monitor`` in it where the report of another command lies there.
    ``now`` counts for one number alone: how long before this run the newest play is.
    """
    from tasks.report import monitor
    from tasks.report.files import room
    from tasks.reporting import moment, sentence

    facts = made.facts
    edges = {name: facts["cut"][name] for name in ("start", "known", "recent", "end", "trained")}
    edges["newest_play"] = facts["freshness"]["newest_play"]
    told = monitor.Monitored(
        facts=facts,
        dataset=config.dataset,
        target=config.labels.target,
        target_sentence=sentence(config),
        words=WORDS.get(config.labels.target, UNNAMED),
        moments={name: moment(tick, facts["clock"]) for name, tick in edges.items()},
        gaps=_gaps(facts, now),
        created=now,
        digests={name: table.digest for name, table in data.tables.items()},
    )
    folder = room(config.output.dir, "monitor", "monitor")
    scored = made.tables.get("scored")
    monitor.write(told, scored.path if scored else None, folder)
    return folder, told


def noted(config: Config, made: Entry) -> str:
    """The comparison as a run in MLflow, once for each; returns its id. No listener is named in it."""
    facts, registry = made.facts, Registry(config.tracking)
    experiment = registry.client.get_experiment_by_name(config.tracking.experiment)
    assert experiment is not None, "opening the registry made it"
    for run in registry.client.search_runs([experiment.experiment_id], f"tags.`{KEY}` = '{made.key}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        registry.client.delete_run(run.info.run_id)  # of a killed run
    metrics = {
        "rows_since_training": float(facts["cut"]["new"]),
        "labels_since_training": float(facts["labels"]["new"]),
        "psi_max": max((row["psi"]["value"] for row in facts["features"]), default=0.0),
        "drifted_gain": sum(row["gain"] for row in facts["features"] if row["drift"] == "strong"),
        **{f"psi.{row['feature']}": row["psi"]["value"] for row in facts["features"]},
    }
    if facts["scores"]:
        metrics["psi.probabilities"] = facts["scores"]["psi"]["value"]
    told = facts["model"] or facts["lists"]
    for when in ("now", "then", "change") if told else ():
        for name, each in told[when].items():
            metrics |= {f"{when}_{name}": each["value"]}
            metrics |= {f"{when}_{name}_{bound}": each[bound] for bound in ("low", "high")}
    tags = {
        **tracking_runs.tags(made.key),
        "encore.verdict": facts["verdict"],
        "encore.model": facts["name"],
        "encore.version": str(facts["version"]),
        "dataset": config.dataset,
        "target": config.labels.target,
    }
    name = f"monitor {config.dataset} {config.labels.target}"
    with using(config.tracking):
        made_run = registry.client.create_run(experiment.experiment_id, tags=tags, run_name=name)
        registry.measure(made_run.info.run_id, metrics)
        registry.client.set_terminated(made_run.info.run_id)
    return str(made_run.info.run_id)


def payload(made: Entry) -> dict[str, Any]:
    """What an event tells: verdict, the reasons for it, model and numbers; JSON."""
    facts = made.facts
    return {
        "verdict": facts["verdict"],
        "reasons": {
            each["name"]: each["told"] for each in facts["reasons"] if each["says"] == "retrain"
        },
        "model": facts["name"],
        "version": facts["version"],
        "rows_since_training": facts["cut"]["new"],
        "labels_since_training": facts["labels"]["new"],
        "drifted": [row["feature"] for row in facts["features"] if row["drift"] == "strong"],
    }


def _gaps(facts: Any, now: datetime) -> dict[str, str]:
    fresh, trained = facts["freshness"], facts["cut"]["trained"]
    ago = now.timestamp() * 1000 - fresh["newest_play"]
    since = max(fresh["newest_play"] - trained, 0)
    if facts["clock"] != "time":
        return {
            "newest row after what the model knows": count(since, "row"),
            "users played last, median, before the end": count(round(fresh["median_gap"]), "row"),
        }
    return {
        "newest play after what the model knows": f"{since / DAY:.1f} days",
        "users played last, median, before the end": f"{fresh['median_gap'] / DAY:.1f} days",
        "the longest ago": f"{fresh['longest_gap'] / DAY:.1f} days",
        "newest play before this run": f"{ago / DAY:.1f} days",
    }
