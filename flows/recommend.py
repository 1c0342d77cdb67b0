"""Recommend: lists for chosen users as of the end of the data, each with a reason."""

from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.lists import judged, listed, promoted, refitted
from schemas.config import Config
from tasks import list_promotion, reporting
from tasks.recommend import shown

SHOWN = 3  # users whose lists are printed


def recommended(config: Config) -> dict[str, Any]:
    """All steps from raw data to published lists, which are the champion's."""
    done = listed(config)
    decision = promoted(config, done)
    data, labels = done.judged.data, done.judged.labels
    version, recipe = list_promotion.champion(config, data.facts["clock"])
    assert version is not None, "a champion was just decided on"
    own = done.judged if decision.promoted else judged(recipe, data, labels)
    found = steps.candidates_at_end(recipe, data, labels)
    near = steps.neighbours(recipe, data, labels)
    model = refitted(recipe, own)
    made = steps.recommend(recipe, data, labels, found, model, near, str(version.number))
    folder = steps.publish_lists(config, data, made, version)
    report, verdict = steps.publish_backtest(config, data, done.judged.evaluation)
    return {
        "verdict": verdict,
        "table": shown(made.tables["recommendations"].path, SHOWN),
        "users": made.facts["users"],
        "cutoff": made.facts["cutoff"],
        "model": f"{version.name} version {version.number}",
        "promotion": decision.reason,
        "recommendations": f"{folder}/recommendations.csv and .parquet",
        "report": f"{report}/BACKTEST.md",
        "MLflow run": done.run_id,
    }


@flow(
    name="recommend",
    flow_run_name="recommend {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def recommend(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Fit both stages, judge and register them, and publish the champion's recommendations."""
    reporting.writable(config)
    return recommended(config)
