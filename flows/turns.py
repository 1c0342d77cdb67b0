"""One run at a time decides on a data set's models and publishes: others wait for their turn.

The kernel lets go of a lock when its holder dies, however it dies; nothing is left to be cleared.
"""

import fcntl
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from flows import measures
from flows.logs import say
from schemas.config import Config
from schemas.errors import InputError

R = TypeVar("R")


def in_turn(flow: Callable[[Config], R]) -> Callable[[Config], R]:
    """The flow's body, once no other run on this data set and store is at work."""

    @functools.wraps(flow)
    def waits(config: Config = Config()) -> R:  # noqa: B008 - the form's defaults
        with _turn(config, flow.__name__):
            return flow(config)

    return waits


@contextmanager
def _turn(config: Config, name: str) -> Iterator[None]:
    path = config.store.path / f".{config.dataset}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _held(path, config)
    except OSError as error:
        raise InputError(
            "cannot write to the store", file=config.store.path, found=error.strerror,
            do="choose another store.path or free the disk",
        ) from error  # fmt: skip
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{name}, process {os.getpid()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _held(path: Path, config: Config) -> int:
    """The file, locked by us; one that its last holder has removed meanwhile locks nothing."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _wait(handle, config)
            if _lies_at(path, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lies_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _wait(handle: int, config: Config) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another run"
        text = f"waiting: {holder} is at work on data set {config.dataset}; this run begins after it"
        say(config.logs, "info", text, {"message": text, "dataset": config.dataset})
        fcntl.flock(handle, fcntl.LOCK_EX)
        measures.waited()
