"""Recommend: lists for chosen users as of the end of the data, each with a reason."""

from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.lists import Listed, judged, listed, promoted, refitted
from flows.turns import in_turn
from schemas.config import Config
from tasks import reporting
from tasks.promotion import Decision
from tasks.registry import Version
from tasks.store import Entry
from tasks.two_stage import promotion as list_promotion
from tasks.two_stage.recommend import shown

SHOWN = 3  # users whose lists are printed


@dataclass(frozen=True)
class Champion:
    """What lists are made with: the recipe, its version, its refit, and candidates to rank."""

    listed: Listed
    decision: Decision
    recipe: Config
    version: Version
    model: Entry
    found: Entry


def champion(config: Config) -> Champion:
    """Steps from raw data to the champion's refit and candidates at the end of the data."""
    done = listed(config)
    decision = promoted(config, done)
    data, labels = done.judged.data, done.judged.labels
    version, recipe = list_promotion.champion(config, data.facts["clock"])
    assert version is not None, "a champion was just decided on"
    own = done.judged if decision.promoted else judged(recipe, data, labels)
    found = steps.candidates_at_end(own.config, data, labels)
    return Champion(done, decision, recipe, version, refitted(recipe, own), found)


def recommended(config: Config) -> dict[str, Any]:
    """All steps from raw data to published lists."""
    with_ = champion(config)
    done, version = with_.listed.judged, with_.version
    near = steps.neighbours(with_.recipe, done.data, done.labels)
    made = steps.recommend(
        with_.recipe, done.data, done.labels, with_.found, with_.model, near, str(version.number)
    )
    folder = steps.publish_lists(config, done.data, made, version)
    report, verdict = steps.publish_backtest(config, done.data, done.evaluation)
    artifacts.backtested(verdict, str(report))
    return {
        "verdict": verdict,
        "table": shown(made.tables["recommendations"].path, SHOWN),
        "users": made.facts["users"],
        "cutoff": made.facts["cutoff"],
        "model": f"{version.name} version {version.number}",
        "promotion": with_.decision.reason,
        "recommendations": f"{folder}/recommendations.csv and .parquet",
        "report": f"{report}/BACKTEST.md",
        "dashboard": f"{report}/lists/dashboard.html",
        "MLflow run": with_.listed.run_id,
    }


@flow(
    name="recommend",
    flow_run_name="recommend {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
@in_turn
def recommend(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Fit both stages, judge and register them, and publish the champion's recommendations."""
    reporting.writable(config)
    return recommended(config)
