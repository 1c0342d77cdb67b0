"""The small report of a registered model on chosen plays: EVALUATION.md, numbers, figures, plays."""

from __future__ import annotations

import math
from pathlib import Path

from schemas.config import Store
from tasks.report.content import LOWER_IS_BETTER, METRIC_NAMES, Evaluated, to_json
from tasks.report.files import relative, staged, write_text
from tasks.report.redraw import About, draw, forget, put
from tasks.report.results import origin_rows
from tasks.report.tables import write_scored
from tasks.report.text import count, moment, number, plain, table
from tasks.report.words import WORDS


def write(told: Evaluated, scored: Path, folder: Path, store: Store) -> list[Path]:
    """Write the report into ``folder``; return the files' paths, sorted.

    ``scored`` is a Parquet with the columns of ``schemas.tables.Scored``, one row a scored play.
    Figures and dashboard are those that ``visualize`` draws of the scored_samples.csv written here,
    in the words of the target. Everything is written beside and renamed at the end. Raises
    ``InputError`` where the folder cannot be written.
    """
    about = About(
        title=f"{told.model} version {told.version}",
        kind=f"evaluated on {told.dataset}",
        verdict=told.verdict,
        words=WORDS[told.target],
        threshold=told.threshold,
    )
    with staged(folder) as place:
        write_scored(scored, place / "scored_samples.csv")
        drawn = draw(place / "scored_samples.csv", store, told.timezone, about)
        put(drawn, about, place)
        write_text(place / "evaluation.json", to_json(told))
        write_text(place / "EVALUATION.md", page(told))
        files = relative(place)
        forget(drawn, folder)
    return [folder / path for path in files]


def page(told: Evaluated) -> str:
    """EVALUATION.md: the verdict first, then on what it rests."""
    parts = [
        f"# {plain(told.model)} version {told.version}: evaluation",
        f"**{plain(told.verdict)}**",
        *_meaning(told),
        "## Numbers",
        table(*_numbers(told)),
        f"95 % intervals: bootstrap over {told.resampling_units:,} units of kind "
        f"{told.resampling_unit}; the difference is paired on the same resamples. The base rate says "
        f"{told.share_true:.1%} of every play: the share that turned out true among these very plays, "
        f"the best that a constant can do. Decisions are taken at {told.threshold:.3f}, the threshold "
        "that the model's validation chose.",
        "## Files",
        "`figures/dashboard.html` (open in a browser) · `visualization_summary.md` · "
        "`evaluation.json` (all numbers and digests) · `scored_samples.csv` (every scored play)",
        "## Where it comes from",
        table(["what", "value"], _origin(told)),
    ]
    return "\n\n".join(parts) + "\n"


def _meaning(told: Evaluated) -> list[str]:
    window = told.window
    zone = " UTC" if not isinstance(window.start, int) else ""
    lines = [
        f"The question, asked before each play: will it be true that {told.target_sentence}?",
        f"Scored were {count(window.rows, 'play')} of the data set {plain(told.dataset)} by "
        f"{count(window.users, 'user')}, from {moment(window.start)} to {moment(window.end)}{zone}: all "
        f"that have a label and that the model was not fitted on. Of these, {told.share_true:.1%} were "
        "true.",
    ]
    if told.refit is not None:
        lines.append(
            f"Asked for was “{plain(told.asked_for)}”, version {told.refit}. That one was fitted on all "
            f"of this data, these plays too; scored is version {told.version}, the same recipe fitted "
            "on what came before these plays."
        )
    area = told.metrics["auc"].value
    if math.isfinite(area):
        lines[0] += (
            " Given one play where it was and one where it was not, the model ranks the right one "
            f"higher {area:.0%} of the time (50% is a coin toss)."
        )
    return lines


def _numbers(told: Evaluated) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            METRIC_NAMES[metric] + (" (lower is better)" if metric in LOWER_IS_BETTER else ""),
            number(told.metrics[metric]),
            number(told.base_rate[metric]),
            number(told.difference[metric], "+"),
        ]
        for metric in METRIC_NAMES
        if metric in told.metrics
    ]
    return ["metric", "model", "base rate", "difference"], rows


def _origin(told: Evaluated) -> list[list[str]]:
    return [
        ["registered model", told.model],
        ["version", f"{told.version}"],
        ["asked for", told.asked_for],
        ["run", told.run],
        *origin_rows(told.lineage, "evaluation.json"),
        ["written", f"{told.created:%Y-%m-%d %H:%M} UTC"],
    ]
