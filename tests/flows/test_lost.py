"""Runs that died without a word are told of, those that live are left alone; one at a time decides."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import lost, turns
from flows.services import worker
from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load
from schemas.services import Services
from tests.flows.conftest import ROOT

NOW = datetime.now(UTC)
LONG_AGO = (NOW - timedelta(hours=1)).isoformat()
HOLD = (
    "import sys, time; from flows.turns import in_turn; from schemas.loading import load\n"
    "def retrain(config): print('held', flush=True); time.sleep(60)\n"
    "in_turn(retrain)(load(None, [f'store.path={sys.argv[1]}']))"
)


@pytest.fixture
def dead() -> int:
    """The pid of a process that was and is not."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


class Server:
    """Prefect's, as far as lost runs go: what it has, and what it is told."""

    def __init__(self, runs: list[dict[str, Any]]) -> None:
        self.runs = {run["id"]: run for run in runs}
        self.steps: list[dict[str, Any]] = []
        self.told: dict[str, str] = {}

    def asked(self, address: str, method: str, path: str, told: Any = None) -> Any:
        _, _, kind, which, *rest = path.split("/")
        if which == "filter":
            return list(self.runs.values()) if kind == "flow_runs" else self.steps
        if rest:
            self.told[which] = told["state"]["type"]
            return {"status": "ACCEPT"}
        return self.runs[which]


def run(
    name: str,
    pid: str | None,
    state: str = "RUNNING",
    pool: str | None = "encore",
    worker: str | None = None,
) -> dict[str, Any]:
    return {
        "id": name, "name": name, "infrastructure_pid": pid, "state_type": state, "state_id": "1",
        "work_pool_name": pool, "state": {"timestamp": LONG_AGO},
        "labels": {"prefect.worker.name": worker} if worker else {},
    }  # fmt: skip


def crashed(monkeypatch: pytest.MonkeyPatch, *runs: dict[str, Any], **more: Any) -> dict[str, str]:
    server = Server(list(runs))
    monkeypatch.setattr(lost, "asked", server.asked)
    lost.crash("http://127.0.0.1:1/api", **more)
    return server.told


