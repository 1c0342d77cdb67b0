"""Which rows are compared: the newest stretch, and those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.monitoring import Monitor

DAY = 86_400_000
EARLIER = 4  # stretches of training that show how much a stretch usually differs


@dataclass(frozen=True)
class Stretches:
    """Ticks: training is [start, known), the newest stretch [recent, end).

    ``earlier`` are the starts of stretches of training as long as the newest, in time order; each
    ends where the next begins, the last at ``known``. ``trained`` is the tick up to which the model
    knows the data and ``new`` the number of rows from it on. ``seen``: the newest stretch itself is
    of training, because hardly anything came after.
    """

    start: int
    known: int
    recent: int
    end: int
    earlier: tuple[int, ...]
    trained: int
    new: int
    seen: bool

    def periods(self, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each row 0 for training before ``earlier``, 1.. for these, then the newest; or -1."""
        edges = np.array([*self.earlier, self.known])
        place = np.searchsorted(edges, ticks, side="right").astype(np.int64)
        place[(ticks >= self.known) & (ticks < self.recent)] = -1
        place[ticks >= self.recent] = len(edges)
        return place


def stretches(ticks: NDArray[np.int64], clock: str, trained: int, settings: Monitor) -> Stretches:
    """Where to cut rows at ``ticks`` (n,), sorted, for a model that knows them up to ``trained``.

    The newest stretch is the last ``monitor.days`` (``monitor.share`` of the rows without a clock),
    and of that what came after training, if it is at least ``min_rows``. Raises ``InputError``
    where one side has fewer.
    """
    start, end = int(ticks[0]), int(ticks[-1]) + 1
    if clock == "time":
        newest, told = end - settings.days * DAY, "monitor.days"
    else:
        newest, told = int(ticks[round((len(ticks) - 1) * (1 - settings.share))]), "monitor.share"

    def rows(low: int, high: int) -> int:
        return int(np.searchsorted(ticks, high) - np.searchsorted(ticks, low))

    recent = max(trained, newest)
    seen = rows(recent, end) < settings.min_rows
    recent = newest if seen else recent
    known = min(trained, recent)
    for what, found, do in (
        ("the newest stretch", rows(recent, end), f"raise {told} or bring more data"),
        ("what the model was trained on", rows(start, known),
         f"bring the data that it was trained on too, or lower {told}"),
    ):  # fmt: skip
        if found < settings.min_rows:
            raise InputError(
                f"too few rows to compare in {what}", found=found,
                expected=f"at least {settings.min_rows} (monitor.min_rows)", do=do,
            )  # fmt: skip
    before = earlier(ticks, start, known, end - recent, settings.min_rows)
    return Stretches(start, known, recent, end, before, trained, rows(trained, end), seen)


def unseen(
    cut: Stretches, ticks: NDArray[np.int64], holdout: tuple[int, int], settings: Monitor
) -> Stretches | None:
    """The newest stretch beside a holdout in place of training; None where that has too few rows.

    ``ticks`` (n,), sorted, are those of all rows; of the holdout [start, end) only what lies before
    the newest stretch.
    """
    start, known = holdout[0], min(holdout[1], cut.recent)
    if np.searchsorted(ticks, known) - np.searchsorted(ticks, start) < settings.min_rows:
        return None
    before = earlier(ticks, start, known, cut.end - cut.recent, settings.min_rows)
    return replace(cut, start=start, known=known, earlier=before)


def earlier(
    ticks: NDArray[np.int64], start: int, known: int, length: int, least: int
) -> tuple[int, ...]:
    """Starts of at most ``EARLIER`` stretches of ``length`` that end at ``known``, in time order.

    Each has ``least`` rows, as has what lies before the first, which is as long as one of them.
    """
    found: list[int] = []
    for place in range(1, EARLIER + 1):
        low, high = known - length * place, known - length * (place - 1)
        first, middle, last = np.searchsorted(ticks, (start, low, high))
        if low - start < length or min(middle - first, last - middle) < least:
            break
        found.insert(0, low)
    return tuple(found)
