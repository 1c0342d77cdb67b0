"""Run a function in a process of its own and tell its seconds and peak memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """Wall seconds, peak resident memory in GB, and what the function returned."""

    seconds: float
    gigabytes: float
    result: Any


def measure(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Seconds count from the call to its end; imports inside it count, starting Python does not."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        found: Measured = receiver.recv()
    except EOFError as error:
        process.join()
        raise RuntimeError(f"{work.__name__} ended with {process.exitcode}") from error
    process.join()
    return found


def _run(sender: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    started = time.perf_counter()
    result = work(*arguments)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sender.send(Measured(seconds, peak, result))
