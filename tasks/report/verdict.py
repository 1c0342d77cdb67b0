"""The verdict: is the candidate better than the baselines, and is there enough data to say so."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tasks.metrics.binary import Interval
from tasks.report.content import ModelResult, Report, Window, display
from tasks.report.text import short

FEWEST_UNITS = 10  # a bootstrap of fewer units says little about the next one
FEWEST_OF_A_CLASS = 30
BASELINES = ("heuristic", "base_rate")


def verdict(report: Report) -> str:
    """One or two plain sentences: is the candidate better than the baselines, by how much, how surely.

    Better means that the 95 % interval of the paired difference in log loss lies below zero.
    """
    name = _start(display(report.candidate))
    candidate, holdout = report.model(report.candidate), report.windows.get("holdout")
    small = _too_little(report, candidate, holdout)
    if small is not None or candidate is None:
        return (
            f"Too little data to say whether {display(report.candidate)} beats the baselines: {small}."
        )
    differences = {
        baseline: candidate.differences[baseline]["log_loss"]
        for baseline in BASELINES
        if "log_loss" in candidate.differences.get(baseline, {})
    }
    told = {baseline: _difference(baseline, each) for baseline, each in differences.items()}
    won = [baseline for baseline, each in differences.items() if each.high < 0]
    lost = [baseline for baseline in differences if baseline not in won]
    what = f"whether {report.target_sentence}"
    if not lost:
        names = " and ".join(f"the {display(baseline)}" for baseline in won)
        reasons = " and ".join(told[baseline] for baseline in won)
        return f"{name} predicts {what} better than {names}: log loss is {reasons}."
    names = " nor ".join(f"the {display(baseline)}" for baseline in lost)
    words = "beats neither" if len(lost) > 1 else "does not beat"
    reasons = " and ".join(told[baseline] for baseline in lost)
    sentence = f"{name} {words} {names} at predicting {what}: log loss is {reasons}."
    if won:
        sentence += f" It does beat the {display(won[0])}: log loss is {told[won[0]]}."
    return sentence


def against_base_rate(
    what: str, target_sentence: str, window: Window, units: int, unit: str, difference: Interval
) -> str:
    """One plain sentence on a registered model: better or worse than the base rate, or not to be told.

    ``what`` names the model, ``difference`` is its log loss minus the base rate's, paired.
    """
    small = _undecided(window, "the window", units, unit, [difference])
    if small is not None:
        return f"Too little data to say whether {what} beats the base rate: {small}."
    question = f"whether {target_sentence}"
    reason = f"log loss is {_difference('base_rate', difference)}"
    if difference.high < 0:
        return f"{what} predicts {question} better than the base rate: {reason}."
    if difference.low > 0:
        return f"{what} predicts {question} worse than the base rate: {reason}."
    return f"{what} is not shown to beat the base rate at predicting {question}: {reason}."


def _too_little(report: Report, candidate: ModelResult | None, holdout: Window | None) -> str | None:
    """Why the holdout cannot decide anything, or None."""
    if candidate is None or holdout is None or holdout.rows == 0:
        return "the model was not scored on a holdout"
    told = [each["log_loss"] for each in candidate.differences.values() if "log_loss" in each]
    return _undecided(holdout, "the holdout", report.resampling_units, report.resampling_unit, told)


def _undecided(
    window: Window, place: str, units: int, unit: str, differences: Iterable[Interval]
) -> str | None:
    """Why a window's plays cannot decide anything, or None."""
    share = window.positive_share
    positives = round(window.rows * share) if share is not None and math.isfinite(share) else 0
    rarer = min(positives, window.rows - positives)
    if rarer < FEWEST_OF_A_CLASS:
        return (
            f"{place} has {window.rows:,} plays, {positives:,} of them true; "
            f"at least {FEWEST_OF_A_CLASS} true and {FEWEST_OF_A_CLASS} false ones are needed"
        )
    if units < FEWEST_UNITS:
        return (
            f"{place} has only {units:,} independent units ({unit}); at least {FEWEST_UNITS} are needed"
        )
    bounds = [bound for each in differences for bound in (each.low, each.high)]
    if not bounds or not all(map(math.isfinite, bounds)):
        return "no interval could be computed for the difference in log loss"
    return None


def _difference(baseline: str, each: Interval) -> str:
    """``lower by .021 (95 % .018 to .024) than the heuristic's``."""
    size, than = short(abs(each.value)), f"than the {display(baseline)}'s"
    if each.high < 0:
        return f"lower by {size} (95 % {short(-each.high)} to {short(-each.low)}) {than}"
    if each.low > 0:
        return f"higher by {size} (95 % {short(each.low)} to {short(each.high)}) {than}"
    side = "lower" if each.value < 0 else "higher"
    return (
        f"{side} by {size} {than}, which may be chance "
        f"(95 % {short(each.low, '+')} to {short(each.high, '+')} includes zero)"
    )


def _start(text: str) -> str:
    return text[0].upper() + text[1:]
