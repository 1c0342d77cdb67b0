"""Evaluate: a registered model on chosen data."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.ingest import prepared
from schemas.config import Config
from tasks import reporting, stages


@flow(
    name="evaluate",
    flow_run_name="evaluate {config.model_name} {config.evaluation.model}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def evaluate(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Score plays that the model was not fitted on; returns the numbers and where the report lies."""
    now = datetime.now(UTC)
    reporting.writable(config)
    stages.of_plays(config)
    entries = prepared(config)
    made = steps.evaluate_registered(config, entries["ingest"], entries["labels"], now)
    folder, told = steps.publish_evaluation(config, entries["ingest"], made)
    artifacts.evaluated(told)
    return {
        "verdict": told.verdict,
        "model": told.model,
        "version": told.version,
        "asked for": told.asked_for,
        "plays": told.window.rows,
        "users": told.window.users,
        "share true": round(told.share_true, 4),
        "intervals": f"bootstrap over {told.resampling_units} units of kind {told.resampling_unit}",
        **{
            metric: f"{each.value:.4f} ({each.low:.4f} to {each.high:.4f})"
            for metric, each in told.metrics.items()
        },
        "report": f"{folder}/EVALUATION.md and {folder}/figures/dashboard.html",
    }
