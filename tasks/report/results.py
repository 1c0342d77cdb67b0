"""The pages that say it in words: RESULTS.md and resume_project_summary.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tasks.report.content import METRIC_NAMES, Lineage, Report, display
from tasks.report.tables import by_gain
from tasks.report.text import count, flat, moment, number, percent, plain, short, table

MOST_FILES = 5  # raw files listed on a page; the report's JSON has all


def results(report: Report, sentence: str, notes: Sequence[str], playlist: int | None) -> str:
    """RESULTS.md: the verdict first, then what a manager asks, then what an engineer asks.

    ``notes`` are lines on figures that could not be drawn; ``playlist`` the rows of the playlist.
    """
    parts = [
        f"# {plain(report.dataset)}: results",
        f"**{sentence}**",
        *_meaning(report),
        "## Models on the holdout",
        table(*model_table(report)),
        f"95 % intervals: bootstrap over {report.resampling_units:,} units of kind "
        f"{report.resampling_unit}. Lower is better for log loss, Brier and calibration error.",
        *_differences(report),
        *_notes(report),
        "## Windows",
        table(*window_table(report)),
        *_labels(report),
        *_importance(report),
        *_achieved(report),
        *_audit(report),
        *_promotion(report),
        "## Data",
        table(("fact", "value"), list(flat(report.ingest))),
        "## Files",
        "`figures/dashboard.html` (open in a browser) · `visualization_summary.md` · "
        "`model_comparison.csv` · `model_metrics.json` · `feature_importance.csv` · "
        "`scored_samples.csv` · " + _playlist(playlist),
        *[f"- {plain(note)}" for note in notes],
        "## Where it comes from",
        table(*lineage_table(report)),
    ]
    return "\n\n".join(parts) + "\n"


def summary(report: Report, sentence: str) -> str:
    """resume_project_summary.md: one page for a portfolio."""
    holdout = report.windows.get("holdout")
    candidate = report.model(report.candidate)
    lines = [
        f"# Predicting listening: {plain(report.dataset)}",
        f"**Question.** Before a play starts: will it be true that {report.target_sentence}?",
        f"**Result.** {sentence}",
    ]
    rows = report.ingest.get("rows")
    if isinstance(rows, Mapping) and isinstance(rows.get("plays"), int):
        lines.append(f"**Data.** {rows['plays']:,} plays by {count(rows.get('users', 0), 'user')}, "
                     f"{rows.get('tracks', 0):,} tracks, from raw exports.")  # fmt: skip
    if holdout is not None:
        lines.append(
            f"**Test.** {holdout.rows:,} plays by {count(holdout.users, 'user')} that came after "
            f"everything the models were fitted on ({moment(holdout.start)} to {moment(holdout.end)})."
        )
    if candidate is not None:
        told = ", ".join(
            f"{METRIC_NAMES[metric]} {number(candidate.metrics[metric])}"
            for metric in ("auc", "log_loss", "brier", "ece")
            if metric in candidate.metrics
        )
        lines.append(f"**Numbers** ({display(report.candidate)}, 95 % intervals). {told}.")
    top = ", ".join(f"`{each.feature}`" for each in by_gain(report)[:5])
    lines += [f"**What matters most.** {top}."] if top else []
    lines += [
        "**How.** Raw exports are validated and cleaned in SQL (DuckDB) and Polars under pandera "
        "contracts; every feature is built as of the moment of its play, from plays that had ended by "
        "then; windows are chronological; "
        + ", ".join(display(model.name) for model in report.models)
        + " are compared on the same plays; models are tracked and registered in "
        "MLflow; one Prefect flow runs it all.",
    ]
    if report.audit is not None:
        lines.append(
            f"**Checked against leakage.** {report.audit.plays:,} real plays were rebuilt with every "
            f"later record removed: {report.audit.mismatches:,} of {report.audit.features:,} features "
            "differed."
        )
    return "\n\n".join([*lines, "![Comparison of the models](figures/model_comparison.svg)"]) + "\n"


def model_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the models' table, the registered model marked with a star."""
    metrics = [name for name in METRIC_NAMES if any(name in model.metrics for model in report.models)]
    rows = [
        [display(model.name) + (" ★" if model.name == report.candidate else "")]
        + [number(model.metrics[name]) if name in model.metrics else "–" for name in metrics]
        for model in report.models
    ]
    return ["model", *(METRIC_NAMES[name] for name in metrics)], rows


def window_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the windows' table."""
    header = ["window", "from", "until", "rows", "users", "users with history", "share true"]
    rows = [
        [
            name, moment(window.start), moment(window.end), f"{window.rows:,}", f"{window.users:,}",
            "–" if window.users_with_history is None else f"{window.users_with_history:,}",
            "–" if window.positive_share is None else f"{window.positive_share:.1%}",
        ]
        for name, window in report.windows.items()
    ]  # fmt: skip
    return header, rows


