"""Whether retraining pays: each reason for it with its numbers, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.monitoring import Monitor
from tasks.metrics.binary import Interval
from tasks.report.text import count, number

PAYS, NO_REASON, TOO_LITTLE = (
    "retraining pays", "no reason to retrain", "too little new data to say",
)  # fmt: skip


@dataclass(frozen=True)
class Reason:
    """One thing that may make retraining pay, whether it does, and the numbers in a sentence."""

    name: str
    says: Literal["retrain", "nothing", "cannot tell"]
    told: str


def verdict(reasons: Sequence[Reason]) -> str:
    """One reason to retrain is enough; without new data or labels nothing can be said."""
    says = {reason.name: reason.says for reason in reasons}
    if "retrain" in says.values():
        return PAYS
    return TOO_LITTLE if set(says.values()) == {"cannot tell"} else NO_REASON


def reasons(
    new: int,
    seen: bool,
    labels: tuple[int, int],
    features: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any] | None,
    model: Mapping[str, Any] | None,
    settings: Monitor,
) -> list[Reason]:
    """The reasons in the order of their weight: skill, probabilities, features, scores, labels.

    ``new`` is the number of rows since training, ``seen`` whether the newest stretch is itself of
    training, ``labels`` (new, trained on), ``features`` the rows of ``features.drifted``, ``scores``
    what ``scores.drifted`` found, and ``model`` the facts of ``model.matured``, None where too few
    labels have matured.
    """
    return [
        *_model(labels[0], model, settings),
        _features(new, seen, features, settings),
        _scores(new, seen, scores, settings),
        _labels(*labels, settings),
    ]


def of_lists(
    new: int,
    seen: bool,
    plays: tuple[int, int],
    features: Sequence[Mapping[str, Any]],
    lists: Mapping[str, Any] | None,
    settings: Monitor,
) -> list[Reason]:
    """The same for lists: lists, features, labels; ``lists`` as ``lists.quality`` has it.

    ``plays`` (new, trained on) are what lists learn from.
    """
    return [
        _lists(lists, settings),
        _features(new, seen, features, settings),
        _labels(*plays, settings, "play"),
    ]


def _lists(lists: Mapping[str, Any] | None, settings: Monitor) -> Reason:
    """By how far lists are ahead of the best retriever's: that does not move when all get harder."""
    if lists is None:
        return Reason("lists", "cannot tell", "no window of lists with plays has passed since training")
    if "lead" not in lists["change"]:
        return Reason("lists", "cannot tell", "how good lists were when trained was not logged")
    now, then, change = (Interval(**lists[when]["lead"]) for when in ("now", "then", "change"))
    lost = change.high < 0 and -change.value > settings.ndcg_margin
    worse = "surely worse" if lost else "not worse" if change.value >= 0 else "not surely worse"
    told = (
        f"NDCG@{lists['k']} above that of the best single retriever, {lists['best']}, is "
        f"{number(now, '+')} since training, was {number(then, '+')} of the best when trained: {worse}, "
        f"changed by {number(change, '+')}, −{settings.ndcg_margin:g} counts"
    )
    return Reason("lists", "retrain" if lost else "nothing", told)


def _model(new: int, model: Mapping[str, Any] | None, settings: Monitor) -> list[Reason]:
    if model is None:
        few = f"{count(new, 'label')} matured since training, at least {settings.min_rows} are needed"
        return [Reason(name, "cannot tell", few) for name in ("skill", "probabilities")]
    margin = settings.margin
    found = []
    if "skill" in model["change"]:
        change = Interval(**model["change"]["skill"])
        now, then = (Interval(**model[when]["skill"]) for when in ("now", "then"))
        lost = change.low > 0 and change.value > margin
        worse = "surely worse" if lost else "not worse" if change.value <= 0 else "not surely worse"
        told = (
            f"log loss minus a constant's is {number(now, '+')} on new plays, was {number(then, '+')} "
            f"when trained: {worse}, changed by {number(change, '+')}, {margin:g} counts"
        )
        found.append(Reason("skill", "retrain" if lost else "nothing", told))
    else:
        told = "the model's own holdout was not logged, or is not in this data"
        found.append(Reason("skill", "cannot tell", told))
    gain = Interval(**model["calibration"]["gain"])
    off = gain.low > 0 and gain.value > margin
    told = (
        f"set right by the earlier half of the new plays, the later half would have a log loss "
        f"{'surely ' if off else ''}lower by {number(gain, '+')}, {margin:g} counts"
    )
    says: Literal["retrain", "nothing", "cannot tell"] = "retrain" if off else "nothing"
    found.append(Reason("probabilities", says if math.isfinite(gain.low) else "cannot tell", told))
    return found


def _features(new: int, seen: bool, features: Sequence[Mapping[str, Any]], settings: Monitor) -> Reason:
    if seen:
        few = f"{count(new, 'play')} since training, at least {settings.min_rows} are needed"
        return Reason("features", "cannot tell", few)
    strong = [row for row in features if row["drift"] == "strong"]
    share = sum(row["gain"] for row in strong)
    names = ", ".join(f"{row['feature']} {number(Interval(**row['psi']))}" for row in strong[:5]) + (
        f" and {len(strong) - 5} more" if len(strong) > 5 else ""
    )
    told = f"{share:.0%} of the model's gain is in strongly drifted features"
    told += f", {settings.drifted_gain:.0%} counts{f': PSI of {names}' if strong else ''}"
    return Reason("features", "retrain" if share >= settings.drifted_gain else "nothing", told)


def _scores(new: int, seen: bool, scores: Mapping[str, Any] | None, settings: Monitor) -> Reason:
    if seen:
        few = f"{count(new, 'play')} since training, at least {settings.min_rows} are needed"
        return Reason("scores", "cannot tell", few)
    if scores is None:
        told = "the model's own holdout was not logged, or too little of it is in this data"
        return Reason("scores", "cannot tell", told)
    usual = f", usual is {number(Interval(**scores['usual']))}" if scores["usual"] else ""
    told = (
        f"PSI of the probabilities on new plays against those on the holdout is "
        f"{number(Interval(**scores['psi']))}{usual}, {settings.strong:g} counts"
    )
    return Reason("scores", "retrain" if scores["drift"] == "strong" else "nothing", told)


def _labels(new: int, trained: int, settings: Monitor, thing: str = "label") -> Reason:
    share = new / max(trained, 1)
    came = "matured" if thing == "label" else "came"
    told = (
        f"{count(new, thing)} {came} since training on {trained:,}: {share:.0%} more, "
        f"{settings.growth:.0%} counts"
    )
    if new < settings.min_rows:
        return Reason("labels", "cannot tell", told)
    return Reason("labels", "retrain" if share >= settings.growth else "nothing", told)
