"""The verdict says better, not better, or too little data, by the numbers and in plain words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tasks.metrics.binary import Interval
from tasks.report.content import Report
from tasks.report.verdict import verdict

Against = Callable[[Interval, Interval], Report]


def test_better_than_both(report: Report) -> None:
    assert verdict(report) == (
        "LightGBM predicts whether a play is heard to its end better than the heuristic and the base "
        "rate: log loss is lower by .021 (95 % .018 to .024) than the heuristic's and lower by .050 "
        "(95 % .040 to .060) than the base rate's."
    )


def test_worse_than_the_heuristic_only(against: Against) -> None:
    said = verdict(against(Interval(0.0123, 0.002, 0.02), Interval(-0.03, -0.04, -0.02)))
    assert said == (
        "LightGBM does not beat the heuristic at predicting whether a play is heard to its end: log "
        "loss is higher by .012 (95 % .0020 to .020) than the heuristic's. It does beat the base rate: "
        "log loss is lower by .030 (95 % .020 to .040) than the base rate's."
    )


def test_an_interval_that_includes_zero_is_no_win(against: Against) -> None:
    said = verdict(against(Interval(-0.004, -0.012, 0.003), Interval(-0.01, -0.03, 0.0)))
    assert said.startswith("LightGBM beats neither the heuristic nor the base rate")
    assert (
        "lower by .0040 than the heuristic's, which may be chance (95 % −.012 to +.0030 includes zero)"
        in said
    )


@pytest.mark.parametrize(
    ("positives", "units", "reason"),
    [
        (0.0, 118, "the holdout has 240 plays, 0 of them true"),
        (1.0, 118, "240 of them true"),
        (29 / 240, 118, "29 of them true"),
        (float("nan"), 118, "0 of them true"),
        (0.5, 9, "only 9 independent units (user-day)"),
    ],
)
def test_too_little_data(report: Report, positives: float, units: int, reason: str) -> None:
    holdout = replace(report.windows["holdout"], positive_share=positives)
    said = verdict(replace(report, windows={"holdout": holdout}, resampling_units=units))
    assert said.startswith("Too little data to say whether LightGBM beats the baselines: ")
    assert reason in said


def test_30_of_each_class_and_10_units_are_enough(report: Report) -> None:
    holdout = replace(report.windows["holdout"], positive_share=30 / 240)
    assert "better than" in verdict(replace(report, windows={"holdout": holdout}, resampling_units=10))


def test_an_interval_that_could_not_be_computed_says_nothing(against: Against) -> None:
    nothing = Interval(-0.02, float("nan"), float("nan"))
    assert "no interval could be computed" in verdict(against(nothing, nothing))
