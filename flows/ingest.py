"""Ingest: raw exports to canonical, validated tables."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows import artifacts, steps
from schemas.config import Config
from tasks.store import Entry


def prepared(config: Config) -> dict[str, Entry]:
    """Steps up to the canonical tables and their labels; shared by every flow that reads data."""
    entries: dict[str, Entry] = {}
    if config.source.kind == "simulated":
        entries["world"] = steps.world(config)
    entries["ingest"] = steps.ingest(config, entries.get("world"), datetime.now(UTC))
    entries["labels"] = steps.label(config, entries["ingest"])
    return entries


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
