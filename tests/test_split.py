"""Windows: half-open, in order, ties on one side, labels that mature inside their window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Split
from schemas.errors import InputError
from tasks.split import NAMES, Span, Windows, check, rows, spans, windows

DAY = 86_400_000


def share(holdout: float, validation: float, min_rows: int = 1) -> Split:
    return Split(holdout=holdout, validation=validation, min_rows=min_rows)


def ticks(*values: int) -> Any:
    return np.array(values, np.int64)


def test_by_fraction() -> None:
    """Of 100 rows the newest 20 are holdout, of the 80 before them the newest 20 validation."""
    (made,) = windows(np.arange(100) * 10, 1_000, share(0.2, 0.25))
    assert made == Windows(start=0, validation=600, cutoff=800, end=1_000)
    assert [made.bounds(name) for name in NAMES] == [(0, 600), (600, 800), (800, 1_000)]


def test_by_date() -> None:
    """Dates without a zone are UTC, others are converted."""
    days = np.arange(60, dtype=np.int64) * DAY
    east = timezone(timedelta(hours=2))
    settings = Split(holdout=datetime(1970, 2, 1), validation=datetime(1970, 1, 11, 2, tzinfo=east))
    (made,) = windows(days, 60 * DAY, settings)
    assert made == Windows(start=0, validation=10 * DAY, cutoff=31 * DAY, end=60 * DAY)


def test_rows_that_share_the_borders_tick_stay_together_after_it() -> None:
    (made,) = windows(ticks(0, 1, 2, 3, 4, 5, 5, 5, 5, 6), 7, share(0.2, 0.5))
    assert made.cutoff == 5  # the eighth of ten rows starts at 5, and so do three before it
    (made,) = windows(ticks(0, 1, 2, 2, 2, 3, 4, 5, 6, 7), 8, share(0.2, 0.5))
    assert made.validation == 2


def test_several_cutoffs_by_fraction_have_holdouts_of_one_length() -> None:
    made = windows(np.arange(100), 100, share(0.2, 0.25), cutoffs=3)
    assert [(each.cutoff, each.end) for each in made] == [(40, 60), (60, 80), (80, 100)]
    assert [each.validation for each in made] == [30, 45, 60]
    assert [each.start for each in made] == [0, 0, 0]


def test_several_cutoffs_by_date_have_holdouts_of_one_duration() -> None:
    settings = Split(holdout=datetime(1970, 2, 10, tzinfo=UTC), validation=0.5)
    made = windows(np.arange(50, dtype=np.int64) * DAY, 50 * DAY, settings, cutoffs=3)
    assert [(w.cutoff // DAY, w.end // DAY) for w in made] == [(20, 30), (30, 40), (40, 50)]


@pytest.mark.parametrize(
    ("moments", "settings", "cutoffs"),
    [
        (ticks(), share(0.2, 0.2), 1),
        (ticks(5), share(0.2, 0.2), 1),
        (ticks(5, 5, 5), share(0.2, 0.2), 1),
        (np.arange(100), share(0.5, 0.2), 2),
        (np.arange(10) * DAY, Split(holdout=datetime(1969, 1, 1)), 1),
        (np.arange(10) * DAY, Split(holdout=datetime(1970, 1, 5)), 3),
    ],
)
def test_too_little_for_windows_is_a_users_error(moments: Any, settings: Split, cutoffs: int) -> None:
    with pytest.raises(InputError, match=r"too few plays to split.*what to do: bring more data"):
        windows(moments, int(moments[-1]) + 1 if moments.size else 1, settings, cutoffs)


@pytest.mark.parametrize(
    ("settings", "cutoffs"),
    [
        (Split(holdout=datetime(1970, 1, 20), validation=0.5), 1),
        (Split(holdout=datetime(1970, 1, 9), validation=datetime(1970, 1, 8)), 2),
    ],
)
def test_windows_out_of_order_are_refused(settings: Split, cutoffs: int) -> None:
    """A cutoff after the data; validation that begins after an earlier cutoff."""
    with pytest.raises(InputError, match=r"split\.(holdout|validation)"):
        windows(np.arange(10, dtype=np.int64) * DAY, 10 * DAY, settings, cutoffs)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=60).map(sorted),
    st.floats(0.05, 0.6),
    st.floats(0.05, 0.6),
    st.integers(1, 4),
)
def test_windows_are_disjoint_and_in_order(
    moments: list[int], holdout: float, validation: float, cutoffs: int
) -> None:
    try:
        made = windows(ticks(*moments), moments[-1] + 1, share(holdout, validation), cutoffs)
    except InputError:
        return
    assert len(made) == cutoffs
    for each in made:
        assert each.start <= each.validation <= each.cutoff < each.end
        assert each.start == moments[0]
    for earlier, later in pairwise(made):
        assert earlier.end == later.cutoff
    assert made[-1].end == moments[-1] + 1


# Rows of a window


def table(path: Path, labelled: list[tuple[int, int, bool | None]]) -> Path:
    """A feature table of rows (tick, matures_at, target)."""
    schema = {"tick": pl.Int64, "matures_at": pl.Int64, "target": pl.Boolean}
    frame = pl.DataFrame(labelled, schema=schema, orient="row")
    frame.with_columns(user=pl.int_range(pl.len()) % 2).write_parquet(path / "features.parquet")
    return path / "features.parquet"


def test_a_label_matures_inside_its_window(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        [(9, 9, True), (10, 19, True), (11, 20, True), (12, 21, True), (13, 14, None), (20, 20, True)],
    )
    assert rows(path, (10, 20), "time").collect()["tick"].to_list() == [10, 11]
    assert rows(path, (10, 20), "order").collect()["tick"].to_list() == [10, 11, 12]


@pytest.mark.parametrize("clock", ["time", "order"])
def test_sizes_of_windows(tmp_path: Path, clock: str) -> None:
    path = table(tmp_path, [(tick, tick + 1, tick % 4 == 0) for tick in range(40)])
    sizes = check(path, Windows(0, 20, 32, 40), clock, share(0.2, 0.2, min_rows=8))
    assert sizes == {
        "training": {"rows": 20, "users": 2, "positives": 0.25, "start": 0, "end": 20},
        "validation": {"rows": 12, "users": 2, "positives": 0.25, "start": 20, "end": 32},
        "holdout": {"rows": 8, "users": 2, "positives": 0.25, "start": 32, "end": 40},
    }


def test_a_window_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, [(tick, tick + 1, tick % 2 == 0) for tick in range(40)])
    with pytest.raises(InputError, match=r"the validation window .*found: 4 rows.*at least 5"):
        check(path, Windows(0, 20, 24, 40), "time", share(0.2, 0.2, min_rows=5))


@pytest.mark.parametrize("only", [True, False])
def test_a_window_with_one_class_is_refused(tmp_path: Path, only: bool) -> None:
    path = table(tmp_path, [(t, t + 1, only if t >= 30 else t % 2 == 0) for t in range(40)])
    with pytest.raises(InputError, match=rf"all labels of the holdout window.*10 rows, all {only}"):
        check(path, Windows(0, 20, 30, 40), "time", share(0.2, 0.2))


# Windows of lists


def test_spans_end_at_the_end_and_begin_where_the_one_before_ends() -> None:
    assert spans(0, 100, 10, 3, "ten") == [Span(70, 80), Span(80, 90), Span(90, 100)]
    assert spans(0, 20, 10, 1, "ten") == [Span(10, 20)]


@settings(max_examples=200, deadline=None)
@given(st.integers(-50, 50), st.integers(1, 2_000), st.integers(1, 100), st.integers(1, 12))
def test_spans_are_disjoint_with_a_windows_length_of_history(
    start: int, size: int, length: int, count: int
) -> None:
    """Half-open, so that each tick after the first cutoff lies in exactly one; or a clear refusal."""
    end = start + size
    if (count + 1) * length > size:
        fits = max(size // length - 1, 0)
        told = (
            rf"too little history for the windows of lists .*room for {fits} windows .*expected: {count}"
        )
        with pytest.raises(InputError, match=told) as refusal:
            spans(start, end, length, count, "so many days")
        assert "lists.horizon_days" in str(refusal.value)
        if fits:  # what it says fits, does
            assert len(spans(start, end, length, fits, "")) == fits
        return
    made = spans(start, end, length, count, "so many days")
    assert len(made) == count
    assert made[-1].end == end
    assert all(each.end - each.cutoff == length for each in made)
    assert all(earlier.end == later.cutoff for earlier, later in pairwise(made))
    assert made[0].cutoff - start >= length
    for tick in range(made[0].cutoff, end):
        assert sum(each.cutoff <= tick < each.end for each in made) == 1
