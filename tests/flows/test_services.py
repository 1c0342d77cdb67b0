"""`up`, `start`, `down`: one at a time, told apart from what others left, nothing secret in sight."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import processes, up
from flows.__main__ import main
from flows.processes import Running, Service
from flows.services import addresses, environment, services
from schemas.config import Config
from schemas.loading import load
from tasks.commands import OPT_OUT

SLEEP = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"
HOLD = (
    "import sys, time; from pathlib import Path; from flows.processes import held\n"
    "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def ports() -> list[int]:
    """Two that nobody listens on just now."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@pytest.fixture
def overrides(tmp_path: Path, ports: list[int]) -> list[str]:
    return [
        f"services.logs={tmp_path / 'logs'}",
        f"services.prefect_port={ports[0]}",
        f"services.mlflow_port={ports[1]}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
    ]


@pytest.fixture
def config(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    return load(None, overrides)


@pytest.fixture
def signals() -> Iterator[None]:
    """What `up` sets in its process, which here is the tests'."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def sleeper(words: str = SLEEP) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", words], start_new_session=True)


def test_one_holds_the_lock_and_a_killed_one_lets_go_of_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert processes.is_held(tmp_path)
    holder.kill()
    holder.wait()
    assert not processes.is_held(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', '{"pid": 3, "ready": 1, "children": 4}'])
def test_a_broken_state_is_no_state(tmp_path: Path, text: str) -> None:
    (tmp_path / "services.json").write_text(text)
    assert processes.told(tmp_path) is None


def test_what_is_told_is_read_back(tmp_path: Path) -> None:
    running = Running(7, True, {"Prefect": "http://127.0.0.1:1"}, {"worker": (8, "123")})
    running.write(tmp_path)
    assert processes.told(tmp_path) == running


def test_stopping_takes_the_children_along_and_spares_a_pid_that_came_round_again() -> None:
    stranger, ours = sleeper(), sleeper(PARENT)
    try:
        start = processes.moment(ours.pid)
        while len(family := processes.family({ours.pid: start})) < 2:
            time.sleep(0.05)
        processes.stop({ours.pid: start, stranger.pid: "another moment"}, 2)
        alive = processes.processes()
        assert not set(family) & set(alive)
        assert stranger.pid in alive
    finally:
        for each in (stranger, ours):
            each.kill()


def test_what_a_killed_one_started_is_still_its_own() -> None:
    ours = sleeper(PARENT)
    known = {ours.pid: processes.moment(ours.pid)}
    try:
        while len(family := processes.family(known)) < 2:
            time.sleep(0.05)
        ours.kill()
        ours.wait()
        assert set(processes.family(known)) == set(family) - {ours.pid}
        processes.stop(known, 2)
        assert not set(family) & set(processes.processes())
    finally:
        ours.kill()


@pytest.mark.parametrize(("index", "name"), [(0, "prefect"), (1, "mlflow")])
@pytest.mark.parametrize("command", ["up", "start"])
def test_a_taken_port_is_refused_in_one_line(
    command: str, index: int, name: str, overrides: list[str], ports: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[index]))
        taken.listen()
        assert main([command, *(word for each in overrides for word in ("--set", each))]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"services.{name}_port" in told
    assert f"127.0.0.1:{ports[index]}" in told


def test_a_second_one_says_that_it_runs(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.services.logs
    with processes.held(folder):
        assert up.up(config) == 0
        assert "already being started" in capsys.readouterr().out
        Running(os.getpid(), True, addresses(config)).write(folder)
        assert up.start(config) == 0
        told = capsys.readouterr().out
        assert f"already running (process {os.getpid()})" in told
        assert addresses(config)["Prefect"] in told
        assert up.server(config) == f"{addresses(config)['Prefect']}/api"
    assert up.server(config) is None  # the file stayed, its writer did not


def test_runs_kept_elsewhere_do_not_go_to_this_server(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with processes.held(config.services.logs):
        Running(os.getpid(), True, addresses(config)).write(config.services.logs)
        monkeypatch.setenv("PREFECT_HOME", "elsewhere")
        assert up.server(config) is None


def test_down_stops_what_a_killed_one_left(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    left, folder = sleeper(), config.services.logs
    folder.mkdir()
    Running(1, True, {}, {"worker": (left.pid, processes.moment(left.pid))}).write(folder)
    assert up.down(config) == 0
    assert capsys.readouterr().out == "nothing is running\n"
    assert left.pid not in processes.processes()


@pytest.mark.parametrize(
    ("words", "seconds", "told"),
    [
        ("raise SystemExit(3)", 30, "Prefect's server ended (exit 3); see {logs}/prefect.log"),
        (SLEEP, 1, "Prefect's server does not answer after 1 s (services.start_seconds)"),
    ],
)
def test_one_that_does_not_come_up_is_named_and_the_others_are_stopped(
    words: str, seconds: int, told: str, config: Config, overrides: list[str], signals: None,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    logs = config.services.logs
    made = {
        name: Service(name, (sys.executable, "-c", run), os.environ, logs / f"{name}.log")
        for name, run in (("prefect", words), ("mlflow", SLEEP))
    }
    monkeypatch.setattr(up, "services", lambda config: made)
    monkeypatch.setattr(up, "_deploy", lambda config: time.sleep(60))
    begun: list[int] = []
    begin = up.begin

    def noted(service: Service) -> subprocess.Popen[bytes]:
        process = begin(service)
        begun.append(process.pid)
        return process

    monkeypatch.setattr(up, "begin", noted)
    assert up.up(load(None, [*overrides, f"services.start_seconds={seconds}"])) == 1
    assert told.format(logs=logs) in capsys.readouterr().err
    assert len(begun) == 2
    assert not set(begun) & set(processes.processes())
    assert processes.told(logs) is None
    assert not processes.is_held(logs)


def begun(config: Config, **words: str) -> dict[str, subprocess.Popen[bytes]]:
    """Services that run these words of Python."""
    logs, started = config.services.logs, {}
    for name, run in words.items():
        service = Service(name, (sys.executable, "-c", run), os.environ, logs / f"{name}.log")
        up._launch(service, started)
    return started


def test_one_that_is_killed_is_started_again_and_what_its_worker_runs_goes_on(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs, asked = config.services.logs, threading.Event()
    logs.mkdir()
    Running(os.getpid(), True, addresses(config)).write(logs)
    words = {"mlflow": PARENT, "worker": PARENT}
    made = begun(config, **words)
    first = {name: process.pid for name, process in made.items()}
    again = {
        name: Service(name, (sys.executable, "-c", run), os.environ, logs / f"{name}.log")
        for name, run in words.items()
    }
    monkeypatch.setattr(up, "services", lambda config: again)
    monkeypatch.setattr(up, "answers", lambda *_: True)
    monkeypatch.setattr(up, "PATIENCE", 1.0)
    watching = threading.Thread(target=up._watch, args=(config, made, asked))
    try:
        marks = {name: {pid: processes.moment(pid)} for name, pid in first.items()}
        while any(len(processes.family(mark)) < 2 for mark in marks.values()):
            time.sleep(0.05)
        watching.start()
        for process in list(made.values()):
            process.kill()
        while any(made[name].pid == pid for name, pid in first.items()):
            time.sleep(0.05)
        assert not processes.family(marks["mlflow"])  # it would hold the port
        assert len(processes.family(marks["worker"])) == 1
        asked.set()
        watching.join(10)
        told = processes.told(logs)
        assert told is not None
        assert set(told.children) == {"mlflow", "worker", f"worker {first['worker']}"}
        assert "the worker ended (exit -9); it is started again" in capsys.readouterr().out
    finally:
        asked.set()
        up._end(processes.told(logs))
    assert not any(processes.family(mark) for mark in marks.values())
    assert not {process.pid for process in made.values()} & set(processes.processes())


def test_one_that_ends_each_time_is_not_started_for_ever(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = config.services.logs
    logs.mkdir()
    Running(os.getpid(), True, addresses(config)).write(logs)
    made = begun(config, mlflow="raise SystemExit(3)")
    service = Service(
        "mlflow", (sys.executable, "-c", "raise SystemExit(3)"), os.environ, logs / "mlflow.log"
    )
    monkeypatch.setattr(up, "services", lambda config: {"mlflow": service})
    with pytest.raises(up.EndedError, match=r"MLflow's server ended \(exit 3\); see .*mlflow\.log"):
        up._watch(config, made, threading.Event())


def test_no_password_is_on_a_command_line_and_everything_stays_on_this_machine(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:secret")
    uri = "postgresql://me:secret@db/mlflow"
    made = services(load(None, [*overrides, f"tracking.uri={uri}"]))
    assert set(made) == {"prefect", "mlflow", "worker"}
    for each in made.values():
        assert "secret" not in " ".join(each.command)
        assert each.environment["PREFECT_API_AUTH_STRING"] == "me:secret"
        for told in OPT_OUT.values():
            assert told.items() <= each.environment.items()
    assert made["mlflow"].environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert made["mlflow"].environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    for name in ("prefect", "mlflow"):
        command = list(made[name].command)
        assert command[command.index("--host") + 1] == "127.0.0.1"


def test_pages_find_their_server_at_any_port_and_a_persons_own_settings_come_first(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = f"http://127.0.0.1:{config.services.prefect_port}/api"
    told = environment(config)
    assert (told["PREFECT_API_URL"], told["PREFECT_SERVER_UI_API_URL"]) == (api, api)
    monkeypatch.setenv("PREFECT_SERVER_UI_API_URL", "https://prefect.example/api")
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "9")
    told = environment(config)
    assert told["PREFECT_SERVER_UI_API_URL"] == "https://prefect.example/api"
    assert told["PREFECT_WORKER_QUERY_SECONDS"] == "9"


def test_mlflow_elsewhere_is_not_started() -> None:
    config = load(None, ["tracking.uri=http://tracker:5000"])
    assert set(services(config)) == {"prefect", "worker"}
    assert addresses(config)["MLflow"] == "http://tracker:5000"