def test_a_run_is_lost_when_its_process_is_gone(dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = socket.gethostname()
    told = crashed(
        monkeypatch,
        run("of a worker", str(dead)),
        run("being cancelled", str(dead), "CANCELLING"),
        run("taken and never begun", None, "PENDING"),
        run("of a command line", f"{here}:{dead}", pool=None),
        run("alive", str(os.getpid())),
        run("alive too", lost.signature(), pool=None),
        run("begun, its process not yet noted", None),
        run("of another pool", str(dead), pool="theirs"),
        run("of another machine", f"not-{here}:{dead}", pool=None),
        ours=Services(),
        since=NOW,
    )
    assert told == {
        "of a worker": "CRASHED",
        "being cancelled": "CANCELLED",
        "taken and never begun": "CRASHED",
        "of a command line": "CRASHED",
    }


def test_a_bare_pid_says_nothing_to_who_has_no_worker(
    dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crashed(monkeypatch, run("of some worker", str(dead)), run("waits", None, "PENDING")) == {}


@pytest.mark.parametrize("host", ["0.0.0.0", "music.example"])
def test_where_other_machines_may_work_the_workers_name_says_whose_a_pid_is(
    host: str, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = worker(), f"{worker()}-but-another"
    told = crashed(
        monkeypatch,
        run("taken here", str(dead), worker=here),
        run("taken here, never begun", None, "PENDING", worker=here),
        run("lives here", str(os.getpid()), worker=here),
        run("taken there", str(dead), worker=there),
        run("taken there, not yet begun", None, "PENDING", worker=there),
        run("of nobody knows whom", str(dead)),
        run("of another pool", str(dead), pool="theirs", worker=here),
        ours=Services(host=host),
        since=NOW,
    )
    assert told == {"taken here": "CRASHED", "taken here, never begun": "CRASHED"}


def test_a_run_that_a_new_worker_has_just_taken_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = run("taken", None, "PENDING")
    since = NOW - timedelta(hours=2)
    assert crashed(monkeypatch, taken, ours=Services(), since=since) == {}


def test_a_run_that_ended_meanwhile_keeps_its_state(dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([run("well ended", str(dead))])
    first = server.asked("", "POST", "/api/flow_runs/filter")
    server.runs["well ended"] = {**first[0], "state_type": "COMPLETED", "state_id": "2"}
    answers = iter([first])

    def asked(address: str, method: str, path: str, told: Any = None) -> Any:
        return next(answers, None) if path.endswith("/filter") else server.asked("", method, path, told)

    monkeypatch.setattr(lost, "asked", asked)
    assert lost.crash("http://127.0.0.1:1/api") == []
    assert server.told == {}


def test_steps_of_a_crashed_run_do_not_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([])
    server.steps = [{"id": "record"}]
    monkeypatch.setattr(lost, "asked", server.asked)
    lost.crash("http://127.0.0.1:1/api", Services(), NOW)
    assert server.told == {"record": "CRASHED"}


def test_a_server_that_is_away_is_no_error(dead: int) -> None:
    assert lost.crash("http://127.0.0.1:9/api", Services(), NOW) == []


def test_a_run_of_the_command_line_killed_before_is_told_of_by_the_next(
    prefect: None, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from flows.__main__ import main
    from flows.gc import gc

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with get_client(sync_client=True) as client:
        left = client.create_flow_run(gc, state=Running())
        client.update_flow_run(left.id, infrastructure_pid=f"{socket.gethostname()}:{ended.pid}")
        assert main(["gc", "--set", f"store.path={tmp_path}"]) == 0
        found = client.read_flow_run(left.id)
    assert found.state is not None
    assert found.state.is_crashed()
    assert found.state.message == lost.TOLD


def test_the_second_waits_says_so_and_begins_when_the_first_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    begun = threading.Event()

    def train(config: Config) -> str:
        begun.set()
        return config.dataset

    def elsewhere(dataset: str, store: Path) -> str:
        return turns.in_turn(train)(load(None, [f"store.path={store}", f"dataset={dataset}"]))

    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        # another data set, and the same one in another store, do not wait
        assert elsewhere("other", tmp_path) == "other"
        assert elsewhere("demo", tmp_path / "other") == "demo"
        begun.clear()
        monkeypatch.setattr(logging.getLogger("encore"), "level", logging.INFO)
        with caplog.at_level(logging.INFO, logger="encore"):
            second = threading.Thread(target=elsewhere, args=("demo", tmp_path))
            second.start()
            assert not begun.wait(0.5)
            waiting = f"waiting: retrain, process {holder.pid} is at work on data set demo"
            assert waiting in caplog.text
        os.kill(holder.pid, signal.SIGKILL)
        assert begun.wait(10)
        second.join(10)
        assert not (tmp_path / ".demo.lock").exists()
    finally:
        holder.kill()
        holder.wait()


def test_turns_do_not_overlap_however_many_want_one(tmp_path: Path) -> None:
    config, inside, most = load(None, [f"store.path={tmp_path}"]), [0], [0]

    def counted(_: Config) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1

    def often() -> None:
        for _ in range(20):
            turns.in_turn(counted)(config)

    threads = [threading.Thread(target=often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1]


def test_a_turn_ends_with_an_error_as_well(tmp_path: Path) -> None:
    config = load(None, [f"store.path={tmp_path}"])

    def broken(config: Config) -> None:
        raise ValueError("ours")

    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(ValueError, match="ours"):
            turns.in_turn(broken)(config)
        assert time.monotonic() - began < 5


def test_a_store_that_cannot_be_made_is_the_persons_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"store\.path"):
        turns.in_turn(lambda config: None)(load(None, [f"store.path={tmp_path / 'file'}"]))


def test_the_form_is_that_of_the_flow() -> None:
    from prefect.utilities.callables import parameter_schema

    from flows.ingest import ingest
    from flows.retrain import retrain

    assert retrain.fn.__doc__
    assert retrain.fn.__name__ == "retrain"
    ours, plain = (parameter_schema(each).model_dump() for each in (retrain, ingest))
    assert ours["properties"]["config"] == plain["properties"]["config"]
