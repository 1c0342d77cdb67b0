"""Valid plays on their way into the table: by their clock or as read, without merged ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas import tables
from tasks import parts
from tasks.admitted import BATCH, typed

ORDER = pl.Schema({"record": pl.Int64(), "seq": pl.Int64(), "started_at": pl.Datetime("us", "UTC")})


def clock(pieces: list[Path]) -> str | None:
    """ "time" or "order"; a source has the one or the other. None without plays."""
    if not pieces:
        return None
    found = pl.scan_parquet(pieces).select(pl.col("resolution").unique()).collect().to_series().to_list()
    if "order" not in found:
        return "time"
    assert found == ["order"], "a source mixes plays with and without a clock"
    return "order"


def as_read(pieces: list[Path]) -> Iterator[pl.DataFrame]:
    """Plays without a clock, which their reader gives by ascending ``seq``."""
    last = -1
    for piece in pieces:
        frame = pl.read_parquet(piece).drop("record", "settled")
        seq = frame["seq"].to_numpy()
        assert seq[0] > last, "plays without a clock are not in the order of seq"
        assert (np.diff(seq) > 0).all(), "plays without a clock are not in the order of seq"
        last = int(seq[-1])
        yield frame


def in_order(pieces: list[Path], order: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Plays in the order of ``order`` (record, seq, started_at), which leaves out merged ones."""
    kept = _kept(pieces, order)
    wide = _coded(pieces, kept).drop("seq", "started_at")
    place = (np.cumsum(kept, dtype=np.int64) - 1)[order["record"].to_numpy()]
    for start in range(0, order.height, BATCH):
        placed = order[start : start + BATCH].select("seq", "started_at")
        yield typed(tables.Plays, _texts(wide[place[start : start + BATCH]]).hstack(placed))


def merged(pieces: list[Path], order: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Plays that ``order`` leaves out because other packages hold them, in the order of their ends."""
    wide = _coded(pieces, ~_kept(pieces, order))
    place = wide["ended_at"].arg_sort()
    for start in range(0, wide.height, BATCH):
        yield typed(tables.Plays, _texts(wide[place[start : start + BATCH]]))


def _kept(pieces: list[Path], order: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """By ``record``, whether it is in ``order``."""
    kept = np.zeros(sum(map(parts.rows, pieces)), np.bool_)
    kept[order["record"].to_numpy()] = True
    return kept


def _coded(pieces: list[Path], wanted: npt.NDArray[np.bool_]) -> pl.DataFrame:
    """Plays of the wanted records, in their order; texts as codes, for those of all are too long."""
    frames = [_codes(pl.DataFrame(schema=tables.columns(tables.Plays)))]
    for piece in pieces:
        mask = wanted[pl.read_parquet(piece, columns=["record"])["record"].to_numpy()]
        if mask.any():
            frame = pl.read_parquet(piece).drop("record", "settled").filter(pl.Series(mask))
            frames.append(_codes(frame))
    return pl.concat(frames, rechunk=False)


def _codes(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.String).cast(pl.Categorical))


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))
