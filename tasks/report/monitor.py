"""MONITOR.md, monitor.html and monitor.json: whether retraining pays, and what it rests on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.metrics.binary import Interval
from tasks.report import monitor_figures, page
from tasks.report.charts import Figure
from tasks.report.content import METRIC_NAMES
from tasks.report.files import relative, staged, write_figures, write_text
from tasks.report.text import count, moment, number, plain, table
from tasks.report.words import Words

SAYS = {"retrain": "yes", "nothing": "no", "cannot tell": "cannot tell"}
ASKED = {
    "skill": "Does the model know less than when it was trained?",
    "probabilities": "Are its probabilities off?",
    "lists": "Are its lists worse than when it was trained?",
    "features": "Have features that it rests on drifted?",
    "scores": "Have its probabilities moved?",
    "labels": "Is there much more to learn from?",
}
GRADES = {"strong": "strong", "slight": "slight", "calendar": "the calendar's", "none": "–"}
Rows = list[list[str]]


@dataclass(frozen=True)
class Monitored:
    """What is told of one comparison; ``facts`` are those of ``tasks.monitoring.comparison.compared``.

    ``moments`` are edges by name (UTC, or rows without a clock), ``gap`` how long the newest play is
    ago, in words.
    """

    facts: Mapping[str, Any]
    dataset: str
    target: str
    target_sentence: str
    words: Words
    moments: Mapping[str, datetime | int]
    gaps: Mapping[str, str]
    created: datetime
    digests: Mapping[str, str]

    @property
    def title(self) -> str:
        """The model that is watched."""
        return f"{self.facts['name']} version {self.facts['version']}"

    @property
    def verdict(self) -> str:
        """One sentence: the verdict and what it rests on."""
        reasons = self.facts["reasons"]
        named = [each for each in reasons if each["says"] == "retrain"] or reasons[:1]
        told = self.facts["verdict"]
        return f"{told[0].upper()}{told[1:]}: {'; '.join(each['told'] for each in named)}."


def write(told: Monitored, scored: Path | None, folder: Path) -> list[Path]:
    """Write the report into ``folder``; return the files' paths, sorted.

    ``scored`` is a Parquet of target and predicted_probability of plays since training, if enough
    have matured. Everything is written beside and renamed at the end. Raises ``InputError`` where
    the folder cannot be written.
    """
    drawn = monitor_figures.draw(told.facts, scored, told.words)
    with staged(folder) as place:
        write_figures(place, drawn)
        write_text(place / "monitor.json", _json(told))
        write_text(place / "MONITOR.md", text(told, drawn))
        write_text(place / "monitor.html", html(told, drawn))
        files = relative(place)
        for name in monitor_figures.NAMES:  # drawn by an earlier run, no longer true
            if name not in {each.name for each in drawn}:
                (folder / "figures" / f"{name}.svg").unlink(missing_ok=True)
    return [folder / path for path in files]


def text(told: Monitored, drawn: list[Figure]) -> str:
    """MONITOR.md: the verdict first."""
    parts = [f"# {plain(told.title)}: {told.facts['verdict']}", f"**{plain(told.verdict)}**"]
    for heading, note, header, rows in _sections(told):
        parts += [f"## {heading}", *([plain(note)] if note else []), table(header, rows)]
    parts += [f"![{plain(each.title)}](figures/{each.name}.svg)" for each in drawn]
    return "\n\n".join(parts) + "\n"


def html(told: Monitored, drawn: list[Figure]) -> str:
    """monitor.html: the same on one page."""
    body = [page.paragraph(told.verdict, "verdict"), page.cards(_cards(told))]
    for place, (heading, note, header, rows) in enumerate(_sections(told)):
        words = place == 0 or heading == "Where it comes from"
        body += [page.heading(heading), *([page.paragraph(note, "muted")] if note else [])]
        body += [page.texts("", header, rows) if words else page.grid("", header, rows)]
        body += [page.heading("Figures"), page.gallery(drawn)] if place == 0 else []
    foot = f"Written {told.created:%Y-%m-%d %H:%M} UTC. This page is self-contained and fetches nothing."
    return page.page(told.title, f"monitor of {told.dataset}: {told.target}", body, foot)


def _sections(told: Monitored) -> list[tuple[str, str, list[str], Rows]]:
    """Heading, note, header and rows of each table."""
    facts = told.facts
    resampled = f"95 % intervals: bootstrap over {facts['units']:,} units of kind {facts['unit']}."
    found = [
        ("Does retraining pay?", _compared(told), ["question", "answer", "numbers"], [
            [ASKED[each["name"]], SAYS[each["says"]], each["told"]] for each in facts["reasons"]
        ]),
    ]  # fmt: skip
    model = facts["model"]
    if model is not None:
        found.append((
            "The model on labels that matured since",
            f"{model['rows']:,} plays by {count(model['users'], 'user')} that it was not fitted on, "
            f"{model['share_true']:.1%} of them {told.words.positive}, against the holdout that its "
            f"logged numbers are of. Intervals by {model['units']:,} units of kind {model['unit']}; the "
            "change takes both samples as separate.",
            ["metric", "now", "when trained", "change"], _metrics(model),
        ))  # fmt: skip
    lists = facts["lists"]
    if lists is not None:
        found.append((
            "Lists in windows that have passed since",
            f"{count(len(lists['cutoffs']), 'window')} with {count(lists['users'], 'list')} to judge, "
            "each made with what lay before it; against the windows that the logged numbers are of. The "
            "change takes both samples as separate.",
            ["metric", "now", "when trained", "change"], _lists(lists),
        ))  # fmt: skip
    found += [
        ("Volume", "Counts of the log, not estimates.", ["plays", "newest", "training"], _volume(told)),
        ("Freshness", "As of the newest play, but for the last line.", ["what", "value"], _fresh(told)),
        (
            "Features",
            "Population stability index of the newest stretch against training, less its bias; "
            "usual is the largest that a stretch of this length had in training. Drifted is what is so "
            f"with its whole interval, and unusual. Probabilities are compared with the holdout's. "
            f"{resampled}",
            ["feature", "gain", "drift", "PSI", "usual", "above usual", "missing then", "missing now",
             "change"], [*_scores(facts), *_features(facts)],
        ),
        (
            "Missing values of plays", "Share of plays without a value, where there are any.",
            ["column", "newest", "training"], _missing(facts),
        ),
        ("Where it comes from", "", ["what", "value"], [
            ["registered model", facts["name"]], ["version", str(facts["version"])],
            ["run", facts["run"]],
            *[[f"digest of {name}", digest[:16]] for name, digest in told.digests.items()],
            ["written", f"{told.created:%Y-%m-%d %H:%M} UTC"],
        ]),
    ]  # fmt: skip
    return found


def _compared(told: Monitored) -> str:
    facts, at = told.facts, told.moments
    newest = "The newest stretch is of what the model was trained on: hardly anything came after. "
    return (
        f"The question of the model: will it be true that {told.target_sentence}? Compared are plays "
        f"from {moment(at['recent'])} to {moment(at['end'])} with those from {moment(at['start'])} to "
        f"{moment(at['known'])}. The model knows the data up to {moment(at['trained'])}; "
        f"{count(facts['cut']['new'], 'row')} came after. {newest if facts['cut']['seen'] else ''}"
        "One reason is enough."
    )


def _metrics(model: Mapping[str, Any]) -> Rows:
    names = {"skill": "log loss minus that of a constant", **METRIC_NAMES}
    rows = []
    for name in ("log_loss", "skill", "auc", "brier", "ece"):
        told = [model[when].get(name) for when in ("now", "then", "change")]
        signs = ("+" if name == "skill" else "",) * 2 + ("+",)
        rows.append([names[name], *(_shown(*each) for each in zip(told, signs, strict=True))])
    found = model["calibration"]
    rows.append(["observed minus predicted", _shown(found["large"], "+"), "–", "–"])
    rows.append(["slope of calibration (1 is right)", _shown(found["slope"]), "–", "–"])
    rows.append(["log loss that recalibration would save", _shown(found["gain"], "+"), "–", "–"])
    return rows


def _lists(lists: Mapping[str, Any]) -> Rows:
    named = {
        "ndcg": f"NDCG@{lists['k']}", "hit": f"lists with a hit in {lists['k']}",
        "popular": f"NDCG@{lists['k']} of the most popular tracks",
        "lead": f"NDCG above that of the best single retriever (now {lists['best']})",
    }  # fmt: skip
    signs = {"lead": ("+", "+", "+")}
    return [
        [title, *(
            _shown(lists[when].get(name), sign)
            for when, sign in zip(("now", "then", "change"), signs.get(name, ("", "", "+")), strict=True)
        )]
        for name, title in named.items()
        if name in lists["now"]
    ]  # fmt: skip


def _scores(facts: Mapping[str, Any]) -> Rows:
    """The probabilities' row among those of the features."""
    if facts["scores"] is None:
        return []
    return _features(
        {"features": [{**facts["scores"], "feature": "(the probability itself)", "gain": 1.0}]}
    )


