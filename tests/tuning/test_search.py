"""Proposals follow from finished trials and a seed; trials are given up by the median of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tasks.tuning import of_lists, of_plays, search
from tasks.tuning.search import STRETCH, Direction, Trial
from tasks.tuning.space import Choice, Range, nearest

SPACE: Mapping[str, Range | Choice] = {
    "rate": Range(0.001, 1.0, "real", "log"),
    "leaves": Range(2, 64, "whole", "log"),
    "kind": Choice(("a", "b", "c")),
}


def loss(point: Mapping[str, Any]) -> float:
    """Least at a rate of .1 and kind b."""
    return abs(math.log10(point["rate"]) + 1) + (0 if point["kind"] == "b" else 1)


def searched(
    trials: int, size: int, seed: int = 1, direction: Direction = "minimize", startup: int = 6
) -> list[Trial]:
    sign = 1 if direction == "minimize" else -1
    done: list[Trial] = []
    while len(done) < trials:
        batch = search.proposed(SPACE, direction, done, size, startup, seed)
        done += [
            Trial(number, point, sign * loss(point), []) for number, point in enumerate(batch, len(done))
        ]
    return done


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_search_finds_what_chance_does_not(direction: Direction) -> None:
    done = searched(40, 2, direction=direction)
    by_chance = searched(40, 2, direction=direction, startup=1_000)
    late = [loss(each.point) for each in done[30:]]
    assert sum(late) < 0.5 * sum(loss(each.point) for each in by_chance[30:])
    assert loss(search.best(direction, done).point) < 0.1
    assert done[:6] == by_chance[:6]


def test_the_same_trials_and_seed_propose_the_same_and_no_batch_repeats_another() -> None:
    assert searched(12, 3) == searched(12, 3)
    assert searched(12, 3) != searched(12, 3, seed=2)
    points = [tuple(each.point.items()) for each in searched(12, 3)]
    assert len(set(points)) == 12


@pytest.mark.parametrize("space", [SPACE, of_plays.SPACE, of_lists.SPACE])
def test_proposals_lie_in_their_ranges_and_can_be_read(space: Any) -> None:
    for point in search.proposed(space, "minimize", [], 40, 40, 3):
        assert list(point) == list(space)
        assert nearest(space, point) == point
        for value in point.values():
            assert not isinstance(value, float) or float(f"{value:.3g}") == value


def test_what_is_given_outside_of_the_ranges_is_told_as_the_nearest_point() -> None:
    given = {"rate": 0.0, "leaves": 1_000, "kind": "z"}
    assert nearest(SPACE, given) == {"rate": 0.001, "leaves": 64, "kind": "a"}
    days = {"days": Choice((0, 90, 270))}
    assert nearest(days, {"days": 30})["days"] == 0
    assert nearest(days, {"days": 200})["days"] == 270
    done = [Trial(0, given, 3.0, [(0, 3.5)]), Trial(1, given, None, [(0, 9.0)])]
    assert len(search.proposed(SPACE, "minimize", done, 2, 1, 0)) == 2


CURVES = [
    [(0, 5.0), (1, 3.0), (2, 3.5)],  # by step 2 it had reached 3
    [(0, 7.0), (1, 6.0)],  # stopped growing: at step 2 still 6
    [(0, 9.0), (1, 8.0), (2, 1.0), (STRETCH, 2.0)],
]


def trials(points: Callable[[int], float | None] = float) -> list[Trial]:
    return [Trial(number, {}, points(number), curve) for number, curve in enumerate(CURVES)]


def test_the_bar_is_the_median_of_what_finished_trials_had_reached() -> None:
    assert search.bars("minimize", trials(), 3) == {0: 7.0, 1: 6.0, 2: 3.0}
    assert search.bars("minimize", trials(), 1)[STRETCH] == 2.0  # another window begins anew
    assert search.bars("maximize", trials(), 3) == {0: 7.0, 1: 7.0, 2: 7.0}
    assert search.bars("minimize", trials(), 4) == {}
    given_up = trials(lambda number: 1.0 if number else None)
    assert search.bars("minimize", given_up, 2) == {0: 8.0, 1: 7.0, 2: 3.5}


def test_a_trial_is_given_up_only_below_the_bar_and_only_for_its_best() -> None:
    bars = {0: 7.0, 1: 6.0}
    assert not search.behind("minimize", [(0, 7.0)], bars, 0)
    assert search.behind("minimize", [(0, 7.1)], bars, 0)
    assert not search.behind("minimize", [(0, 5.0), (1, 9.0)], bars, 1)
    assert not search.behind("minimize", [(2, 99.0)], bars, 2)  # none has come so far
    assert not search.behind("minimize", [(2, 7.0)], bars, 0)
    assert search.behind("minimize", [(2, 7.0)], bars, 1)
    assert search.behind("maximize", [(0, 6.9)], bars, 0)
    assert not search.behind("maximize", [(0, 7.0)], bars, 0)


def test_of_equal_trials_the_first_is_best_and_the_given_up_never() -> None:
    done = [Trial(0, {}, 2.0, []), Trial(1, {}, None, [(0, -9.0)]), Trial(2, {}, 1.0, []),
            Trial(3, {}, 1.0, [])]  # fmt: skip
    assert search.best("minimize", done).number == 2
    assert search.best("maximize", done).number == 0
