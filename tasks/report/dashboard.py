"""figures/dashboard.html: the whole report on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.report import page
from tasks.report.charts import Figure
from tasks.report.content import METRIC_NAMES, Report, display
from tasks.report.results import difference_table, lineage_table, model_table, window_table
from tasks.report.text import count, flat, number, percent, short
from tasks.report.words import WORDS


def dashboard(report: Report, verdict: str, figures: Sequence[Figure], missing: Sequence[str]) -> str:
    """The page; ``missing`` are lines on figures that could not be drawn."""
    body = [
        page.paragraph(verdict, "verdict"),
        page.cards(_cards(report)),
        page.heading("Models on the holdout"),
        page.grid(
            f"95 % intervals below each value: bootstrap over {report.resampling_units:,} units "
            f"({report.resampling_unit}). ★ is the registered model. Lower is better for log loss, "
            "Brier and calibration error.",
            *model_table(report),
        ),
        page.listing(f"{display(model.name)}: {model.note}" for model in report.models if model.note),
    ]
    header, rows = difference_table(report)
    if rows:
        caption = "Paired on the same resamples; an interval that excludes zero is a real difference."
        body += [page.heading("Differences to the baselines"), page.grid(caption, header, rows)]
    body += [
        page.heading("Figures"),
        page.gallery(figures),
        page.listing(missing),
        page.heading("Windows"),
        page.grid("Half-open, in time order; the holdout was looked at once.", *window_table(report)),
    ]
    if report.achieved is not None:
        caption = (
            "The simulated world knows the true probabilities; they reach AUC "
            f"{short(report.achieved.truth_auc)}. Share of their lift over the base rate:"
        )
        shares = [(display(name), percent(each)) for name, each in report.achieved.shares.items()]
        body += [page.heading("Share of the achievable"), page.grid(caption, ("model", "share"), shares)]
    if report.promotion is not None:
        word = "Promoted" if report.promotion.promoted else "Not promoted"
        body += [page.heading("Promotion"), page.paragraph(f"{word}: {report.promotion.reason}")]
    body += [
        page.heading("Data and origin"),
        page.paragraph(
            f"{report.labels:,} plays have a label, {report.labels_unknown:,} cannot have one. "
            f"Label mode: {report.label_mode}."
        ),
        page.fold(
            "What was read",
            page.grid("Ingest", ("fact", "value"), list(flat(report.ingest)), facts="facts"),
        ),
        page.fold(
            "Lineage", page.grid("Digests are cut to 16 digits", *lineage_table(report), facts="facts")
        ),
    ]
    target = f"Target “{report.target}”: {report.target_sentence}"
    foot = (
        f"Written {report.created:%Y-%m-%d %H:%M} UTC. This page is self-contained and fetches nothing."
    )
    return page.page(f"{report.dataset}: {report.target}", target, body, foot)


def redrawn(
    figures: Sequence[Figure],
    facts: Mapping[str, tuple[str, str]],
    missing: Sequence[str],
    title: str,
    kind: str,
    verdict: str,
) -> str:
    """The page of figures drawn from a scored_samples.csv alone; ``facts`` are its key numbers.

    ``verdict`` may be empty.
    """
    body = [
        *([page.paragraph(verdict, "verdict")] if verdict else []),
        page.cards(facts),
        page.heading("Figures"),
        page.gallery(figures),
        page.heading("Not in the scored plays"),
        page.listing(missing),
    ]
    return page.page(title, kind, body, "This page fetches nothing.")


def _cards(report: Report) -> dict[str, tuple[str, str]]:
    cards = {}
    candidate, holdout = report.model(report.candidate), report.windows.get("holdout")
    if candidate is not None:
        for metric in ("log_loss", "auc", "ece"):
            if metric in candidate.metrics:
                value, _, rest = number(candidate.metrics[metric]).partition(" (")
                cards[f"{METRIC_NAMES[metric]}, {display(candidate.name)}"] = (value, rest.rstrip(")"))
    if holdout is not None:
        cards["holdout plays"] = (f"{holdout.rows:,}", f"by {count(holdout.users, 'user')}")
        if holdout.positive_share is not None:
            words = WORDS[report.target]
            cards[f"of these {words.positive}"] = (f"{holdout.positive_share:.1%}", words.rate)
    if report.audit is not None:
        checked = f"in {report.audit.features:,} features of {report.audit.plays:,} plays"
        cards["leakage audit, mismatches"] = (f"{report.audit.mismatches:,}", checked)
    return cards
