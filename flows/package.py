"""Package: the recommender as one registered model, for `mlflow models serve`."""

from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.recommend import champion
from flows.turns import in_turn
from schemas.config import Config


@flow(
    name="package",
    flow_run_name="package {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
@in_turn
def package(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Fit, judge and promote as `recommend` does, and register candidates and ranker as one model."""
    with_ = champion(config)
    done = with_.listed.judged
    made = steps.package(
        with_.recipe, done.data, done.labels, with_.found, with_.model, str(with_.version.number)
    )
    version = steps.register_package(config, made, with_.version)
    served = f"models:/{version.name}@champion"
    return {
        "model": f"{version.name} version {version.number}",
        "cutoff": made.facts["cutoff"],
        "serve it": f"mlflow models serve -m {served} --env-manager local --port 5001",
    }
