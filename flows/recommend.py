"""Recommend: lists for chosen users as of the end of the data, each with a reason."""

from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.backtest import judged
from schemas.config import Config
from tasks import reporting
from tasks.recommend import shown

SHOWN = 3  # users whose lists are printed


@flow(
    name="recommend",
    flow_run_name="recommend {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def recommend(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Fit both stages, judge them, refit on all windows, and publish recommendations."""
    reporting.writable(config)
    done = judged(config)
    training = config.lists.training_windows
    run_id, version = steps.record_lists(config, done.data, done.windows[-2], done.fits, done.evaluation)
    model = steps.refit_lists(
        config, done.data, done.windows[-training:], done.fits[config.lists.champion_candidate]
    )
    found = steps.candidates_at_end(config, done.data, done.labels)
    near = steps.neighbours(config, done.data, done.labels)
    made = steps.recommend(config, done.data, done.labels, found, model, near, str(version.number))
    folder = steps.publish_lists(config, done.data, made, version)
    return {
        "table": shown(made.tables["recommendations"].path, SHOWN),
        "users": made.facts["users"],
        "cutoff": made.facts["cutoff"],
        "model": f"{version.name} version {version.number}, run {run_id}",
        "recommendations": f"{folder}/recommendations.csv and .parquet",
    }
