"""The process that draws: it answers in order, can be replaced, and ends with the one that began it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.report import rendering
from tasks.store import lives

ROOT = Path(rendering.__file__).resolve().parents[2]
BEGINS = (
    "from tasks.report import rendering; rendering.beside(rendering.vega, {'mark': 'point'}).result();"
    "print(rendering._process().pid, flush=True); "
)


def chart(title: str) -> dict[str, Any]:
    """One point, under a title."""
    return {"data": {"values": [{"x": 1}]}, "mark": "point", "title": title}


def test_charts_are_drawn_in_order_and_what_is_none_is_refused() -> None:
    first, wrong, second = (
        rendering.beside(rendering.vega, spec)
        for spec in (chart("first, ünder a line\nof its own"), {"mark": 3}, chart("second"))
    )
    assert "ünder" in first.result()
    assert "second" in second.result()
    with pytest.raises(ValueError, match="Vega-Lite"):
        wrong.result()


def test_a_process_that_was_killed_is_told_of_and_replaced() -> None:
    rendering.start()
    rendering.beside(rendering.vega, chart("before")).result()
    rendering._process().kill()
    with pytest.raises(RuntimeError, match="has ended"):
        rendering.beside(rendering.vega, chart("missed")).result()
    assert "after" in rendering.beside(rendering.vega, chart("after")).result()


@pytest.mark.parametrize("end", ["pass", f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"])
def test_it_ends_with_the_process_that_began_it(end: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", BEGINS + end], cwd=ROOT, capture_output=True, text=True, check=False
    )
    drawing = int(run.stdout)
    assert drawing != os.getpid()
    deadline = time.monotonic() + 10
    while lives(drawing) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(drawing)
    assert run.stderr == ""
