"""Plays (or probes) as plain arrays: all that is known when each starts, ready for the as-of pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from schemas import tables
from tasks import parts
from tasks.warehouse import Warehouse

Array = NDArray[Any]
TEXTS = ("platform", "country", "reason_start", "source_tab", "source_screen", "source_type")


@dataclass(frozen=True)
class Moments:
    """Columns of ``sql/features`` as arrays of one length, in row order.

    Integers are int64 (``tick``, ``end_tick``) or int32 with -1 for null, numbers float32 with NaN
    for null, and texts int32 codes into ``names[column]`` with -1 for null. A column that is null
    throughout is absent, and with it every feature that needs it.
    """

    rows: int
    columns: dict[str, Array]
    names: dict[str, list[str]]

    def take(self, rows: Array) -> Moments:
        """The moments at ``rows`` (places), in that order."""
        with ThreadPoolExecutor(2) as pool:  # numpy lets go of the interpreter meanwhile
            taken = pool.map(lambda array: array[rows], self.columns.values())
            return Moments(len(rows), dict(zip(self.columns, taken, strict=True)), self.names)


@dataclass(frozen=True)
class Sides:
    """All users and all tracks, each in the order of their ids, which is what numbers them."""

    users: Moments
    tracks: Moments
    user_ids: pa.Array
    track_ids: pa.Array

    @staticmethod
    def read(users: Path, tracks: Path, warehouse: Warehouse) -> Sides:
        """From their tables."""
        warehouse.relation("users", users)
        warehouse.relation("tracks", tracks)
        user = warehouse.frame("features/users").sort("row")
        track = warehouse.frame("features/tracks").sort("row")
        return Sides(
            _gathered(user.drop("user_id").to_arrow().to_batches(), user.height, {}),
            _gathered(track.drop("track_id").to_arrow().to_batches(), track.height, {}),
            user["user_id"].to_arrow().cast(pa.string()),
            track["track_id"].to_arrow().cast(pa.string()),
        )

    def of(self, user: Array, track: Array) -> Moments:
        """What pairs bring: numbers of a user and a track each."""
        columns = {name: array[user] for name, array in self.users.columns.items()}
        columns |= {name: array[track] for name, array in self.tracks.columns.items()}
        return Moments(len(user), columns, {**self.users.names, **self.tracks.names})


def read(
    plays: Path | pl.DataFrame,
    sides: Sides,
    timezone: str,
    warehouse: Warehouse,
    names: Mapping[str, list[str]] | None = None,
) -> Moments:
    """Moments of plays (a Parquet file sorted in time) or of probes (a frame shaped like plays).

    The relations users and tracks are those that ``sides`` was read from. Texts get the codes that
    ``names`` (those of the plays, for probes) give them, new texts further ones.
    """
    if isinstance(plays, Path):
        warehouse.numbered("numbered_plays", plays)
        moments_of = warehouse.connection.sql("select file_row_number as row, * from numbered_plays")
        rows = parts.rows(plays)
    else:
        warehouse.relation("given_probes", plays.with_row_index("row"))
        moments_of = warehouse.connection.sql("select * from given_probes")
        rows = plays.height
    warehouse.relation("moments_of", moments_of)

    def timed() -> dict[str, Array]:
        own = _gathered(warehouse.batches("features/moments"), rows, {})
        local = _calendar(own, timezone, warehouse)
        return own.columns | local

    with ThreadPoolExecutor(1) as pool:  # each has parts that only one core works at
        own = pool.submit(timed)
        user = _numbers(_coded(plays, "user_id"), sides.user_ids)
        track = _numbers(_coded(plays, "track_id"), sides.track_ids)
        known = {name: list(given) for name, given in (names or {}).items()}
        texts: dict[str, Array] = {}
        for name in TEXTS:
            column = _coded(plays, name)
            if column.null_count < rows:
                texts[name] = _codes(column, known.setdefault(name, []))
        pairs = sides.of(user, track)
        columns = {"user": user, "track": track} | texts | own.result() | pairs.columns
    return Moments(rows, columns, known | pairs.names)


def _coded(plays: Path | pl.DataFrame, name: str) -> pa.ChunkedArray:
    """A column of texts as a dictionary, the same in all chunks, and places in it.

    So it lies in Parquet: the texts themselves are looked at once each, not once for each play.
    """
    from pyarrow import dataset

    if isinstance(plays, pl.DataFrame):
        column = plays.select(name).to_arrow()[name].cast(pa.string()).dictionary_encode()
    else:
        form = dataset.ParquetFileFormat(read_options={"dictionary_columns": {name}})
        column = dataset.dataset(parts.files(plays), format=form).to_table(columns=[name])[name]
    return column.unify_dictionaries()


def _numbers(column: pa.ChunkedArray, ids: pa.Array) -> Array:
    """The place of each text in ``ids``."""
    import pyarrow.compute as pc

    dictionary = _dictionary(column)
    places = pc.index_in(dictionary, value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False)
    found = _mapped(column, places)
    assert (found >= 0).all(), f"{(found < 0).sum()} plays have no track or user"
    return found


def _codes(column: pa.ChunkedArray, known: list[str]) -> Array:
    """The place of each text in ``known``, which gets those that it lacks; -1 for null."""
    codes = {text: code for code, text in enumerate(known)}
    places = [codes.setdefault(text, len(codes)) for text in _dictionary(column).to_pylist()]
    known[:] = codes
    return _mapped(column, np.array(places, np.int32))


def _dictionary(column: pa.ChunkedArray) -> pa.Array:
    empty = pa.array([], pa.string())
    return column.chunk(0).dictionary.cast(pa.string()) if column.num_chunks else empty


def _mapped(column: pa.ChunkedArray, places: Array) -> Array:
    """What each row's entry of the dictionary became, int32; -1 for null."""
    values = np.append(places, -1).astype(np.int32)
    found = np.empty(len(column), np.int32)
    start = 0
    for chunk in column.chunks:
        stop = start + len(chunk)
        np.take(
            values, chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False), out=found[start:stop]
        )
        start = stop
    return found


