"""Ingest: raw exports to canonical, validated tables."""

from typing import Any

from prefect import flow

from flows import artifacts
from flows.train import prepared
from schemas.config import Config


@flow(
    name="ingest",
    flow_run_name="ingest {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def ingest(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Read, validate, merge, order and label; returns what was read and refused."""
    entries = prepared(config)
    artifacts.tables(entries)
    facts = entries["ingest"].facts
    return {"tables": str(entries["ingest"].path), **facts, "files": len(facts["files"])}
