"""Valid plays on their way into the table: by their clock or as read, without merged ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas import tables
from tasks import growth
from tasks.admitted import BATCH, typed
from tasks.growth import Touched


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
    if not pieces:
        return
    kept = _kept(pieces, order)
    texts = [name for name, dtype in tables.columns(tables.Plays).items() if dtype == pl.String]
    frames = []
    for piece in pieces:
        frame = pl.read_parquet(piece).drop("seq", "started_at", "settled")
        frame = frame.filter(pl.Series(kept[frame["record"].to_numpy()]))
        frames.append(frame.drop("record").with_columns(pl.col(texts).cast(pl.Categorical)))
    wide = pl.concat(frames, rechunk=False)
    place = (np.cumsum(kept, dtype=np.int64) - 1)[order["record"].to_numpy()]
    for start in range(0, order.height, BATCH):
        placed = order[start : start + BATCH].select("seq", "started_at")
        rows = wide[place[start : start + BATCH]].with_columns(pl.col(texts).cast(pl.String))
        yield typed(tables.Plays, rows.hstack(placed))


def merged(touched: Touched, order: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Valid plays that are in no table, because other packages hold them too."""
    yield from touched.merged.collect_batches(chunk_size=BATCH, maintain_order=True)
    if not touched.pieces:
        return
    out = ~_kept(touched.pieces, order)
    for piece in touched.pieces:
        record = pl.read_parquet(piece, columns=["record"])["record"].to_numpy()
        if out[record].any():
            yield typed(
                tables.Plays,
                pl.read_parquet(piece).filter(pl.Series(out[record])).drop("record", "settled"),
            )


def _kept(pieces: list[Path], order: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """By ``record``, whether it is in ``order``."""
    kept = np.zeros(sum(map(growth.rows, pieces)), np.bool_)
    kept[order["record"].to_numpy()] = True
    return kept
