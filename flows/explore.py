"""Explore: the report of a data set, in place of notebooks."""

from prefect import flow

from flows import artifacts, steps
from flows.ingest import prepared
from schemas.config import Config
from tasks import reporting


@flow(
    name="explore",
    flow_run_name="explore {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def explore(config: Config = Config()) -> str:  # noqa: B008 - the form's defaults
    """Ingest and label, then describe: balance, repeats, long tail, hours, sessions, gaps."""
    reporting.writable(config)
    entries = prepared(config)
    return str(steps.explore(config, entries["ingest"], entries["labels"]))
