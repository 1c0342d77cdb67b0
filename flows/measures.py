"""What a flow's steps took: a line each as they end, all of it in MLflow when the flow has ended."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows.logs import say
from schemas.config import Config
from tasks import tracking
from tasks.measuring import Cost, covered, size
from tasks.store import Entry


@dataclass
class _Flow:
    """A flow run that is under way in this process."""

    name: str
    config: Config
    began: float
    steps: list[tuple[str, Cost, bool]] = field(default_factory=list)
    run_id: str | None = None  # MLflow's


_FLOWS: dict[UUID, _Flow] = {}


def _flow() -> _Flow:
    """The running one; one of no name where a step is called by itself."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return _Flow("", Config(), 0.0)
    name, began = context.flow_run.id, context.start_time.timestamp()
    config = (context.parameters or {}).get("config")
    told = config if isinstance(config, Config) else Config()
    flow = context.flow.name if context.flow else ""
    return _FLOWS.setdefault(name, _Flow(flow, told, began))  # steps may begin side by side


def begins(step: str) -> None:
    """Tell that a step has begun."""
    flow = _flow()
    told = {**_whose(flow), "step": step, "message": "begins"}
    say(flow.config.logs, "debug", f"{step:<24} begins", told)


def took(step: str, cost: Cost, result: Any) -> None:
    """Tell what a step took, and keep it until the flow ends."""
    flow, entry = _flow(), result if isinstance(result, Entry) else None
    reused = entry is not None and entry.reused
    flow.steps.append((step, cost, reused))
    rows = f"{entry.rows:,} rows" if entry and entry.tables else ""
    text = f"{step:<24} {rows:>18} {cost.seconds:8.1f} s {size(cost.peak_mb):>8}"
    told = {
        **_whose(flow),
        "step": step,
        "rows": entry.rows if entry else None,
        "seconds": round(cost.seconds, 3),
        "peak_mb": round(cost.peak_mb, 1),
        "reused": reused,
    }
    say(flow.config.logs, "info", f"{text}{'  reused' if reused else ''}", told)


def waited() -> None:
    """The running flow has waited for another until now: that is nobody's work."""
    _flow().began = datetime.now(UTC).timestamp()


def into(run_id: str) -> None:
    """What the running flow's steps take belongs to this run of MLflow's."""
    _flow().run_id = run_id


def ended(run: FlowRun) -> None:
    """Tell what went by outside of the steps, and put all into the flow's run in MLflow.

    What cannot be put there is told: a flow has not failed for it.
    """
    flow = _FLOWS.pop(run.id, None)
    if flow is None:
        return
    total = datetime.now(UTC).timestamp() - flow.began
    within = covered((cost.began, cost.began + cost.seconds) for _, cost, _ in flow.steps)
    between = max(total - within, 0.0)
    share = f"{100 * between / total:.0f} %"
    shown = f"orchestration {between:.1f} s of {total:.1f} s ({share})"
    told = {"message": "orchestration", "seconds": round(between, 3), "of_seconds": round(total, 3)}
    say(flow.config.logs, "info", shown, {**_whose(flow), **told}, run)
    if flow.run_id is None:
        return
    try:
        tracking.timed(flow.config, flow.run_id, flow.steps, between, total)
    except Exception as error:  # of whatever kind of store
        text = f"what the steps took is not in MLflow: {type(error).__name__}"
        say(flow.config.logs, "warning", text, {**_whose(flow), "message": text}, run)


def broken_off(run: FlowRun) -> None:
    """Of a failed flow, nothing is kept: the store knows how long each finished step took."""
    _FLOWS.pop(run.id, None)


def _whose(flow: _Flow) -> dict[str, str]:
    return {"dataset": flow.config.dataset, "flow": flow.name}
