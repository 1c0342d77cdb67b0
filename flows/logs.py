"""Our log: a line a step, for people or as JSON, on stderr or, under a worker, in Prefect's own log.

What is logged says what was done and what it took: no ids, names or titles, at any level. With
``logs.format=json`` each message is one JSON object, wherever it goes; before and around it Prefect's
console puts what it always does, stderr of the command line nothing.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from schemas.logs import Logs

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

LOG = logging.getLogger("encore")
LEVELS = {each: getattr(logging, each.upper()) for each in ("debug", "info", "warning", "error")}


class Lines(logging.Formatter):
    """Whatever a library tells, as JSON; our own messages are JSON already."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = super().format(record)
        if record.name == LOG.name:
            return told
        return line(record.levelname.lower(), {"logger": record.name, "message": told})


def set_up(settings: Logs) -> None:
    """For the command line: what is ours, and warnings of libraries, to stderr."""
    least = LEVELS[settings.level]
    LOG.setLevel(least)
    logging.getLogger().setLevel(max(least, logging.WARNING))
    if settings.format == "json":
        logging.captureWarnings(True)
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:  # the terminal's
                handler.setFormatter(Lines())


def line(level: str, told: Mapping[str, Any]) -> str:
    """One JSON object: ``time`` (UTC), ``level``, and what is told."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, **told}, ensure_ascii=False, default=str)


def say(
    settings: Logs, level: str, text: str, told: Mapping[str, Any], run: "FlowRun | None" = None
) -> None:
    """Log ``text``, or ``told`` as JSON. ``run``: whose it is, where Prefect cannot know it: in a hook.

    A worker knows nothing of our logger, which the command line turns on: there it is Prefect's.
    """
    if LEVELS[level] < LEVELS[settings.level]:
        return
    message = text if settings.format == "text" else line(level, told)
    if LOG.level != logging.NOTSET:
        LOG.log(LEVELS[level], "%s", message, extra={"flow_run_id": str(run.id)} if run else None)
        return
    from prefect.logging.loggers import flow_run_logger, get_run_logger  # not before its settings

    log = flow_run_logger(run) if run else get_run_logger()
    log.log(LEVELS[level], "%s", message)


def refused(settings: Logs, told: str) -> None:
    """Why nothing more is done, a line on stderr."""
    text = settings.format == "text"
    print(told if text else line("error", {"message": told.removeprefix("error: ")}), file=sys.stderr)


def broken(settings: Logs, error: Exception) -> None:
    """A fault of ours, with where it came from, on stderr."""
    where = "".join(traceback.format_exception(error)).rstrip()
    text = settings.format == "text"
    told = {"message": f"{type(error).__name__}: {error}", "traceback": where}
    print(where if text else line("error", told), file=sys.stderr)
