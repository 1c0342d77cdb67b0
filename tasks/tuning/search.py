"""What to try next, and what to give up: both follow from the trials so far and nothing else.

No study is kept anywhere. A batch of proposals is computed from the finished trials, told to a fresh
sampler in their order, and a seed; so a run that was killed proposes the same again, finds the trials
that were finished in the store, and ends with the same numbers as one that was left alone.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tasks.tuning.space import Choice, Point, Space, nearest, rounded

Direction = Literal["minimize", "maximize"]
STRETCH = 20  # steps of one window: a step is STRETCH · the window's number + how far it has come in it
Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Trial:
    """A setting that was tried: ``value`` is None where it was given up, ``curve`` led there."""

    number: int
    point: Point
    value: float | None
    curve: Curve


def proposed(
    space: Space, direction: Direction, done: Sequence[Trial], count: int, startup: int, seed: int
) -> list[dict[str, Any]]:
    """``count`` points to try after ``done``, the same for the same arguments.

    The first ``startup`` are random; later ones are drawn by the tree-structured Parzen estimator
    (Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011), which takes each
    point of a batch for bad before it proposes the next (Ginsbourger et al.'s constant liar).
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    drawn = np.random.SeedSequence([seed, len(done)]).generate_state(1).item()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=drawn, n_startup_trials=startup, multivariate=True, constant_liar=True
            )
        study = optuna.create_study(direction=direction, sampler=sampler)
        ranges = _distributions(space)
        for trial in done:
            state = TrialState.COMPLETE if trial.value is not None else TrialState.PRUNED
            told = create_trial(
                params=nearest(space, trial.point), distributions=ranges, value=trial.value,
                intermediate_values=dict(trial.curve), state=state,
            )  # fmt: skip
            study.add_trial(told)
        return [rounded(space, study.ask(ranges).params) for _ in range(count)]
    finally:
        optuna.logging.set_verbosity(verbosity)


def bars(direction: Direction, done: Sequence[Trial], startup: int) -> dict[int, float]:
    """What others had reached by each step, below which a trial may be given up: step → value.

    It is the median of what finished trials had reached by then (the median stopping rule of Golovin
    et al., Google Vizier, KDD 2017), each its best up to the step; a step which a trial skipped, for
    it had stopped growing before, counts with what it had reached. None before ``startup`` trials
    have finished.
    """
    finished = [trial for trial in done if trial.value is not None]
    if len(finished) < startup:
        return {}
    steps = sorted({step for trial in finished for step, _ in trial.curve})
    reached = {step: [_best(direction, trial.curve, step) for trial in finished] for step in steps}
    return {
        step: statistics.median(known)
        for step, values in reached.items()
        if len(known := [value for value in values if value is not None]) >= startup
    }


def behind(direction: Direction, curve: Curve, among: Mapping[int, float], rival: int) -> bool:
    """Whether a trial with ``curve`` has not reached by now what the others had by step ``rival``."""
    best = _best(direction, curve, curve[-1][0])
    if rival not in among or best is None:
        return False
    return best > among[rival] if direction == "minimize" else best < among[rival]


def best(direction: Direction, done: Sequence[Trial]) -> Trial:
    """The finished trial with the best value; of equal ones the first."""
    sign = 1 if direction == "minimize" else -1
    finished = [trial for trial in done if trial.value is not None]
    return min(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def _best(direction: Direction, curve: Curve, until: int) -> float | None:
    """The best value up to a step, of those in the same window."""
    values = [value for step, value in curve if until // STRETCH * STRETCH <= step <= until]
    if not values:
        return None
    return min(values) if direction == "minimize" else max(values)


def _distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    made: dict[str, BaseDistribution] = {}
    for name, allowed in space.items():
        if isinstance(allowed, Choice):
            made[name] = CategoricalDistribution(allowed.values)
            continue
        log = allowed.scale == "log"
        made[name] = (
            IntDistribution(int(allowed.low), int(allowed.high), log=log)
            if allowed.kind == "whole"
            else FloatDistribution(allowed.low, allowed.high, log=log)
        )
    return made
