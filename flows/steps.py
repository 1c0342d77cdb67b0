"""The one policy table: stages of ``tasks`` as Prefect tasks, with retries and timeouts.

Whether work is done again is for the store alone to say, so Prefect's own result cache is off: a
step whose entry was there ends in the state "Reused". Every step writes one line: what, rows,
seconds, peak memory. Steps have no tags: for each tag Prefect asks its server for a slot, which takes
seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import artifacts, measures
from schemas.config import Config
from schemas.errors import InputError
from tasks import other_reports, promotion, registered, reporting, stages, tracking
from tasks.forgetting import removal
from tasks.measuring import measured
from tasks.monitoring import comparison
from tasks.monitoring import lists as monitored_lists
from tasks.monitoring import report as monitoring_report
from tasks.split import Span
from tasks.store import Entry
from tasks.tuning import result as tuning_result
from tasks.tuning import runs as tuning_runs
from tasks.tuning import stages as tuning
from tasks.tuning.kinds import Material
from tasks.tuning.space import Point
from tasks.tuning.stages import Tried
from tasks.two_stage import promotion as list_promotion
from tasks.two_stage import reports
from tasks.two_stage import stages as two_stage

P = ParamSpec("P")
R = TypeVar("R")
HOUR = 3600.0


@dataclass(frozen=True)
class Policy:
    """How often a step is tried again, and how many seconds it may take."""

    retries: int
    timeout: float


# Trying again helps against a full table lock or a disk that comes back, not against bad input.
POLICIES = {
    "world": Policy(0, HOUR),
    "ingest": Policy(1, 3 * HOUR),
    "label": Policy(1, HOUR),
    "featurize": Policy(1, 3 * HOUR),
    "audit": Policy(0, HOUR),
    "fit": Policy(0, 12 * HOUR),
    "evaluate": Policy(0, 3 * HOUR),
    "answer": Policy(0, HOUR),
    "playlist": Policy(0, HOUR),
    "explore": Policy(0, HOUR),
    "monitor": Policy(0, 3 * HOUR),
    "visualize": Policy(0, HOUR),
    "sweep": Policy(1, HOUR),
    "record": Policy(3, HOUR),
    "promote": Policy(3, 12 * HOUR),
    "report": Policy(1, HOUR),
    "publish": Policy(1, HOUR),
    "tune": Policy(1, 3 * HOUR),
    "trial": Policy(0, 12 * HOUR),
    "candidates": Policy(1, 3 * HOUR),
    "neighbours": Policy(1, HOUR),
    "recommend": Policy(1, HOUR),
    "package": Policy(1, HOUR),
    "forget": Policy(1, HOUR),
}


def step(name: str, work: Callable[P, R], label: str = "") -> Callable[P, R]:
    """``work`` as the Prefect task ``name``; it returns what ``work`` returns."""
    made = _task(name, work, label)

    def call(*arguments: P.args, **named: P.kwargs) -> R:
        result = made(*arguments, **named)
        # Prefect hands a state that a task named itself on as it is
        return cast(R, result.result()) if isinstance(result, State) else result

    return call


def beside(name: str, work: Callable[..., R], each: Mapping[str, Sequence[Any]]) -> list[R]:
    """``work`` by label and arguments, side by side in the flow's task runner; results in order."""
    begun = [_task(name, work, label).submit(*arguments) for label, arguments in each.items()]
    return [future.result() for future in begun]


