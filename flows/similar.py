"""Similar: the tracks that go with one."""

from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.ingest import prepared
from schemas.config import Config
from tasks.two_stage import stages


@flow(
    name="similar",
    flow_run_name="similar {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def similar(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """The tracks nearest to ``similar.track``, by sessions or by listeners."""
    entries = prepared(config)
    near = steps.neighbours(config, entries["ingest"], entries["labels"])
    track, table = stages.similar(config, entries["ingest"], near)
    return {"track": track, "table": table}
