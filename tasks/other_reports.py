"""The reports beside a training's: of a data set, of an evaluation, and of scored plays drawn again.

What draws is imported when it is needed: a flow's first step does not wait for it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from schemas.config import Config
from tasks.report.content import METRIC_NAMES, Evaluated, Lineage, Window
from tasks.report.files import room
from tasks.report.verdict import against_base_rate
from tasks.reporting import interval, moment, raw_files, sentence
from tasks.stages import described
from tasks.store import Entry


def explored(config: Config, data: Entry, labels: Entry) -> Path:
    """Write the report of a data set into ``output.dir``."""
    from tasks.report.explore import explore

    tables, target = data.tables, config.labels.target
    explore(
        tables["plays"].path,
        tables["tracks"].path,
        tables["users"].path,
        labels.tables[described(config, labels)].path,
        {name: value for name, value in data.facts.items() if name != "files"},
        config.output.dir,
        config.store,
        config.source.timezone,
        target,
    )
    return config.output.dir


def redrawn(config: Config) -> Path:
    """Draw figures and dashboard from ``visualize.scored_samples``; returns the folder.

    That is ``output.dir``, or ``visualize`` in it where the report of another command lies there.
    """
    from tasks.report.redraw import redraw

    scored = config.visualize.scored_samples or config.output.dir / "scored_samples.csv"
    folder = room(config.output.dir, "visualize", "visualize")
    redraw(scored, folder, config.store, config.source.timezone)
    return folder


def evaluated(config: Config, data: Entry, made: Entry) -> tuple[Path, Evaluated]:
    """Write the report of ``tasks.registered.scored``; returns the folder and what it says.

    That is ``output.dir``, or ``evaluate-v<version>`` in it where the report of another command lies
    there. Nothing is sent to MLflow.
    """
    from tasks.report import evaluated as evaluation

    facts = made.facts
    metrics = {
        name: {metric: interval(told[metric]) for metric in METRIC_NAMES}
        for name, told in {**facts["metrics"], "difference": facts["difference"]}.items()
    }
    start, end = (moment(tick, facts["clock"]) for tick in facts["window"])
    window = Window(start, end, facts["plays"], facts["users"], facts["share_true"])
    name = f"{facts['name']} version {facts['version']}"
    told = Evaluated(
        verdict=against_base_rate(
            name, sentence(config), window, facts["units"], facts["unit"],
            metrics["difference"]["log_loss"],
        ),
        model=facts["name"],
        version=facts["version"],
        asked_for=config.evaluation.model,
        refit=facts["refit"],
        run=facts["run"],
        dataset=config.dataset,
        target=config.labels.target,
        target_sentence=sentence(config),
        timezone=config.source.timezone,
        created=datetime.fromisoformat(facts["scored_at"]),
        window=window,
        share_true=facts["share_true"],
        threshold=facts["threshold"],
        resampling_unit=facts["unit"],
        resampling_units=facts["units"],
        metrics=metrics["model"],
        base_rate=metrics["base_rate"],
        difference=metrics["difference"],
        lineage=Lineage(
            raw_files(data),
            {name: table.digest for name, table in data.tables.items()}
            | {"features": facts["features"]},
        ),
    )  # fmt: skip
    folder = room(config.output.dir, "evaluate", f"evaluate-v{told.version}")
    evaluation.write(told, made.tables["scored"].path, folder, config.store)
    return folder, told
