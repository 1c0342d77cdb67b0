"""Evaluate: a registered model on chosen data."""

from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.train import prepared
from schemas.config import Config


@flow(
    name="evaluate",
    flow_run_name="evaluate {config.model_name} {config.evaluation.model}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def evaluate(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Score plays that the model was not fitted on; returns metrics with intervals and the folder."""
    entries = prepared(config)
    return steps.evaluate_registered(config, entries["ingest"], entries["labels"])
