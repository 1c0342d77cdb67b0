"""Seconds and peak memory: known allocations, overlapping work, spans worked out by hand."""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import measuring
from tasks.measuring import covered, measured, size

linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a while is Linux's")
MB = 1_000_000


def allocate(megabytes: int) -> None:
    """Take that much and give it back."""
    taken = b"x" * (megabytes * MB)
    assert len(taken) == megabytes * MB


@linux
def test_the_peak_is_that_of_the_body_alone() -> None:
    with measured() as before:
        pass
    with measured() as large:
        allocate(300)
    with measured() as after:
        pass
    assert 290 < large.peak_mb - before.peak_mb < 330
    assert abs(after.peak_mb - before.peak_mb) < 30


@linux
def test_work_that_begins_or_ends_within_other_work_takes_nothing_from_it() -> None:
    with measured() as outer:
        allocate(300)
        with measured() as inner:
            pass
    assert outer.peak_mb - inner.peak_mb > 250
    with measured() as around:
        with measured() as within:
            allocate(300)
        with measured():
            pass
    assert around.peak_mb >= within.peak_mb > inner.peak_mb + 250


@linux
def test_a_thread_beside_is_seen() -> None:
    with measured() as quiet:
        pass
    beside = threading.Thread(target=allocate, args=(300,))
    with measured() as seen:
        beside.start()
        beside.join()
    assert seen.peak_mb - quiet.peak_mb > 250


def test_seconds_are_the_walls_also_of_what_fails() -> None:
    costs = []

    def fails() -> None:
        with measured() as cost:
            costs.append(cost)
            time.sleep(0.2)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - our own
        fails()
    (cost,) = costs
    assert 0.2 <= cost.seconds < 0.5
    assert abs(cost.began + cost.seconds - time.time()) < 0.2
    assert measuring._RUNNING == []


def test_where_there_is_no_proc_the_peak_is_the_lifes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measuring, "STATUS", tmp_path / "none")
    monkeypatch.setattr(measuring, "CLEAR", tmp_path / "no" / "folder")
    with measured() as cost:
        allocate(50)
    unit = 1 if sys.platform == "darwin" else 1024
    life = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB
    assert 0.9 * life <= cost.peak_mb <= life


def test_seconds_that_lie_in_several_spans_count_once() -> None:
    assert covered([]) == 0
    assert covered([(0, 2), (5, 6)]) == 3
    assert covered([(5, 6), (0, 2), (1, 3)]) == 4
    assert covered([(0, 10), (2, 3), (4, 5), (9, 12)]) == 12


spans = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: (min(ends), max(ends)))


@given(st.lists(spans))
def test_covered_counts_the_whole_seconds_in_any_span(given_spans: list[tuple[int, int]]) -> None:
    inside = {second for begin, end in given_spans for second in range(begin, end)}
    assert covered(given_spans) == len(inside)


def test_sizes_as_a_person_reads_them() -> None:
    assert [size(mb) for mb in (0.4, 310.4, 999.4, 999.6, 1300, 15_040)] == [
        "0 MB", "310 MB", "999 MB", "1.0 GB", "1.3 GB", "15.0 GB",
    ]  # fmt: skip
