"""Figures and page again, from a scored_samples.csv alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from schemas.config import Store
from schemas.errors import InputError
from schemas.tables import Scored, columns
from tasks.report import FIGURES, dashboard, figures, page
from tasks.report.charts import Figure
from tasks.report.files import relative, staged, write_figures, write_text
from tasks.report.text import count
from tasks.report.words import UNNAMED, Words

THRESHOLD = 0.5  # the file does not carry the one that validation chose
_MOMENT = "%Y-%m-%dT%H:%M:%S%.fZ"
_RULES = {
    "started_at": "a UTC moment such as 2024-05-01T12:00:00.000Z, or nothing",
    "user_id": "an id",
    "track_id": "an id",
    "target": "1 or 0 (or true or false)",
    "predicted_probability": "a number from 0 to 1",
}


@dataclass(frozen=True)
class About:
    """What is known of scored plays beside them: the file alone tells none of it."""

    title: str = "Scored plays"
    kind: str = "redrawn from scored_samples.csv"
    verdict: str = ""
    words: Words = UNNAMED
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Drawn:
    """Figures of scored plays, lines on those that could not be drawn, and the key numbers."""

    figures: list[Figure]
    missing: list[str]
    facts: Mapping[str, tuple[str, str]]


def redraw(scored_csv: Path, folder: Path, store: Store, timezone: str = "UTC") -> list[Path]:
    """Write figures/*.svg, figures/dashboard.html and visualization_summary.md; return their paths.

    ``scored_csv`` has the columns of ``schemas.tables.Scored``, in any order; ``timezone`` is the
    listener's, for hours. Figures that need more than these columns are named as not drawn.
    Raises ``InputError``, naming the line, for a file that is not one, and where ``folder`` cannot
    be written.
    """
    drawn = draw(scored_csv, store, timezone, About())
    with staged(folder) as place:
        put(drawn, About(), place)
        files = relative(place)
        forget(drawn, folder)
    return [folder / path for path in files]


def draw(scored_csv: Path, store: Store, timezone: str, about: About) -> Drawn:
    """The figures that a scored_samples.csv allows; raises ``InputError`` as ``redraw`` does."""
    frame = read(scored_csv)
    with tempfile.TemporaryDirectory() as scratch:
        scored = Path(scratch) / "scored.parquet"
        frame.write_parquet(scored)
        drawn = figures.draw(
            figures.Holdout(
                scored=scored,
                models={"predicted_probability": "predicted_probability"},
                candidate="predicted_probability",
                threshold=about.threshold,
                words=about.words,
                timezone=timezone,
            ),
            store,
        )
    drawn.sort(key=lambda each: FIGURES.index(each.name))
    missing = figures.missing([name for name in FIGURES if name not in {each.name for each in drawn}])
    facts = {
        "scored plays": (f"{frame.height:,}", f"by {count(frame['user_id'].n_unique(), 'user')}"),
        "true": (f"{frame['target'].to_numpy().mean():.1%}", "share of the plays"),
        "mean prediction": (
            f"{frame['predicted_probability'].to_numpy().mean():.1%}",
            "over the same plays",
        ),
    }
    return Drawn(drawn, missing, facts)


def put(drawn: Drawn, about: About, place: Path) -> None:
    """Write figures, dashboard and summary into a staged folder."""
    shown = dashboard.redrawn(
        drawn.figures, drawn.facts, drawn.missing, about.title, about.kind, about.verdict
    )
    write_figures(place, drawn.figures)
    write_text(place / "figures/dashboard.html", shown)
    write_text(place / "visualization_summary.md", page.figures_page(drawn.figures, drawn.missing))


def forget(drawn: Drawn, folder: Path) -> None:
    """Remove figures that an earlier run drew in ``folder`` and this one could not: no longer true."""
    for name in set(FIGURES) - {each.name for each in drawn.figures}:
        (folder / "figures" / f"{name}.svg").unlink(missing_ok=True)


def read(path: Path) -> pl.DataFrame:
    """The scored plays of a CSV with the types of ``schemas.tables.Scored``, and ``seq``, the row.

    Raises ``InputError``: no file, not a CSV in UTF-8, a missing column, no row, a value that
    breaks its column's rule (with its line).
    """
    wanted = list(columns(Scored))
    try:
        raw = pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise InputError(
            "cannot read the scored plays", file=path, found=error.strerror or error,
            do="name a scored_samples.csv with visualize.scored_samples",
        ) from error  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise InputError(
            "not a CSV of scored plays", file=path, found=str(error).splitlines()[0],
            expected=",".join(wanted), do="write it again with `retrain`",
        ) from error  # fmt: skip
    absent = [name for name in wanted if name not in raw.columns]
    if absent:
        raise InputError(
            "missing column", file=path, place="line 1", found=",".join(raw.columns),
            expected=",".join(wanted), do=f"add {', '.join(absent)}",
        )  # fmt: skip
    if raw.is_empty():
        raise InputError("no scored plays", file=path, expected="at least one row below the header")
    raw = raw.select(pl.col(wanted).fill_null(""))
    frame = raw.select(
        pl.col("started_at").str.to_datetime(_MOMENT, time_unit="ms", strict=False, time_zone="UTC"),
        pl.col("user_id", "track_id"),
        pl.col("target")
        .str.to_lowercase()
        .replace_strict({"1": True, "true": True, "0": False, "false": False}, default=None),
        pl.col("predicted_probability").cast(pl.Float64, strict=False),
        seq=pl.int_range(pl.len()),
    )
    _check(path, raw, frame)
    return frame


def _check(path: Path, raw: pl.DataFrame, frame: pl.DataFrame) -> None:
    """Refuse the first value that breaks a rule."""
    bad = {
        "started_at": frame["started_at"].is_null() & (raw["started_at"] != ""),
        "user_id": raw["user_id"] == "",
        "track_id": raw["track_id"] == "",
        "target": frame["target"].is_null(),
        "predicted_probability": ~frame["predicted_probability"].is_between(0, 1).fill_null(value=False),
    }
    first = {name: int(mask.to_numpy().argmax()) for name, mask in bad.items() if mask.any()}
    if not first:
        return
    name, row = min(first.items(), key=lambda item: (item[1], item[0]))
    # a quoted value may hold line breaks: the record's line is not its number
    breaks = raw.head(row).select(pl.all().str.count_matches("\n").sum()).sum_horizontal().item()
    found = raw[name][row] if name not in ("user_id", "track_id") else "nothing"
    raise InputError(
        "bad value in the scored plays", file=path, place=f"line {row + 2 + int(breaks or 0)}, {name}",
        found=found or "nothing", expected=_RULES[name], do="mend the line",
    )  # fmt: skip
