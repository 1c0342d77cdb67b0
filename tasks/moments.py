"""Plays (or probes) as plain arrays: all that is known when each starts, ready for the as-of pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tasks.warehouse import Warehouse

Array = NDArray[Any]


@dataclass(frozen=True)
class Moments:
    """Columns of ``sql/features/moments.sql`` as arrays of one length, in row order.

    Integers are int64 (``tick``, ``end_tick``) or int32 with -1 for null, numbers float32 with NaN
    for null, and texts int32 codes into ``names[column]`` with -1 for null. A column that is null
    throughout is absent, and with it every feature that needs it.
    """

    rows: int
    columns: dict[str, Array]
    names: dict[str, list[str]]

    def take(self, rows: Array) -> Moments:
        """The moments at ``rows`` (places), in that order."""
        return Moments(
            len(rows), {name: array[rows] for name, array in self.columns.items()}, self.names
        )


def read(
    plays: Path | pl.DataFrame,
    tracks: Path,
    users: Path,
    timezone: str,
    warehouse: Warehouse,
    names: Mapping[str, list[str]] | None = None,
) -> Moments:
    """Moments of plays (a Parquet file sorted in time) or of probes (a frame shaped like plays).

    Texts get the codes that ``names`` (those of the plays, for probes) give them, new texts further
    ones.
    """
    if isinstance(plays, Path):
        warehouse.numbered("numbered_plays", plays)
        moments_of = warehouse.connection.sql("select file_row_number as row, * from numbered_plays")
        rows = pl.scan_parquet(plays).select(pl.len()).collect().item()
    else:
        warehouse.relation("given_probes", plays.with_row_index("row"))
        moments_of = warehouse.connection.sql("select * from given_probes")
        rows = plays.height
    warehouse.relation("moments_of", moments_of)
    warehouse.relation("tracks", tracks)
    warehouse.relation("users", users)
    columns: dict[str, Array] = {}
    codes: dict[str, dict[str | None, int]] = {
        name: {text: code for code, text in enumerate(texts)} for name, texts in (names or {}).items()
    }
    filled = 0
    for batch in warehouse.batches("features/moments", timezone=timezone):
        place = batch.column("row").to_numpy()
        filled += batch.num_rows
        for name in batch.schema.names:
            if name != "row":
                _scatter(columns, codes, rows, name, place, batch.column(name))
    assert filled == rows, f"{rows - filled} plays have no track or user"
    return Moments(rows, columns, {name: [str(text) for text in known] for name, known in codes.items()})


def _scatter(
    columns: dict[str, Array],
    codes: dict[str, dict[str | None, int]],
    rows: int,
    name: str,
    place: Array,
    values: pa.Array,
) -> None:
    """Put a batch's values at their places; the engine hands batches out in any order."""
    if values.null_count == len(values):
        return
    if (
        pa.types.is_string(values.type)
        or pa.types.is_large_string(values.type)
        or pa.types.is_string_view(values.type)
    ):
        encoded = values.cast(pa.string()).dictionary_encode()
        known = codes.setdefault(name, {})
        mapped = np.array(
            [known.setdefault(text.as_py(), len(known)) for text in encoded.dictionary] + [-1]
        )
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        array = mapped[indices].astype(np.int32)
        empty: float = -1
    elif pa.types.is_floating(values.type):
        array = values.to_numpy(zero_copy_only=False)
        empty = np.nan
    else:
        array = values.fill_null(-1).to_numpy(zero_copy_only=False)
        empty = -1
    if name not in columns:
        columns[name] = np.full(rows, empty, array.dtype)
    columns[name][place] = array