def _shown(told: Mapping[str, float] | None, sign: str = "") -> str:
    return number(interval(told), sign) if told is not None else "–"


def interval(told: Mapping[str, float | None]) -> Interval:
    """An interval of facts, in which what is not a number may have become null."""
    value, low, high = (told[name] for name in ("value", "low", "high"))  # facts do not keep an order
    return Interval(*(math.nan if each is None else each for each in (value, low, high)))


def _volume(told: Monitored) -> Rows:
    newest, training = (told.facts["volume"].get(name) for name in ("newest", "training"))
    empty: dict[str, Any] = {}
    both = (newest or empty, training or empty)
    unit = 86_400_000 if told.facts["clock"] == "time" else 1_000
    named = "a day" if told.facts["clock"] == "time" else "per 1,000 rows of the log"

    def each(name: str) -> list[str]:
        return [f"{side.get(name, 0):,}" for side in both]

    rates = [
        f"{side['plays'] / max((side['last_tick'] - side['first_tick']) / unit, 1):,.1f}"
        if side
        else "–"
        for side in both
    ]
    rows = [["plays", *each("plays")], [f"plays {named}", *rates]]
    rows += [["users", *each("users")], ["tracks", *each("tracks")]]
    for what, things, plays in (
        ("users", "new_users", "plays_by_new_users"),
        ("tracks", "new_tracks", "plays_of_new_tracks"),
    ):
        share = both[0].get(plays, 0) / max(both[0].get("plays", 0), 1)
        rows.append([f"new {what}", f"{both[0].get(things, 0):,}, with {share:.1%} of the plays", "–"])
    return rows


