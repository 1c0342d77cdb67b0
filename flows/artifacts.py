"""What a person finds in the Prefect UI beside the run: tables, progress, links, what went wrong."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import Flow
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import ParameterTypeError

from flows import measures
from schemas.config import Config
from schemas.errors import InputError
from tasks import tracking
from tasks.commands import mlflow_server, without_credentials
from tasks.metrics.binary import Interval
from tasks.report.content import METRIC_NAMES, MODEL_NAMES, Evaluated
from tasks.report.text import number
from tasks.store import Entry

if TYPE_CHECKING:
    from tasks.report.monitor import Monitored
    from tasks.report.tuning import Tuned

STEPS = {
    "retrain": 15, "train": 11, "promote": 12, "evaluate": 5, "monitor": 6, "ingest": 3, "explore": 4,
    "tune": 10,
}  # fmt: skip
# MLflow's pages open on its tools for language models; with this, on those for runs and models.
WORKSPACE = "?workflowType=machine_learning"
_PROGRESS: dict[Any, tuple[Any, int]] = {}  # flow run → its progress artifact and steps done


def advance() -> None:
    """Count one step of the running flow as done."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow is None:
        return
    if context.flow.name not in STEPS:
        return
    run = context.flow_run.id
    total = STEPS[context.flow.name]
    if context.flow.name == "tune":
        total += _trials(context)
    if run not in _PROGRESS:
        made = create_progress_artifact(
            progress=0.0, key="progress", description=f"steps of {context.flow.name}"
        )
        _PROGRESS[run] = (made, 0)
    artifact, done = _PROGRESS[run]
    _PROGRESS[run] = (artifact, done + 1)
    update_progress_artifact(artifact, progress=min(100.0 * (done + 1) / total, 100.0))


def _trials(context: FlowRunContext) -> int:
    """How many trials the running search will have, at most."""
    config = (context.parameters or {}).get("config")
    return config.tune.trials if isinstance(config, Config) else 0


def tables(entries: dict[str, Entry]) -> None:
    """Rows of each table and what was refused."""
    data = entries["ingest"]
    rows = [
        {"table": name, "rows": table.rows, "digest": table.digest}
        for name, table in data.tables.items()
    ]
    create_table_artifact(rows, key="tables", description="canonical tables")
    if data.facts["refused"]:
        create_table_artifact(
            data.facts["refused"], key="quarantine", description="refused rows by reason"
        )


def training(entries: dict[str, Entry], run_id: str, config: Config) -> None:
    """Metrics of every model, the audit, and the way to the MLflow run."""
    metrics = entries["evaluate"].facts["metrics"]
    rows = [  # a model a column: nine metrics beside each other would not fit on a page
        {
            "metric": shown,
            **{MODEL_NAMES[model]: number(Interval(*told[name])) for model, told in metrics.items()},
        }
        for name, shown in METRIC_NAMES.items()
    ]
    create_table_artifact(rows, key="model-comparison", description="holdout, with 95 % intervals")
    create_table_artifact(
        [entries["audit"].facts], key="audit", description="features rebuilt without the future"
    )
    tables(entries)
    uri, what = config.tracking.uri, "parameters, metrics, figures and models"
    if uri.startswith("http"):
        page = f"{uri}/#/runs/{run_id}{WORKSPACE}"
        create_link_artifact(page, key="mlflow-run", link_text="the run in MLflow", description=what)
    else:
        create_markdown_artifact(
            f"Run `{run_id}` in `{without_credentials(uri)}`. To open it: `{mlflow_server(uri)}`, "
            "then http://127.0.0.1:5000.",
            key="mlflow-run",
            description=what,
        )


def lists(evaluation: Entry) -> None:
    """Metrics of every retriever's and ranker's lists."""
    rows = [
        {**{key: row[key] for key in ("mode", "system", "metric")},
         "value": f"{row['value']:.4f} ({row['low']:.4f} to {row['high']:.4f})"}
        for row in evaluation.facts["metrics"]
        if row["metric"] in ("ndcg", "recall", "hit")
    ]  # fmt: skip
    create_table_artifact(rows, key="lists", description="lists on the newest windows")


