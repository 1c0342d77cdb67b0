"""What goes wrong with the MLflow store and only the person can mend, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from schemas.config import Tracking
from schemas.errors import InputError
from tasks.commands import mlflow_upgrade


@contextmanager
def opening(settings: Tracking) -> Iterator[None]:
    """While the store is opened: whatever it refuses is for the person to mend (``InputError``)."""
    try:
        with using(settings):
            yield
    except (OSError, ImportError) as error:  # a folder that cannot be made, a driver not installed
        raise _unusable(settings, error) from error
    except Exception as error:
        if not _from_store(error):
            raise
        raise _unusable(settings, error) from error


@contextmanager
def using(settings: Tracking) -> Iterator[None]:
    """While the store is used: raises ``InputError`` where it is locked or its disk is full."""
    try:
        yield
    except Exception as error:
        text = str(error)
        if _from_store(error) and "database is locked" in text:
            raise InputError(
                "the MLflow store is locked", file=_place(settings),
                do="stop the other program that writes to it, then run again",
            ) from error  # fmt: skip
        if _from_store(error) and "disk is full" in text:
            raise InputError(
                "the disk of the MLflow store is full", file=_place(settings),
                do="free it, then run again",
            ) from error  # fmt: skip
        raise


def _from_store(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("mlflow", "sqlalchemy", "sqlite3", "alembic")


def _unusable(settings: Tracking, error: Exception) -> InputError:
    text, place = str(error), _place(settings)
    if "schema" in text or "revision" in text:
        return InputError(
            "the MLflow store is of another version", file=place, found=text.partition(". ")[0],
            expected=f"one that MLflow {version('mlflow')} made",
            do=f"back it up and run `{mlflow_upgrade(settings.uri)}`, or choose another tracking.uri",
        )  # fmt: skip
    found = text.partition("[SQL")[0]
    return InputError(
        "the MLflow store cannot be used", file=place, found=found, do="check tracking.uri"
    )


def _place(settings: Tracking) -> str:
    return settings.uri.rsplit("@", 1)[-1]  # never a password
