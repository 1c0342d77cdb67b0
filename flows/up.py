"""`up`, `start`, `down`, `deploy`: Prefect, MLflow and a worker as one thing on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from flows import lost
from flows.processes import (
    PAUSE,
    Running,
    Service,
    begin,
    family,
    held,
    is_held,
    moment,
    stop,
    stop_children,
    told,
)
from flows.services import NAMES, addresses, answers, elsewhere, environment, free, home, services, works
from schemas.config import Config
from schemas.errors import InputError
from tasks.commands import without_credentials

PATIENCE = 30.0  # seconds in which a service may end by itself
# A service that ends is started again, but not one that ends at once each time.
RESTARTS, WITHIN = 5, 120.0  # at most so many, in so many seconds
LOOK = 10.0  # seconds between looks for runs that died without a word


class EndedError(Exception):
    """A service ended, or did not answer in time; what a person is told."""


def up(config: Config) -> int:
    """Start everything and stay until told to stop; returns the exit code.

    Raises ``InputError`` where a port is taken.
    """
    folder = config.services.logs
    with held(folder) as lock:
        if lock is None:
            return _already(folder)
        _clear(folder)
        free(config)
        return _keep(config)


def start(config: Config) -> int:
    """``up`` in a process of its own; returns when everything answers, or with what went wrong."""
    folder = config.services.logs
    if is_held(folder):
        return _already(folder)
    _clear(folder)
    free(config)  # told here, not in a log
    pid = os.fork()
    if pid == 0:
        os.setsid()
        _apart(folder / "up.log")
        code = 1
        try:
            code = up(config)
        except InputError as error:  # a port that was taken meanwhile
            print(f"error: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        found = told(folder)
        if found is not None and found.pid == pid and found.ready:
            _show(found.addresses, folder, "make down")
            return 0
        time.sleep(PAUSE)
    last = (folder / "up.log").read_text(encoding="utf-8").strip().splitlines() or ["it ended"]
    print(last[-1], file=sys.stderr)
    return 1


def down(config: Config) -> int:
    """Stop what ``up`` or ``start`` started, also what a killed one left; returns the exit code."""
    folder = config.services.logs
    if not is_held(folder):
        _clear(folder)
        print("nothing is running")
        return 0
    found = told(folder)
    if found is not None:
        os.kill(found.pid, signal.SIGTERM)
    ends = time.monotonic() + 3 * PATIENCE
    while is_held(folder):
        if time.monotonic() > ends:
            pid = "its process" if found is None else f"process {found.pid}"
            print(f"error: {pid} does not end; see {folder}", file=sys.stderr)
            return 1
        time.sleep(PAUSE)
    print("stopped")
    return 0


def deploy(config: Config) -> int:
    """Register deployments and automations; returns the exit code.

    Raises ``InputError`` where no server answers.
    """
    url = os.environ.get("PREFECT_API_URL") or f"{addresses(config)['Prefect']}/api"
    address, _, path = url.rpartition("/")
    if not answers(address, f"/{path}/health"):
        raise InputError("the Prefect server does not answer", file=url, do="start it: make up")
    os.environ.update(environment(config) | {"PREFECT_API_URL": url})
    from flows.deployments import apply

    for name, number in apply(config).items():
        print(f"{name}: {number}")
    return 0


def server(config: Config) -> str | None:
    """The API of the Prefect server that ``up`` runs here, for runs kept in the same PREFECT_HOME."""
    folder = config.services.logs
    found = told(folder)
    if found is None or not found.ready or not is_held(folder):
        return None
    return f"{found.addresses['Prefect']}/api" if found.addresses["home"] == home() else None


def _clear(folder: Path) -> None:
    """Stop what one that was killed has left: its lock is gone, its children may not be."""
    if left := told(folder):
        stop(dict(left.children.values()), PATIENCE)
        (folder / "services.json").unlink(missing_ok=True)


def _keep(config: Config) -> int:
    """Start, wait until all answer, watch; whatever happens, stop what was started."""
    folder, asked = config.services.logs, threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked.set())
    Path(home()).mkdir(parents=True, exist_ok=True)
    begun: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _bring_up(config, begun, asked)
        _watch(config, begun, asked)
    except EndedError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        if asked.is_set():
            print("stopping", flush=True)
        _end(told(folder))
        (folder / "services.json").unlink(missing_ok=True)
    return 0


def _bring_up(config: Config, begun: dict[str, subprocess.Popen[bytes]], asked: threading.Event) -> None:
    """Both servers at once; deployments and the worker as soon as Prefect answers."""
    ours, wanted, found = config.services, services(config), addresses(config)
    running = Running(os.getpid(), addresses=found)
    since, deadline = datetime.now(UTC), time.monotonic() + ours.start_seconds
    print(f"starting; logs are in {ours.logs}", flush=True)
    deploying = get_context("fork").Process(target=_deploy, args=(config,))

    def wait(what: str, log: str, answered: Callable[[], bool]) -> None:
        while not asked.is_set() and not answered():
            _all_live(begun, ours.logs)
            if deploying.exitcode:
                raise EndedError(f"deployments could not be registered; see {ours.logs}/deploy.log")
            if time.monotonic() > deadline:
                seconds = f"{ours.start_seconds} s (services.start_seconds)"
                raise EndedError(f"{what} does not answer after {seconds}; see {ours.logs}/{log}.log")
            time.sleep(PAUSE)

    running.write(ours.logs)
    deploying.start()  # imports while the servers start
    try:
        for name in [name for name in wanted if name != "worker"]:
            _launch(wanted[name], begun)
        wait(NAMES["prefect"], "prefect", lambda: answers(found["Prefect"], "/api/health"))
        if asked.is_set():
            return
        _launch(wanted["worker"], begun)
        wait(NAMES["mlflow"], "mlflow", lambda: elsewhere(config) or answers(found["MLflow"], "/health"))
        wait("registering deployments", "deploy", lambda: deploying.exitcode == 0)
        wait(NAMES["worker"], "worker", lambda: works(config, since))
    finally:
        deploying.kill()
        deploying.join()
    if not asked.is_set():
        replace(told(ours.logs) or running, ready=True).write(ours.logs)
        print(f"ready in {(datetime.now(UTC) - since).total_seconds():.0f} s", flush=True)
        _show(found, ours.logs, "Ctrl-C")


def _launch(service: Service, begun: dict[str, subprocess.Popen[bytes]]) -> None:
    """Start a service and tell other commands of it, and of runs that outlive the one before."""
    process = begun[service.name] = begin(service)
    folder = service.log.parent
    running = told(folder)
    assert running is not None, "told before the first is started"
    children = {name: mark for name, mark in running.children.items() if family(dict([mark]))}
    if before := children.get(service.name):
        children[f"{service.name} {before[0]}"] = before
    children[service.name] = (process.pid, moment(process.pid))
    replace(running, children=children).write(folder)


def _watch(config: Config, begun: dict[str, subprocess.Popen[bytes]], asked: threading.Event) -> None:
    """Until asked to stop: start again what ended, and tell of runs that died without a word."""
    ours, wanted, server = config.services, services(config), addresses(config)["Prefect"]
    ends: dict[str, list[float]] = {name: [] for name in wanted}
    since, looked = datetime.now(UTC), 0.0
    while not asked.wait(PAUSE * 5):
        now = time.monotonic()
        for name, process in list(begun.items()):
            if process.poll() is None or (name == "worker" and not answers(server, "/api/health")):
                continue  # without its server a worker would end at once
            ends[name] = [*(each for each in ends[name] if each > now - WITHIN), now]
            if len(ends[name]) > RESTARTS:
                _all_live(begun, ours.logs)
            print(f"{NAMES[name]} ended (exit {process.returncode}); it is started again", flush=True)
            if name == "worker":  # its runs go on without it
                since = datetime.now(UTC)
            else:  # what lives of it would hold the port
                stop({process.pid: ""}, PAUSE)
            _launch(wanted[name], begun)
        if now > looked + LOOK:
            for run in lost.crash(f"{server}/api", ours, since):
                print(f"{run}: {lost.TOLD}", flush=True)
            looked = now


def _deploy(config: Config) -> None:
    """In a process of its own: what it imports is not held in memory for as long as services run."""
    _apart(config.services.logs / "deploy.log")
    os.environ.update(environment(config))
    from flows.deployments import apply

    found = addresses(config)["Prefect"]
    while not answers(found, "/api/health"):  # the one who waits for us minds the time
        time.sleep(PAUSE)
    apply(config)


def _end(running: Running | None) -> None:
    """The runs first, then their worker: while Prefect's server answers, they say how they ended.

    A worker would end its runs without a word, and they would seem to run for ever.
    """
    children = running.children if running else {}
    for name in ("worker", "mlflow", "prefect"):
        known = dict(mark for each, mark in children.items() if each.partition(" ")[0] == name)
        if name == "worker":
            stop_children(known, PATIENCE)
        stop(known, PATIENCE)


def _all_live(begun: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    for name, process in begun.items():
        if (code := process.poll()) is not None:
            raise EndedError(f"{NAMES[name]} ended (exit {code}); see {folder / name}.log")


def _already(folder: Path) -> int:
    found = told(folder)
    if found is None or not found.ready:
        print(f"already being started or stopped; see {folder}")
        return 0
    print(f"already running (process {found.pid})")
    _show(found.addresses, folder, "make down")
    return 0


def _show(found: Mapping[str, str], folder: Path, way: str) -> None:
    print(f"Prefect:  {found['Prefect']}")
    print(f"MLflow:   {without_credentials(found['MLflow'])}")
    print(f"Logs:     {folder}")
    print(f"Stop:     {way}", flush=True)


def _apart(log: Path) -> None:
    """Let go of the terminal: what this process says goes into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    for stream in (1, 2):
        os.dup2(into, stream)
