"""Forget: a listener is removed from everything that Encore has made, and stays so."""

from datetime import UTC, datetime
from typing import Any

from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State

from flows import artifacts, steps
from flows.turns import in_turn
from schemas.config import Config


def _unnamed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """A form's values are in Prefect's database as they were typed: take the id out of them."""
    values = flow_run.parameters.get("config", {})
    if not isinstance(values, dict) or not (values.get("forget") or {}).get("user"):
        return
    plain = {**flow_run.parameters, "config": {**values, "forget": {"user": "forgotten"}}}
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, parameters=plain)


@flow(
    name="forget",
    flow_run_name="forget {config.dataset}",
    on_completion=[_unnamed, artifacts.completed],
    on_failure=[_unnamed, artifacts.failed],
    on_crashed=[_unnamed],
    on_cancellation=[_unnamed],
)
@in_turn
def forget(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Leave a tombstone, then remove the listener; say what is gone, and what was trained with them."""
    return steps.forget(config, datetime.now(UTC))