def decision(made: Any) -> None:
    """Whether the challenger was promoted, why, and by which numbers."""
    rows = [
        {
            "promoted": made.promoted,
            "reason": made.reason,
            "challenger": made.challenger,
            "champion before": made.champion,
            **made.numbers,
        }
    ]
    create_table_artifact(rows, key="promotion", description=made.reason)


def evaluated(told: Evaluated) -> None:
    """The verdict on a registered model, and its metrics."""
    what = f"{told.model} version {told.version}"
    rows = [
        {"metric": METRIC_NAMES[name], what: number(told.metrics[name])}
        for name in METRIC_NAMES
        if name in told.metrics
    ]
    create_table_artifact(rows, key="evaluation", description="with 95 % intervals")
    create_markdown_artifact(f"## {told.verdict}", key="verdict", description=what)


def monitored(told: "Monitored") -> None:
    """Whether retraining pays, with the reasons, and the drift of every feature."""
    from tasks.report.monitor import interval  # draws figures: no flow is to wait for it at its start

    create_table_artifact(told.facts["reasons"], key="reasons", description="one reason is enough")
    rows = [
        {
            "feature": row["feature"],
            "gain": f"{row['gain']:.1%}",
            "drift": row["drift"],
            "stability index": number(interval(row["psi"])),
            "usual": number(interval(row["usual"])) if row["usual"] else "–",
        }
        for row in told.facts["features"]
    ]
    create_table_artifact(
        rows, key="drift",
        description="stability index, 95 % intervals; usual: the largest of such a stretch in training",
    )  # fmt: skip
    create_markdown_artifact(f"## {told.verdict}", key="verdict", description="does retraining pay?")


def tuned(told: "Tuned") -> None:
    """Whether the best settings are better than those given, and every trial, best first."""
    header, lines = told.rows()
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    create_table_artifact(rows, key="trials", description=f"{told.metric} on the windows for choosing")
    used = f"To use `tuned.yaml`: `{told.command}`"
    create_markdown_artifact(f"## {told.verdict}\n\n{used}", key="verdict")


def finished(config: Config, report: Entry, made: Any, folder: Path, run_id: str) -> None:
    """The verdict, the decision, and the way to the report."""
    decision(made)
    create_markdown_artifact(
        f"## {report.facts['verdict']}\n\nPromotion: {made.reason}",
        key="verdict",
        description="what the holdout says, and what was decided",
    )
    told = f"`{folder}/RESULTS.md` and `{folder}/figures/dashboard.html`"
    if config.tracking.uri.startswith("http"):
        page = f"{config.tracking.uri}{tracking.run_page(config, run_id)}/artifacts/report"
        told = f"[the dashboard in MLflow]({page}/figures/dashboard.html{WORKSPACE})\n\nOn disk: {told}"
    create_markdown_artifact(told, key="report", description="figures and tables")


def backtested(verdict: str, folder: str) -> None:
    """The verdict on lists, and where their report lies."""
    create_markdown_artifact(
        f"## {verdict}\n\n`{folder}/BACKTEST.md` and `{folder}/lists/dashboard.html`",
        key="report",
        description="lists over the cutoffs: verdict, figures and tables",
    )


def completed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Done is done, also where a source needs fewer steps."""
    made = _PROGRESS.pop(flow_run.id, None)
    if made is not None:
        update_progress_artifact(made[0], progress=100.0)
    measures.ended(flow_run)


def failed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Say what went wrong and what to do, in the UI and in the log."""
    _PROGRESS.pop(flow_run.id, None)
    measures.broken_off(flow_run)
    error = state.result(raise_on_failure=False)
    if isinstance(error, InputError | ParameterTypeError):  # the second: from the form, not --set
        told = f"**{flow.name} stopped: the input or a setting is at fault.**\n\n{error}"
    else:
        told = (
            f"**{flow.name} failed: a fault of Encore's, or of the machine.**\n\n"
            f"`{type(error).__name__}: {error}`\n\n"
            "What is finished is kept: run the same again and it goes on from there. "
            "If it fails in the same place, report it with the log."
        )
    # a form's values are refused before the run begins: only by its id does this belong to it
    made = ArtifactCreate(
        key="failure",
        type="markdown",
        data=told,
        description=f"why {flow_run.name} failed",
        flow_run_id=flow_run.id,
    )
    with get_client(sync_client=True) as client:
        client.create_artifact(made)
