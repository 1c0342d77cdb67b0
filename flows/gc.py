"""Garbage collection: bound the disk that the store uses."""

from prefect import flow

from flows import artifacts, steps
from schemas.config import Config


@flow(
    name="gc",
    flow_run_name="gc {config.store.path}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def gc(config: Config = Config()) -> dict[str, int]:  # noqa: B008 - the form's defaults
    """Keep what the newest ``store.keep`` runs of each step used; remove what killed runs left."""
    removed, freed = steps.sweep(config)
    return {"entries_removed": removed, "bytes_freed": freed}