def _task(name: str, work: Callable[P, R], label: str) -> Task[P, R]:
    policy = POLICIES[name]
    shown = f"{name} {label}".strip()

    def run(*arguments: P.args, **named: P.kwargs) -> R:
        measures.begins(shown)
        with measured() as cost:
            result = work(*arguments, **named)
        artifacts.advance()
        measures.took(shown, cost, result)
        reused = isinstance(result, Entry) and result.reused
        return cast(R, Completed(name="Reused", data=result)) if reused else result

    return task(
        name=name,
        task_run_name=shown,
        retries=policy.retries,
        retry_delay_seconds=[2.0, 10.0, 30.0][: policy.retries],
        retry_condition_fn=_worth_trying_again,
        timeout_seconds=policy.timeout,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(run)


def _worth_trying_again(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Not for a user's mistake, nor for a fault of ours that would only come again."""
    error: Any = state.data
    cause = error.__cause__ if isinstance(error, InputError) else error  # a lock is told in a line
    from_store = type(cause).__module__.startswith(("mlflow", "sqlalchemy"))
    return from_store or isinstance(error, OSError)


world = step("world", stages.world)
ingest = step("ingest", stages.ingested)
label = step("label", stages.labelled)
featurize = step("featurize", stages.featurized)
audit = step("audit", stages.audited)
evaluate = step("evaluate", stages.evaluated)
playlist = step("playlist", stages.ranked)
record = step("record", tracking.recorded)
promote = step("promote", promotion.decided)
promote_by_hand = step("promote", promotion.by_hand, "by hand")
answer = step("answer", promotion.answered)
report = step("report", reporting.written)
publish = step("publish", reporting.published)
evaluate_registered = step("evaluate", registered.scored, "registered model")
publish_evaluation = step("publish", other_reports.evaluated, "evaluation")
monitor = step("monitor", comparison.compared)
monitor_lists = step("monitor", monitored_lists.compared, "lists")
record_monitor = step("record", monitoring_report.noted, "comparison")
publish_monitor = step("publish", monitoring_report.published, "comparison")
explore = step("explore", other_reports.explored)
visualize = step("visualize", other_reports.redrawn)
sweep = step("sweep", stages.swept)
forget = step("forget", removal.forget)
tune_als = step("tune", two_stage.als_tuned, "als")
evaluate_lists = step("evaluate", two_stage.lists_evaluated, "lists")
refit_lists = step("fit", two_stage.lists_refitted, "lists on all")
candidates_at_end = step("candidates", two_stage.at_end, "at the end")
neighbours = step("neighbours", two_stage.neighbouring)
recommend = step("recommend", two_stage.recommended)
record_lists = step("record", reports.recorded, "lists")
promote_lists = step("promote", list_promotion.decided, "lists")
publish_lists = step("publish", reports.published, "lists")
package = step("package", two_stage.packaged)
register_package = step("publish", reports.packaged, "recommender")
publish_backtest = step("publish", reports.backtested, "backtest")
find_material = step("featurize", tuning.material, "for trials")
record_trials = step("record", tuning_runs.record, "trials")
conclude = step("evaluate", tuning.concluded, "best and given")
record_search = step("record", tuning_runs.conclude, "search")
publish_search = step("publish", tuning_result.published, "search")


def try_settings(
    config: Config, found: Material, batch: Sequence[tuple[int, Point]], done: Sequence[Tried]
) -> list[Tried]:
    """A batch of trials, side by side."""
    each = {f"{number}": (config, found, point, tuple(done)) for number, point in batch}
    made = beside("trial", tuning.tried, each)
    return [Tried(number, point, entry) for (number, point), entry in zip(batch, made, strict=True)]


def confirm(config: Config, found: Material, given: Tried, best: Tried) -> tuple[Entry, Entry]:
    """The two on the window that confirms them, side by side; once, where they are the same."""
    points = {"confirm given": given.point, "confirm best": best.point}
    if best.number == given.number:
        del points["confirm best"]
    each = {label: (config, found, point) for label, point in points.items()}
    made = beside("trial", tuning.confirmed, each)
    return made[0], made[-1]


def candidates(
    config: Config, data: Entry, labels: Entry, span: Span, training: bool, number: int
) -> Entry:
    """Candidates of one window, named by its number."""
    work = step("candidates", two_stage.candidates_at, f"window {number + 1}")
    return work(config, data, labels, span, training)


def fit_lists(
    config: Config, ranker: str, data: Entry, training: list[Entry], validation: Entry
) -> Entry:
    """One ranker's fit on candidates, named after it."""
    work = step("fit", two_stage.lists_fitted, f"{ranker} of lists")
    return work(config, ranker, data, training, validation)


def fit(config: Config, ranker: str, features: Entry) -> Entry:
    """One ranker's fit, named after it."""
    return step("fit", stages.fitted, ranker)(config, ranker, features)
