"""Backtest: the two stages over rolling cutoffs, each judged by what was played after it."""

from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows import artifacts, steps
from flows.train import prepared
from schemas.config import Config
from tasks import reporting, two_stage
from tasks.store import Entry


@dataclass(frozen=True)
class Judged:
    """Candidates of all windows, oldest first, the newest window's rankers, and how lists fared."""

    data: Entry
    labels: Entry
    windows: list[Entry]
    fits: dict[str, Entry]
    evaluation: Entry


def judged(config: Config) -> Judged:
    """Steps up to the evaluated lists; shared by every flow that makes some."""
    entries = prepared(config)
    data, labels = entries["ingest"], entries["labels"]
    spans, training = two_stage.spans(config, data), config.lists.training_windows
    windows = [
        steps.candidates(config, data, labels, span, number < training, number)
        for number, span in enumerate(spans)
    ]
    each: list[tuple[Entry, dict[str, Entry]]] = []
    for place in range(config.backtest.cutoffs):
        history, validation = windows[place : place + training], windows[place + training]
        fits: dict[str, Entry] = {
            ranker: steps.fit_lists(config, ranker, data, history, validation)
            for ranker in config.lists.rankers
        }
        each.append((windows[place + training + 1], fits))
    evaluation = steps.evaluate_lists(config, data, each)
    artifacts.lists(evaluation)
    return Judged(data, labels, windows, each[-1][1], evaluation)


@flow(
    name="backtest",
    flow_run_name="backtest {config.dataset}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def backtest(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Evaluate every retriever and ranker over ``backtest.cutoffs`` windows; write BACKTEST.md."""
    reporting.writable(config)
    done = judged(config)
    folder, verdict = steps.publish_backtest(config, done.data, done.evaluation)
    return {"verdict": verdict, "report": f"{folder}/BACKTEST.md"}
