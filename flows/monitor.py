"""Monitor: the newest plays against what a registered model was trained on."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.events import emit_event

from flows import artifacts, measures, steps
from flows.ingest import prepared
from schemas.config import Config
from tasks import reporting
from tasks.monitoring import comparison, lists, report
from tasks.monitoring.verdict import PAYS
from tasks.store import Entry

DRIFT = "encore.drift.reported"  # an automation may start a retrain on it


def _lists(config: Config, data: Entry, labels: Entry) -> Entry:
    """The steps for lists: candidates in windows passed since training, and how lists fared there."""
    known, spans = lists.watched(config, data)
    windows = [
        steps.candidates(known, data, labels, span, False, number) for number, span in enumerate(spans)
    ]
    return steps.monitor_lists(known, data, labels, windows)


@flow(
    name="monitor",
    flow_run_name="monitor {config.model_name} {config.evaluation.model}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def monitor(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Volume, freshness, gaps, drift, calibration since training; returns whether retraining pays.

    With ``labels.target=played`` in place of calibration: the quality of lists on windows since.
    """
    now = datetime.now(UTC)
    reporting.writable(config)
    comparison.watched(config)  # before minutes are spent
    entries = prepared(config)
    if config.labels.target == "played":
        made = _lists(config, entries["ingest"], entries["labels"])
    else:
        made = steps.monitor(config, entries["ingest"], entries["labels"], now)
    run = steps.record_monitor(config, made)
    measures.into(run)
    folder, told = steps.publish_monitor(config, entries["ingest"], made, now)
    artifacts.monitored(told)
    numbers = report.payload(made)
    if numbers["verdict"] == PAYS:
        dataset = {"prefect.resource.id": f"encore.dataset.{config.dataset}"}
        emit_event(DRIFT, resource=dataset, payload={**numbers, "target": config.labels.target})
    return {
        "verdict": told.verdict,
        **{each["name"]: f"{each['says']}: {each['told']}" for each in made.facts["reasons"]},
        "model": f"{numbers['model']} version {numbers['version']}",
        "MLflow run": run,
        "report": f"{folder}/MONITOR.md and {folder}/monitor.html",
    }