def _fresh(told: Monitored) -> Rows:
    fresh = told.facts["freshness"]
    return [
        ["newest play", moment(told.moments["newest_play"])],
        ["model knows the data up to", moment(told.moments["trained"])],
        *[[name, value] for name, value in told.gaps.items()],
        [
            "users who played in the newest stretch",
            f"{fresh['users_in_newest']:,} of {fresh['users']:,}",
        ],
    ]


def _features(facts: Mapping[str, Any]) -> Rows:
    return [
        [
            row["feature"], f"{row['gain']:.1%}", GRADES[row["drift"]], _shown(row["psi"]),
            _shown(row["usual"]), _shown(row["excess"], "+"), f"{row['missing'][0]:.1%}",
            f"{row['missing'][1]:.1%}", _changed(interval(row["missing_change"])),
        ]
        for row in facts["features"]
    ]  # fmt: skip


def _changed(share: Interval) -> str:
    """A change of a share; nothing where nothing changed."""
    if share.value == share.low == share.high == 0:
        return "–"
    bounds = f" ({share.low:+.1%} to {share.high:+.1%})" if math.isfinite(share.low) else ""
    return f"{share.value:+.1%}{bounds}".replace("-", "−")


def _missing(facts: Mapping[str, Any]) -> Rows:
    newest, training = (facts["missing"].get(name, {}) for name in ("newest", "training"))
    return [
        [name, f"{newest.get(name, 0):.1%}", f"{training.get(name, 0):.1%}"]
        for name in sorted(newest.keys() | training.keys())
        if newest.get(name, 0) or training.get(name, 0)
    ]


def _cards(told: Monitored) -> dict[str, tuple[str, str]]:
    facts = told.facts
    strong = [row for row in facts["features"] if row["drift"] == "strong"]
    cards = {
        "rows since training": (
            f"{facts['cut']['new']:,}",
            "" if facts["lists"] else f"{facts['labels']['new']:,} labels matured",
        ),
        "strongly drifted features": (
            f"{len(strong)} of {len(facts['features'])}",
            f"{sum(row['gain'] for row in strong):.0%} of the model's gain",
        ),
    }
    if facts["lists"] is not None:
        value, _, rest = _shown(facts["lists"]["now"]["ndcg"]).partition(" (")
        then = _shown(facts["lists"]["then"].get("ndcg")).partition(" (")[0]
        title = f"NDCG@{facts['lists']['k']}, now"
        cards[title] = (value, f"{rest.rstrip(')')}; when trained {then}")
    if facts["model"] is not None:
        for name, title in (("skill", "log loss minus a constant's"), ("auc", METRIC_NAMES["auc"])):
            value, _, rest = _shown(facts["model"]["now"][name]).partition(" (")
            then = _shown(facts["model"]["then"].get(name)).partition(" (")[0]
            cards[f"{title}, now"] = (value, f"{rest.rstrip(')')}; when trained {then}")
    return cards


def _json(told: Monitored) -> str:
    plain_facts = {
        **told.facts,
        "dataset": told.dataset,
        "target": told.target,
        "sentence": told.verdict,
        "digests": dict(told.digests),
        "moments": {
            name: each.isoformat() if isinstance(each, datetime) else each
            for name, each in told.moments.items()
        },
        "created": told.created.isoformat(),
    }
    return json.dumps(_finite(plain_facts), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    """What is not a number becomes null."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
