"""Promote: decide on the challenger, or set a version by hand."""

from prefect import flow

from flows import artifacts, steps
from flows.lists import listed, promoted
from flows.train import trained
from flows.turns import in_turn
from schemas.config import Config
from tasks.promotion import Decision


@flow(
    name="promote",
    flow_run_name="promote {config.dataset}, target {config.labels.target}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
@in_turn
def promote(config: Config = Config()) -> Decision:  # noqa: B008 - the form's defaults
    """Compare the challenger with the champion; with ``promotion.version`` set that version instead."""
    if config.promotion.version is not None:
        decision = steps.promote_by_hand(config)
    elif config.labels.target == "played":
        return promoted(config, listed(config))
    else:
        done = trained(config)
        candidate = done.models[config.models.champion_candidate]
        decision = steps.promote(config, done.training, done.challenger, done.entries, candidate)
    artifacts.decision(decision)
    return decision