def difference_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the paired differences of each model to each baseline."""
    rows = [
        [f"{display(model.name)} − {display(baseline)}"]
        + [
            number(each[metric], "+") if metric in each else "–"
            for metric in ("log_loss", "auc", "brier")
        ]
        for place, model in enumerate(report.models)
        for baseline, each in model.differences.items()
        if baseline != model.name and not _mirrored(report, place, baseline)
    ]
    return ["difference, paired", "log loss", "AUC", "Brier"], rows


def _mirrored(report: Report, place: int, baseline: str) -> bool:
    """Whether the pair is told the other way round by a later row."""
    return any(
        later.name == baseline and report.models[place].name in later.differences
        for later in report.models[place + 1 :]
    )


def lineage_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what leads back to the run, its tables and its raw files."""
    rows = [[name, value] for name, value in report.mlflow.items()]
    rows += origin_rows(report.lineage, "model_metrics.json")
    rows += [[f"seconds: {name}", f"{value:,.1f}"] for name, value in report.seconds.items()]
    return ["what", "value"], [*rows, ["written", f"{report.created:%Y-%m-%d %H:%M} UTC"]]


def origin_rows(lineage: Lineage, full: str) -> list[list[str]]:
    """Rows on tables, steps and the first raw files; the file ``full`` has all of these."""
    files = list(lineage.files.items())
    rows = [[f"table {name}", digest[:16]] for name, digest in lineage.tables.items()]
    rows += [[f"step {name}", key[:16]] for name, key in lineage.keys.items()]
    rows += [[f"raw file {name}", digest[:16]] for name, digest in files[:MOST_FILES]]
    rest = len(files) - MOST_FILES
    return rows + ([["raw files", f"and {rest:,} more (all in {full})"]] if rest > 0 else [])


def _meaning(report: Report) -> list[str]:
    lines = [f"The question, asked before each play: will it be true that {report.target_sentence}?"]
    candidate = report.model(report.candidate)
    if (
        candidate is not None
        and "auc" in candidate.metrics
        and math.isfinite(candidate.metrics["auc"].value)
    ):
        lines[0] += (
            f" Given one play where it was and one where it was not, {display(report.candidate)} "
            f"ranks the right one higher {candidate.metrics['auc'].value:.0%} of the time "
            "(50% is a coin toss)."
        )
    if not report.clock:
        lines.append(
            f"This source has no clock: row order stands for time. Label mode: {report.label_mode}."
        )
    return lines


def _differences(report: Report) -> list[str]:
    header, rows = difference_table(report)
    return ["### Differences to the baselines", table(header, rows)] if rows else []


def _notes(report: Report) -> list[str]:
    lines = [f"- {display(model.name)}: {plain(model.note)}" for model in report.models if model.note]
    return ["\n".join(lines)] if lines else []


def _labels(report: Report) -> list[str]:
    text = (
        f"{report.labels:,} plays have a label; {report.labels_unknown:,} more cannot have one and are "
        "no rows of this target."
    )
    if report.clock:
        text += f" Hours, weekdays and months are those of {report.timezone}."
    return [text]


def _importance(report: Report) -> list[str]:
    top = by_gain(report)[:10]
    rows = [[each.feature, f"{each.gain:,.0f}", f"{each.split:,}", each.needs] for each in top]
    header = ["feature", "gain", "splits", "needs"]
    return ["## What the model looks at (top 10)", table(header, rows)] if rows else []


def _achieved(report: Report) -> list[str]:
    if report.achieved is None:
        return []
    rows = [[display(name), percent(each)] for name, each in report.achieved.shares.items()]
    return [
        "## Share of the achievable",
        "The simulated world knows the true probability behind each play; ranking by it gives AUC "
        f"{short(report.achieved.truth_auc)}. Share of its lift over the base rate that each model "
        "reached:",
        table(["model", "share (95 %)"], rows),
    ]


def _audit(report: Report) -> list[str]:
    if report.audit is None:
        return []
    return [
        "## Audit against leakage",
        f"{report.audit.plays:,} plays rebuilt with every later record removed; "
        f"{report.audit.features:,} features compared; {report.audit.mismatches:,} mismatches.",
    ]


def _promotion(report: Report) -> list[str]:
    decision = report.promotion
    if decision is None:
        return []
    parts = [
        "## Promotion",
        f"{'Promoted' if decision.promoted else 'Not promoted'}: {plain(decision.reason)} "
        f"(challenger: {decision.challenger or 'none'}; champion: {decision.champion or 'none'})",
    ]
    numbers = [[name.replace("_", " "), f"{value:,.4g}"] for name, value in decision.numbers.items()]
    return [*parts, table(["number", "value"], numbers)] if numbers else parts


def _playlist(rows: int | None) -> str:
    if rows is None:
        return "`top_resume_playlist.csv` (header only: no tracks were ranked in this run)"
    return f"`top_resume_playlist.csv` ({rows:,} tracks)"
