"""Tune: settings of LightGBM or of ALS searched before the holdout, the best as a YAML to use."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prefect import flow

from flows import artifacts, measures, steps
from flows.ingest import prepared
from schemas.config import Config
from tasks import reporting, tracking
from tasks.tuning import stages
from tasks.tuning.stages import Tried


@flow(
    name="tune",
    flow_run_name="tune {config.dataset} {config.labels.target}",
    on_completion=[artifacts.completed],
    on_failure=[artifacts.failed],
)
def tune(config: Config = Config()) -> dict[str, Any]:  # noqa: B008 - the form's defaults
    """Try settings on windows before the holdout, confirm the best on validation; write tuned.yaml.

    With ``labels.target=played`` the settings are those of ALS, else those of LightGBM.
    """
    reporting.writable(config)
    stages.kind(config)  # before minutes are spent
    with ThreadPoolExecutor(1) as besides:
        reachable = besides.submit(tracking.reachable, config)
        entries = prepared(config)
        reachable.result()
    found = steps.find_material(config, entries["ingest"], entries["labels"])
    done: list[Tried] = []
    while batch := stages.batch(config, done):
        done += steps.try_settings(config, found, batch, done)
        run = steps.record_trials(config, found, done)
    given, chosen = steps.confirm(config, found, done[0], stages.best(config, done))
    verdict = steps.conclude(config, found, done, given, chosen)
    steps.record_search(config, run, verdict)
    measures.into(run)
    folder, told = steps.publish_search(config, found, verdict)
    artifacts.tuned(told)
    return {
        "verdict": told.verdict,
        "table": told.frame(),
        "settings": f"{folder}/tuned.yaml",
        "report": f"{folder}/TUNING.md",
        "MLflow run": run,
        "to use them": told.command,
    }
