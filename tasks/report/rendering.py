"""Vega, which draws the figures, in a process of its own.

In ours it would hold up everything else, for a second a report: it does not let other threads run
while it starts and draws. The process ends with ours, however that ends: its input is then closed.
This file is also what runs there, so it imports nothing of Encore's.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec

VEGALITE = "6.4"
P = ParamSpec("P")


def beside(draw: Callable[P, str], *arguments: P.args, **named: P.kwargs) -> Future[str]:
    """``draw(…)``, which calls ``vega``, in the thread of drawings: one after the other."""
    return _thread().submit(draw, *arguments, **named)


def start() -> None:
    """Begin to start Vega, which takes half a second, before it is wanted."""
    beside(vega, {"mark": "point"})


def vega(spec: dict[str, Any]) -> str:
    """A Vega-Lite chart as SVG; only in the thread of drawings.

    Raises ``ValueError`` for what is no chart, ``RuntimeError`` when Vega's process has ended.
    """
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
    except (BrokenPipeError, json.JSONDecodeError) as error:
        _process.cache_clear()  # who asks next gets another
        raise RuntimeError("the process that draws figures has ended") from error
    if "error" in answer:
        raise ValueError(answer["error"])
    return str(answer["svg"])


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "drawing")


@functools.cache
def _process() -> subprocess.Popen[bytes]:
    # no Ctrl-C of ours reaches it: it would tell of it at length
    process = subprocess.Popen(  # noqa: S603 - itself
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(process.communicate)
    return process


def _answer() -> None:
    """Draw one chart after the other, a line each, until the input is closed."""
    import vl_convert

    for line in sys.stdin.buffer:
        try:
            answer = {"svg": vl_convert.vegalite_to_svg(json.loads(line), vl_version=VEGALITE)}
        except ValueError as error:
            answer = {"error": str(error)}
        try:
            print(json.dumps(answer), flush=True)
        except BrokenPipeError:  # nobody waits any more
            os._exit(0)


if __name__ == "__main__":
    _answer()
