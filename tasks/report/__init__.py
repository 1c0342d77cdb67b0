"""The report: every number of a run as files, figures and one page that works offline."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from schemas.config import Store
from tasks.report.content import Report

FIGURES = (
    "model_comparison", "feature_importance", "roc", "precision_recall", "calibration",
    "score_distribution", "confusion", "over_time", "target_by_hour", "target_by_artist", "platform_mix",
)  # fmt: skip


def write(
    report: Report,
    scored: Path,
    plays: Path | None,
    tracks: Path | None,
    folder: Path,
    store: Store,
    playlist: pl.DataFrame | None = None,
) -> list[Path]:
    """Write all files of a report into ``folder`` and return their paths, sorted.

    ``scored`` is a Parquet, one row a holdout play: started_at, user_id, seq, track_id, target, one
    probability column per model named as the model, and predicted_probability of the registered
    candidate. ``plays`` and ``tracks`` are canonical tables; without them the figures by platform
    and artist are left out, which the pages say. ``playlist`` has the columns of
    ``tables.PLAYLIST``. Everything is written beside and renamed at the end. Raises ``InputError``
    where the folder cannot be written.
    """
    from tasks.report import rendering

    rendering.start()  # meanwhile, all else is imported
    import pyarrow.parquet as pq

    from tasks.report import compared, dashboard, figures, page, results, tables
    from tasks.report.files import relative, staged, write_figures, write_text
    from tasks.report.verdict import verdict
    from tasks.report.words import WORDS

    columns = pq.read_schema(scored).names
    models = {model.name: model.name for model in report.models if model.name in columns}
    if report.candidate not in models:
        models[report.candidate] = "predicted_probability"
    candidate = report.model(report.candidate)
    holdout = figures.Holdout(
        scored=scored,
        models=models,
        candidate=report.candidate,
        threshold=0.5 if candidate is None else candidate.threshold,
        words=WORDS[report.target],
        timezone=report.timezone,
        plays=plays,
        tracks=tracks,
    )
    found = {each.name: each for each in [*compared.compare(report), *figures.draw(holdout, store)]}
    drawn = [found[name] for name in FIGURES if name in found]
    missing = figures.missing([name for name in FIGURES if name not in found])
    sentence = verdict(report)
    ranked = None if playlist is None else playlist.height
    with staged(folder) as scratch:
        tables.write_tables(report, sentence, playlist, scratch)
        tables.write_scored(scored, scratch / "scored_samples.csv")  # while the last are drawn
        write_figures(scratch, drawn)
        write_text(
            scratch / "figures/dashboard.html", dashboard.dashboard(report, sentence, drawn, missing)
        )
        write_text(scratch / "visualization_summary.md", page.figures_page(drawn, missing))
        write_text(scratch / "RESULTS.md", results.results(report, sentence, missing, ranked))
        write_text(scratch / "resume_project_summary.md", results.summary(report, sentence))
        files = relative(scratch)
        for name in FIGURES:  # one that an earlier run drew and this one could not is no longer true
            if name not in found:
                (folder / "figures" / f"{name}.svg").unlink(missing_ok=True)
    return [folder / path for path in files]