def _calendar(own: Moments, timezone: str, warehouse: Warehouse) -> dict[str, Array]:
    """Hour, day of week and month of each moment, in its listener's time zone; none without a clock.

    Zones change at whole minutes, and moments in time order share theirs: worked out once for each
    run of moments in one minute, a tenth of them in a log of years.
    """
    dated = own.columns.pop("dated", None)
    if dated is None or "day" not in own.columns:
        return {}
    minute = own.columns["tick"] // 60_000
    begins = np.flatnonzero((minute[1:] != minute[:-1]) | (dated[1:] != dated[:-1])) + 1
    begins = np.concatenate([np.zeros(1, begins.dtype), begins])
    runs = pl.DataFrame({"minute": minute[begins], "dated": dated[begins]}).with_row_index("row")
    warehouse.relation("minutes", runs)
    found = _gathered(warehouse.batches("features/calendar", timezone=timezone), runs.height, {})
    lengths = np.diff(begins, append=own.rows)
    return {name: np.repeat(column, lengths) for name, column in found.columns.items()}


def _gathered(batches: Iterable[pa.RecordBatch], rows: int, names: Mapping[str, list[str]]) -> Moments:
    """All batches as arrays of ``rows``, each value at the place that its ``row`` says."""
    columns: dict[str, Array] = {}
    codes: dict[str, dict[str | None, int]] = {
        name: {text: code for code, text in enumerate(texts)} for name, texts in names.items()
    }
    filled = 0
    for batch in batches:
        place = _run(batch.column("row").to_numpy())
        filled += batch.num_rows
        for name in batch.schema.names:
            if name != "row":
                _scatter(columns, codes, rows, name, place, batch.column(name))
    assert filled == rows, f"{rows - filled} plays have no track or user"
    return Moments(rows, columns, {name: [str(text) for text in known] for name, known in codes.items()})


def _run(place: Array) -> slice | Array:
    """Places that follow each other as a slice, which is filled in half the time."""
    following = len(place) and (np.diff(place) == 1).all()
    return slice(int(place[0]), int(place[-1]) + 1) if following else place


def starting(pairs: pl.DataFrame, at: int, clock: str) -> pl.DataFrame:
    """Rows shaped like plays of ``pairs`` (user_id, track_id) that would start at tick ``at``.

    No context, no outcome.
    """
    schema = tables.columns(tables.Plays)
    started = pl.lit(at if clock == "time" else None, pl.Int64).cast(schema["started_at"])
    known = pairs.select("user_id", "track_id", started_at=started, seq=pl.lit(at, pl.Int64))
    absent = [name for name in schema if name not in known.columns]
    return known.with_columns(pl.lit(None, schema[name]).alias(name) for name in absent).select(*schema)


def _scatter(
    columns: dict[str, Array],
    codes: dict[str, dict[str | None, int]],
    rows: int,
    name: str,
    place: slice | Array,
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
