"""Visualize: the figures again, from a scored_samples.csv alone."""

from prefect import flow

from flows import artifacts, steps
from schemas.config import Config


@flow(
    name="visualize",
    flow_run_name="visualize {config.output.dir}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def visualize(config: Config = Config()) -> str:  # noqa: B008 - the form's defaults
    """Redraw figures and dashboard from ``visualize.scored_samples``."""
    return str(steps.visualize(config))
