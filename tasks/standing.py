"""Going on from an earlier feature table: which of its rows stand when newer records have come.

Features of a play depend on its own columns and on what was visible at its start. So all rows before
the first record that is not what it was stand as they are, to the last bit. Where a track's or a
listener's own columns have changed, or a listener's number, none does.
"""

from __future__ import annotations

import filecmp
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks import parts

if TYPE_CHECKING:
    from tasks.featurize import History

ORIGIN = "origin.json"
NEVER = int(np.iinfo(np.int64).max)
DAY = 86_400_000  # ms: the coarsest grain of ticks, up to which a play may seem earlier than it is


@dataclass(frozen=True)
class Before:
    """An earlier feature table in parts, its features and the history that they were built from.

    It was made by the same code with the same settings, from a source with a clock.
    """

    table: Path
    names: Sequence[str]
    history: History


@dataclass(frozen=True)
class Origin:
    """Where a feature table comes from: how it was made (code and settings), and from which entries."""

    way: str
    data: str
    outcomes: str

    def sign(self, folder: Path) -> None:
        """Note it beside the table."""
        (folder / ORIGIN).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def of(folder: Path) -> Origin | None:
        """As it was noted; None where it was not, or is gone."""
        try:
            return Origin(**json.loads((folder / ORIGIN).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


def linked(
    before: Path, changed: int, tick: NDArray[np.int64], blocks: Sequence[slice], table: Path
) -> int:
    """Give parts of an earlier table that stand another name in the folder ``table``; their number.

    ``tick`` are those of the new table's rows, whose parts are to be the ``blocks``; ``changed`` is
    the moment that ``first_change`` tells.
    """
    number = 0
    with suppress(FileNotFoundError):  # `gc` may remove the earlier one
        stands = tick < changed
        standing = len(tick) if stands.all() else int(stands.argmin())
        for block in blocks:
            part = parts.part(before, number)
            if block.stop > standing or parts.rows(part) != block.stop - block.start:
                break
            parts.link(part, parts.part(table, number))
            number += 1
    return number


def first_change(before: History, now: History) -> int:
    """A moment (ms) before which all records are what they were, and so all that plays can see.

    No play from the first on that is not what it was, or whose label is not, has an earlier tick;
    nor does an error that came or went. 0 where a track or a listener is not what it was, or the
    earlier records are gone.
    """
    try:
        return _first_change(before, now) if _known(before, now) else 0
    except FileNotFoundError:
        return 0


def _first_change(before: History, now: History) -> int:
    same = 0
    for old, new in zip(parts.files(before.plays), parts.files(now.plays), strict=False):
        if not (old.samefile(new) or filecmp.cmp(old, new, shallow=False)):
            break
        same += parts.rows(new)
    play = min([same, *(_relabelled(before.labels[name], now.labels[name]) for name in now.labels)])
    starts = [
        pl.scan_parquet(plays).slice(play).select(pl.col("started_at").dt.epoch("ms").min())
        for plays in (before.plays, now.plays)
    ]
    first = pl.concat(starts).min().collect(engine="streaming").item()
    moments = [NEVER if first is None else first // DAY * DAY, _failed(before.errors, now.errors)]
    return min(moments)


def _known(before: History, now: History) -> bool:
    """Whether all earlier tracks and users are what they were; users also at their places."""
    old, new = (pl.read_parquet(each.users).sort("user_id") for each in (before, now))
    if not new.head(old.height).equals(old):
        return False
    old, new = (pl.read_parquet(each.tracks).sort("track_id") for each in (before, now))
    return new.join(old, on="track_id", how="semi", maintain_order="left").equals(old)


def _relabelled(before: Path, now: Path) -> int:
    """The first play whose label is not what it was; where none is, one after all that both have."""
    columns = ["play", "target", "matures_at"]
    old, new = (pl.read_parquet(path, columns=columns) for path in (before, now))
    both = min(old.height, new.height)
    differs = pl.any_horizontal(pl.col(name).ne_missing(new[name].head(both)) for name in columns)
    places = old.head(both).select(differs).to_series().arg_true()
    place = places[0] if len(places) else both
    later = pl.concat([old["play"].slice(place), new["play"].slice(place)])
    return int(later.to_numpy().min(initial=NEVER))


def _failed(before: Path, now: Path) -> int:
    """The first moment of an error that one of them has and the other has not (ms)."""
    sides = [
        pl.scan_parquet(path).select("user_id", "kind", pl.col("at").dt.epoch("ms"), side=pl.lit(side))
        for path, side in ((before, 1), (now, -1))
    ]
    changed = pl.concat(sides).group_by("user_id", "kind", "at").agg(pl.col("side").sum())
    first = changed.filter(pl.col("side") != 0).select(pl.col("at").min()).collect().item()
    return NEVER if first is None else int(first)
