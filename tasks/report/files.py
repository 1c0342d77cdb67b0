"""Putting files into the output folder: written beside, then renamed, so that none is half there."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from tasks.store import in_use

if TYPE_CHECKING:
    from tasks.report.charts import Figure

# What tells whose report lies in a folder; the first that is there decides.
MARKS = {
    "model_metrics.json": "retrain",
    "evaluation.json": "evaluate",
    "backtest.json": "backtest",
    "monitor.json": "monitor",
    "figures/dashboard.html": "visualize",
    "scored_samples.csv": "visualize",
}
EVALUATION = ("evaluation.json", "EVALUATION.md")


def room(folder: Path, command: str, below: str) -> Path:
    """Where ``command`` writes its report when it is asked to write into ``folder``.

    Into ``folder`` itself where no report lies, or one of the same command, which is replaced; where
    another command's lies, into the folder ``below`` in it, so that nothing of that is lost.
    """
    owner = next((whose for mark, whose in MARKS.items() if os.access(folder / mark, os.F_OK)), command)
    return folder if owner == command else folder / below


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A fresh folder to write into; on leaving, its files move to the same places under ``folder``.

    When the body raises, ``folder`` stays as it was. Raises ``InputError`` where it cannot be
    written, or the disk is full.
    """
    scratch: Path | None = None
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".encore-*"):  # by a killed run
                if not in_use(left):
                    shutil.rmtree(left, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".encore-{os.getpid()}-", dir=folder))
            yield scratch
            for path in relative(scratch):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (scratch / path).replace(folder / path)
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """While ``folder`` is written: ``InputError`` where it cannot be, or the disk is full."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "cannot write the report", file=folder, found=error.strerror or error,
            do="choose another output.dir or free the disk",
        ) from error  # fmt: skip


def relative(folder: Path) -> list[Path]:
    """The files under ``folder``, relative to it, sorted."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain line ends, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_figures(folder: Path, drawn: Iterable[Figure]) -> None:
    """Write each figure as ``figures/<name>.svg`` under ``folder``."""
    for each in drawn:
        write_text(folder / "figures" / f"{each.name}.svg", each.svg)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a small CSV; commas, quotes and line breaks within values are quoted,
    None is empty, booleans are true and false."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_boolean(value) for value in row] for row in rows)


def _boolean(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
