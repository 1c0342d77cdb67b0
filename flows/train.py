"""Train: raw exports to a registered challenger, audited and evaluated."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prefect import flow

from flows import artifacts, measures, steps
from flows.ingest import prepared
from flows.lists import listed
from flows.turns import in_turn
from schemas.config import Config
from tasks import stages, tracking
from tasks.registry import Training, Version
from tasks.store import Entry


@dataclass(frozen=True)
class Trained:
    """What the later steps of a flow build on."""

    entries: dict[str, Entry]
    models: dict[str, Entry]
    training: Training
    run_id: str
    challenger: Version


def trained(config: Config) -> Trained:
    """Steps up to the challenger; shared by every flow that trains a model of plays."""
    stages.of_plays(config)
    with ThreadPoolExecutor(1) as beside:  # a new store takes seconds to make, and may be refused
        reachable = beside.submit(tracking.reachable, config)
        entries = prepared(config)
        reachable.result()
    data, labels = entries["ingest"], entries["labels"]
    entries["features"] = features = steps.featurize(config, data, labels)
    entries["audit"] = steps.audit(config, data, labels, features)
    models: dict[str, Entry] = {
        ranker: steps.fit(config, ranker, features) for ranker in config.models.rankers
    }
    entries["evaluate"] = steps.evaluate(config, data, features, models, entries.get("world"))
    training, run_id, challenger = steps.record(config, entries, models)
    measures.into(run_id)
    artifacts.training(entries, run_id, config)
    return Trained(entries, models, training, run_id, challenger)


@flow(
    name="train",
    flow_run_name="train {config.dataset}, target {config.labels.target}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
@in_turn
def train(config: Config = Config()) -> Version:  # noqa: B008 - the form's defaults
    """Fit every ranker, evaluate all on the holdout, register the candidate as challenger.

    With ``labels.target=played`` the rankers are those of lists, after retrieval.
    """
    if config.labels.target == "played":
        return listed(config).challenger
    return trained(config).challenger
