"""What a piece of work takes: seconds, and the peak of the process's memory meanwhile."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MB = 1e6
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK_AGAIN = "5"  # what CLEAR takes to mean: the peak begins anew, at what is resident now


@dataclass(eq=False)
class Cost:
    """``began`` in s since 1970, ``seconds`` of the wall's clock, ``peak_mb`` in 10^6 bytes."""

    began: float
    seconds: float = 0.0
    peak_mb: float = 0.0


_RUNNING: list[Cost] = []
_LOCK = threading.Lock()


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measure the body.

    The peak is of the resident memory of the whole process (libraries, what earlier work left, and
    whatever runs beside) between the body's beginning and its end; child processes do not count.
    Linux keeps that peak and lets a process begin it anew, which is done here: getrusage's ru_maxrss
    is then no longer that of the whole life. Elsewhere (macOS) the peak is that of the life so far.
    Bodies may overlap, in threads: each gets the largest of its own time.
    """
    cost = Cost(time.time())
    with _LOCK:
        _mark()
        with contextlib.suppress(OSError):  # no such file, or not writable
            CLEAR.write_text(PEAK_AGAIN)
        _RUNNING.append(cost)
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        with _LOCK:
            _mark()
            _RUNNING.remove(cost)


def _mark() -> None:
    """Whatever runs now has seen the peak since it last began anew."""
    peak = _peak_mb()
    for cost in _RUNNING:
        cost.peak_mb = max(cost.peak_mb, peak)


def _peak_mb() -> float:
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text()):
            return int(found[1]) * 1024 / MB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in at least one of the spans (begin, end)."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def size(mb: float) -> str:
    """Memory as a person reads it, such as ``310 MB`` or ``1.3 GB``."""
    return f"{mb / 1000:.1f} GB" if mb >= 999.5 else f"{mb:.0f} MB"
