"""Backtest: the two stages over rolling cutoffs, each judged by what was played after it."""

from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.ingest import prepared
from flows.lists import judged
from schemas.config import Config
from tasks import reporting


@flow(
    name="backtest",
    flow_run_name="backtest {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def backtest(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Evaluate every retriever and ranker over ``backtest.cutoffs`` windows; write BACKTEST.md."""
    reporting.writable(config)
    entries = prepared(config)
    done = judged(config, entries["ingest"], entries["labels"])
    folder, verdict = steps.publish_backtest(config, done.data, done.evaluation)
    artifacts.backtested(verdict, str(folder))
    return {
        "verdict": verdict,
        "report": f"{folder}/BACKTEST.md",
        "dashboard": f"{folder}/lists/dashboard.html",
    }
