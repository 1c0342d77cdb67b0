"""Retrain: the main job, from raw exports to a champion and its report."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.recommend import recommended
from flows.train import trained
from flows.turns import in_turn
from schemas.config import Config
from tasks import reporting, stages


@flow(
    name="retrain",
    flow_run_name="retrain {config.dataset}, target {config.labels.target}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
@in_turn
def retrain(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Ingest, train, evaluate, promote and report; returns where the report lies and its verdict.

    With ``labels.target=played`` the models are those of lists, and the lists are published.
    """
    created = datetime.now(UTC)
    reporting.writable(config)
    if config.labels.target == "played":
        return recommended(config)
    done = trained(config)
    entries, candidate = done.entries, done.models[config.models.champion_candidate]
    decision = steps.promote(config, done.training, done.challenger, entries, candidate)
    if stages.asks(entries["ingest"]):
        entries["answer"] = steps.answer(config, entries, candidate)
    if config.labels.target == "completed":
        entries["playlist"] = steps.playlist(
            config, entries["ingest"], entries["labels"], entries["features"]
        )
    report = steps.report(config, entries, done.models, decision, done.run_id, created)
    folder = steps.publish(config, report, done.run_id)
    artifacts.finished(config, report, decision, folder, done.run_id)
    return {"folder": str(folder), "run": done.run_id, "decision": decision.reason, **report.facts}
