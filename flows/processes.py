"""Processes that outlive a command: who holds a folder, what runs, whose it is, how it is stopped.

A lock on a file says whether services run: the kernel lets go of it when its holder dies, however
it dies, so that no file left behind can claim what is not so. Children are known by pid and the
moment they started, since pids come round again.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

PAUSE = 0.1  # seconds between looks


class Process(NamedTuple):
    """One that lives: its parent's pid, the moment it started, the pid its group is named after."""

    parent: int
    start: str
    group: int


@dataclass(frozen=True)
class Service:
    """A command to be kept running, what it is told through its environment, where it logs."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path


@dataclass(frozen=True)
class Running:
    """What is told to other commands: who holds the lock, where it can be reached, its children.

    ``children``: name → (pid, moment of its start).
    """

    pid: int
    ready: bool = False
    addresses: dict[str, str] = field(default_factory=dict)
    children: dict[str, tuple[int, str]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Replace what was told before, in one move."""
        temporary = folder / f".services.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(folder / "services.json")


def told(folder: Path) -> Running | None:
    """What was last told in a folder; None where nothing, or nothing readable, is."""
    try:
        found = json.loads((folder / "services.json").read_text(encoding="utf-8"))
        children = {name: (int(pid), str(start)) for name, (pid, start) in found["children"].items()}
        return Running(int(found["pid"]), bool(found["ready"]), dict(found["addresses"]), children)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def held(folder: Path) -> Iterator[IO[str] | None]:
    """The folder's lock, until the block ends or this process dies; None where another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "services.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
        else:
            yield lock


def is_held(folder: Path) -> bool:
    """Whether services run that log into this folder."""
    with held(folder) as lock:
        return lock is None


def begin(service: Service) -> subprocess.Popen[bytes]:
    """Start a service in a session of its own, so that Ctrl-C reaches us alone and we end in order.

    Its log of the time before is kept as ``<name>.before.log``.
    """
    service.log.parent.mkdir(parents=True, exist_ok=True)
    if service.log.exists():
        service.log.replace(service.log.with_name(f"{service.name}.before.log"))
    with service.log.open("ab") as log:  # a worker's runs write there as well
        return subprocess.Popen(  # noqa: S603 - our own command
            service.command,
            env=dict(service.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def processes() -> dict[int, Process]:
    """Every process that is not a corpse, by pid."""
    found = {}
    if Path("/proc/self/stat").exists():
        for place in Path("/proc").iterdir():
            if not place.name.isdigit():
                continue
            try:  # the name, in brackets, may have blanks and brackets in it
                parts = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:  # ended meanwhile
                continue
            if parts[0] not in "ZX":
                found[int(place.name)] = Process(int(parts[1]), parts[19], int(parts[2]))
        return found
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="],  # noqa: S607 - wherever the system has it
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line in listed.stdout.splitlines():
        pid, parent, group, state, start = line.split(None, 4)
        if not state.startswith("Z"):
            found[int(pid)] = Process(int(parent), start.strip(), int(group))
    return found


def moment(pid: int) -> str:
    """When a process started, in the system's words; empty where there is none."""
    found = processes().get(pid)
    return found.start if found else ""


def family(known: Mapping[int, str]) -> dict[int, str]:
    """The processes known by pid and start that live, and all that descends from them.

    Also of one that was killed: its children have another parent then, but stay in its group, and
    while they do no other process gets its pid.
    """
    alive = processes()
    ours = {pid for pid, start in known.items() if pid not in alive or alive[pid].start == start}
    members = {pid: each.start for pid, each in alive.items() if pid in ours or each.group in ours}
    before = -1
    while len(members) > before:
        before = len(members)
        members |= {pid: each.start for pid, each in alive.items() if each.parent in members}
    return members


def stop(known: Mapping[int, str], patience: float, first: signal.Signals = signal.SIGTERM) -> None:
    """End processes, known by pid and start, and what descends from them; kill what stays.

    The signal goes to the known alone, which end their own; after half of ``patience`` (seconds)
    their descendants are told as well, after all of it they are killed.
    """
    members = family(known)
    _tell({pid: start for pid, start in members.items() if pid in known}, first)
    ends = time.monotonic() + patience
    half, asked = time.monotonic() + patience / 2, False
    while members := family(members):
        if time.monotonic() > ends:
            _tell(members, signal.SIGKILL)
        elif time.monotonic() > half and not asked:
            _tell(members, signal.SIGTERM)
            asked = True
        time.sleep(PAUSE)


def stop_children(known: Mapping[int, str], patience: float) -> None:
    """Ask what descends from processes, not them, to end; wait for at most ``patience`` seconds."""
    ends = time.monotonic() + patience
    asked: set[int] = set()
    while time.monotonic() < ends:
        below = {pid: start for pid, start in family(known).items() if pid not in known}
        if not below:
            return
        _tell({pid: start for pid, start in below.items() if pid not in asked}, signal.SIGTERM)
        asked |= below.keys()
        time.sleep(PAUSE)


def _tell(members: Mapping[int, str], what: signal.Signals) -> None:
    for pid in members:
        try:
            os.kill(pid, what)
        except ProcessLookupError:  # it was quicker
            continue
