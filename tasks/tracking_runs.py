"""Runs of MLflow by the training they belong to, and what is left of those that were killed.

MLflow never learns that a process has died: its run would be RUNNING for ever. So each run names its
process, and the next recording ends or removes what dead ones of this machine have left.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from tasks.store import lives

KEY, COMPLETE, PROCESS = "encore.key", "encore.complete", "encore.process"


def tags(key: str) -> dict[str, str]:
    """What every run is tagged with: the key of its training, the machine and process it runs in."""
    return {KEY: key, PROCESS: f"{socket.gethostname()}:{os.getpid()}"}


def of(client: Any, experiment: str, key: str) -> list[Any]:
    """Runs of the training with this key, as an ``MlflowClient`` has them."""
    return _found(client, experiment, f"tags.`{KEY}` = '{key}'")


def remove(client: Any, experiment: str, run: Any) -> None:
    """A run and the models logged by it, which MLflow keeps apart."""
    for model in client.search_logged_models(
        [experiment], filter_string=f"source_run_id = '{run.info.run_id}'"
    ):
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)


def clear(client: Any, experiment: str) -> None:
    """Of processes that died: a complete training's run is ended, a half one's runs are removed."""
    running = f"attributes.status = 'RUNNING' and tags.`{PROCESS}` LIKE '{socket.gethostname()}:%'"
    dead = [run for run in _found(client, experiment, running) if not _lives(run)]
    for key in {run.data.tags[KEY] for run in dead}:
        runs = of(client, experiment, key)
        whole = any(COMPLETE in run.data.tags for run in runs)
        for run in runs:
            if _lives(run) or (whole and run.info.status != "RUNNING"):
                continue
            if COMPLETE in run.data.tags:
                client.set_terminated(run.info.run_id)
            else:
                remove(client, experiment, run)


def settle(client: Any, experiment: str, key: str, run_id: str) -> None:
    """Remove what was begun twice, once this training's runs and models are all written.

    A server that was killed before it answered is asked again, and then has a run of this process
    that nobody ends, or a model that nobody writes. ``run_id`` is a run that has further models, of
    any training.
    """
    runs = of(client, experiment, key)
    for run in runs:
        if run.info.status == "RUNNING" and run.data.tags.get(PROCESS) == tags(key)[PROCESS]:
            remove(client, experiment, run)
    ids = ", ".join(f"'{each}'" for each in {run_id, *(run.info.run_id for run in runs)})
    for model in client.search_logged_models([experiment], filter_string=f"source_run_id IN ({ids})"):
        if str(model.status).endswith("PENDING"):
            client.delete_logged_model(model.model_id)


def _lives(run: Any) -> bool:
    machine, _, pid = run.data.tags.get(PROCESS, "").rpartition(":")
    return machine != socket.gethostname() or lives(int(pid))


def _found(client: Any, experiment: str, condition: str) -> list[Any]:
    return list(client.search_runs([experiment], filter_string=condition, max_results=1000))
