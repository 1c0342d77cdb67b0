"""The as-of kernels: hand-worked cases, and brute force over small random streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks import asof

Array = NDArray[Any]
modest = settings(max_examples=60, deadline=None)


def codes(*values: int) -> Array:
    return np.array(values, np.int32)


def ticks(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Array, Array, Array, Array, Array, int]:
    """Probes and events of three keys on few ticks, so that ties are common; either may be empty.

    Key 3 exists but no event ever has it.
    """
    probes = sorted(draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=12)))
    events = sorted(draw(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=12)))
    values = draw(st.lists(st.integers(-3, 3), min_size=len(events), max_size=len(events)))
    return (
        codes(*(key for _, key in probes)), ticks(*(tick for tick, _ in probes)),
        codes(*(key for _, key in events)), ticks(*(tick for tick, _ in events)),
        floats(*values), 4,
    )  # fmt: skip


def seen(case: tuple[Array, ...], row: int, window: int = 0) -> list[int]:
    """Places of the events that probe ``row`` sees, oldest first."""
    probe, tick, event, visible = case[:4]
    return [
        place
        for place in range(len(event))
        if event[place] == probe[row]
        and visible[place] <= tick[row]
        and (window == 0 or visible[place] > tick[row] - window)
    ]


def counted(probe: Array, tick: Array, event: Array, visible: Array, keys: int, window: int) -> Any:
    """Counts in one block: what leaves the window is all there is."""
    left, until = (event, visible) if window else (event[:0], visible[:0])
    state = asof.fresh("count", keys)
    return asof.count(state, probe, tick, event, visible, left, until, window).tolist()


@modest
@given(streams(), st.integers(0, 6))
def test_count(case: Any, window: int) -> None:
    probe, tick, event, visible, _, keys = case
    expected = [len(seen(case, row, window)) for row in range(len(probe))]
    assert counted(probe, tick, event, visible, keys, window) == expected


@modest
@given(streams())
def test_sums_deviations_and_the_largest(case: Any) -> None:
    probe, tick, event, visible, value, keys = case
    counts, sums = asof.count_and_sum(
        asof.fresh("count_and_sum", keys), probe, tick, event, visible, value
    )
    deviations = asof.deviation(asof.fresh("deviation", keys), probe, tick, event, visible, value)
    largest = asof.longest(asof.fresh("longest", keys), probe, tick, event, visible, value)
    for row in range(len(probe)):
        values = [float(value[place]) for place in seen(case, row)]
        assert (counts[row], sums[row]) == (len(values), sum(values))
        assert deviations[row] == pytest.approx(
            np.std(values) if values else np.nan, abs=1e-5, nan_ok=True
        )
        assert largest[row] == pytest.approx(max(values, default=np.nan), nan_ok=True)


@modest
@given(streams())
def test_the_newest(case: Any) -> None:
    probe, tick, event, visible, _, keys = case
    expected = [[-1, *seen(case, row)][-1] for row in range(len(probe))]
    found = asof.last(asof.fresh("last", keys), probe, tick, event, visible, 0)
    assert found.tolist() == expected


@modest
@given(streams(), st.integers(1, 4))
def test_the_mean_of_the_newest_few(case: Any, size: int) -> None:
    probe, tick, event, visible, value, keys = case
    found = asof.recent_mean(asof.fresh("recent_mean", keys, size), probe, tick, event, visible, value)
    for row in range(len(probe)):
        newest = [float(value[place]) for place in seen(case, row)[-size:]]
        expected = np.mean(newest) if newest else np.nan
        assert found[row] == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_an_event_is_seen_from_its_own_tick_on() -> None:
    found = counted(codes(0, 0, 0), ticks(4, 5, 6), codes(0), ticks(5), 1, 0)
    assert found == [0, 1, 1]


def test_a_window_is_half_open() -> None:
    """Visible at 5 with a window of 3: seen at 5, 6 and 7, no longer at 8."""
    found = counted(codes(0, 0, 0, 0), ticks(5, 6, 7, 8), codes(0), ticks(5), 1, 3)
    assert found == [1, 1, 1, 0]


def test_a_play_of_a_window_of_rows() -> None:
    """Row 9 looks back ten rows, to row 0 (seen from tick 1); row 11 only to row 1."""
    found = counted(codes(0, 0, 0), ticks(9, 10, 11), codes(0), ticks(1), 1, 10)
    assert found == [1, 1, 0]


def test_deviation_of_values_far_from_zero() -> None:
    """Years: squares of 2015 and 2017 in single precision cannot tell their deviation from 0."""
    years = floats(*[2015, 2017] * 500)
    probe, event = codes(0), np.zeros(1000, np.int32)
    found = asof.deviation(
        asof.fresh("deviation", 1), probe, ticks(1), event, np.zeros(1000, np.int64), years
    )
    assert found.tolist() == pytest.approx([1.0], rel=1e-6)


def test_sums_do_not_drift() -> None:
    """A million tenths: a running float32 sum would be off by 1 %."""
    event, visible = np.zeros(10**6, np.int32), np.zeros(10**6, np.int64)
    value = np.full(10**6, 0.1, np.float32)
    _, sums = asof.count_and_sum(
        asof.fresh("count_and_sum", 1), codes(0), ticks(0), event, visible, value
    )
    assert sums[0] == pytest.approx(100_000, rel=1e-6)


@modest
@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(-5, 5), max_size=30))
def test_dense_codes_number_keys_by_first_appearance(keys: list[int]) -> None:
    found, number = asof.dense(np.array(keys, np.int64))
    order = list(dict.fromkeys(keys))
    assert number == len(order)
    assert found.tolist() == [order.index(key) for key in keys]


def test_dense_codes_of_many_keys() -> None:
    """More than the first table holds, and multiples of a power of two, which collide if unmixed."""
    keys = np.arange(5_000, dtype=np.int64) * 2**20
    found, number = asof.dense(np.concatenate([keys, keys[::-1]]))
    assert number == 5_000
    assert found.tolist() == [*range(5_000), *reversed(range(5_000))]


# Sessions: a gap of at most 30 keeps one going.

GAP = 30


def sessions(
    plays: list[tuple[int, int]],
    at: list[int],
    users: list[int] | None = None,
    asked: list[int] | None = None,
) -> list[tuple[float, float, float]]:
    """(position, elapsed, gap) at the ticks ``at``, after plays (start, end)."""
    event = codes(*(users or [0] * len(plays)))
    start, end = ticks(*(s for s, _ in plays)), ticks(*(e for _, e in plays))
    probe = codes(*(asked or [0] * len(at)))
    states = asof.session(asof.fresh("session", 2), probe, ticks(*at), event, start + 1, start, end, GAP)
    return [tuple(map(float, state)) for state in zip(*states, strict=True)]  # type: ignore[misc]


def nearly(*expected: tuple[float, float, float]) -> Any:
    return [pytest.approx(state, nan_ok=True) for state in expected]


def test_before_the_first_play_there_is_no_session() -> None:
    assert sessions([], [7]) == nearly((0, 0, np.nan))
    assert sessions([(7, 9)], [7]) == nearly((0, 0, np.nan))  # its own start is not before it


def test_a_session_goes_on_for_the_gap_and_no_longer() -> None:
    assert sessions([(0, 10)], [10, 40, 41]) == nearly((1, 10, 0), (1, 40, 30), (0, 0, 31))


def test_a_new_session_counts_from_its_first_play() -> None:
    plays = [(0, 10), (20, 25), (100, 101)]
    assert sessions(plays, [60, 110, 131, 132]) == nearly(
        (0, 0, 35), (1, 10, 9), (1, 31, 30), (0, 0, 31)
    )


def test_the_gap_is_measured_from_the_latest_end_not_the_newest_play() -> None:
    assert sessions([(0, 100), (10, 20)], [130, 131]) == nearly((2, 130, 30), (0, 0, 31))


def test_of_a_running_play_only_that_it_runs_is_used() -> None:
    """Whenever it will end: the state before its end is the same."""
    ends = [51, 60, 1_000]
    assert all(sessions([(0, 10), (40, end)], [50]) == nearly((2, 50, 0)) for end in ends)


def test_plays_that_start_together_are_counted_together() -> None:
    assert sessions([(5, 5), (5, 8)], [5, 6]) == nearly((0, 0, np.nan), (2, 1, 0))


def test_sessions_are_each_users_own() -> None:
    found = sessions([(0, 10), (5, 6)], [7, 7], users=[0, 1], asked=[0, 1])
    assert found == nearly((1, 7, 0), (1, 2, 1))


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60), st.integers(0, 1)), max_size=12),
    st.lists(st.integers(0, 250), min_size=1, max_size=6),
)
def test_sessions_by_brute_force(drawn: list[tuple[int, int, int]], at: list[int]) -> None:
    """Cut each user's plays where none before had an end within the gap; take the last piece."""
    plays, at = sorted(drawn), sorted(at)
    found = sessions([(s, s + length) for s, length, _ in plays], at, [user for _, _, user in plays])
    for now, state in zip(at, found, strict=True):
        own = [(s, s + length) for s, length, user in plays if user == 0 and s < now]
        if not own:
            assert state == nearly((0, 0, np.nan))[0]
            continue
        since = max(now - max(end for _, end in own), 0)
        cuts = [
            place
            for place in range(len(own))
            if not place or own[place][0] - max(end for _, end in own[:place]) > GAP
        ]
        running = own[cuts[-1] :] if since <= GAP else []
        assert state == ((len(running), now - running[0][0], since) if running else (0, 0, since))
