"""What passes into the canonical tables: rows that meet their model, counted, the others kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pandera.polars as pa
import polars as pl
import pyarrow
import pyarrow.parquet as pq

from schemas import tables
from tasks import parts
from tasks.forgetting.tombstones import NOBODY, Tombstones
from tasks.validate import check, split_valid
from tasks.warehouse import Warehouse

BATCH = 1_000_000  # rows validated, gathered and written at a time


@dataclass
class Tally:
    """Rows read by table, and the refused ones; an earlier ingest's first, where it is gone on from.

    Rows of listeners whom ``gone`` names count in ``forgotten`` alone, by table; ``theirs`` are the
    tracks that they played.
    """

    gone: Tombstones = NOBODY
    read: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    theirs: set[str] = field(default_factory=set)
    refused: list[pl.DataFrame] = field(
        default_factory=lambda: [pl.DataFrame(schema=tables.columns(tables.Quarantine))]
    )

    def quarantine(self) -> pl.DataFrame:
        """All refused rows."""
        return pl.concat(self.refused)

    def refusals(self, table: str) -> int:
        """Refused rows of one table."""
        return self.quarantine().filter(pl.col("table") == table).height

    def reasons(self) -> pl.DataFrame:
        """Refused rows by table, column and reason, the most frequent first, with the first place."""
        return (
            self.quarantine()
            .group_by("table", "column", "reason", maintain_order=True)
            .agg(rows=pl.len(), file=pl.col("file").first(), position=pl.col("position").first())
            .sort("rows", "table", "reason", descending=[True, False, False])
        )

    def told(self, table: str) -> str:
        """Why most of a table's rows were refused, and where the first of them is."""
        return "; ".join(
            f"{row['reason']} ({row['rows']} rows, first in {row['file']} at record {row['position']})"
            for row in self.reasons().filter(pl.col("table") == table).head(3).to_dicts()
        )


def valid(warehouse: Warehouse, table: str, tally: Tally) -> Iterator[pl.DataFrame]:
    """A raw relation's valid rows in batches, in the columns and types of its model.

    Rows of forgotten listeners are left out before anything is said of them.
    """
    model = (tables.SOURCE_TABLES | tables.OTHER_TABLES | tables.CATALOGUE_TABLES)[table]
    tally.read.setdefault(table, 0)
    if tally.gone and "user_id" in tables.columns(model):
        tally.forgotten.setdefault(table, 0)
    for batch in warehouse.connection.table(f"raw_{table}").to_arrow_reader(BATCH):
        frame = _kept(typed(model, cast(pl.DataFrame, pl.from_arrow(batch))), table, tally)
        good, refused = split_valid(model, frame)
        if "file" not in good.columns:  # located by the row's place in the batch: make it the table's
            refused = refused.with_columns(pl.col("position") + tally.read[table])
        tally.read[table] += frame.height
        tally.refused.append(refused)
        yield good


def _kept(frame: pl.DataFrame, table: str, tally: Tally) -> pl.DataFrame:
    """The rows of listeners who were not forgotten; the others are counted."""
    if not tally.gone or "user_id" not in frame.columns:
        return frame
    theirs = pl.col("user_id").is_in(tally.gone.among(frame["user_id"]).implode())
    left_out = frame.filter(theirs)
    tally.forgotten[table] = tally.forgotten.get(table, 0) + left_out.height
    if table == "plays":
        tally.theirs |= set(left_out["track_id"].drop_nulls().unique())
    return frame.filter(~theirs.fill_null(value=False))


def typed(model: type[pa.DataFrameModel], frame: pl.DataFrame) -> pl.DataFrame:
    """The model's columns in its order; the engine's microseconds become milliseconds."""
    wanted = tables.columns(model)
    if set(frame.columns) != set(wanted):
        raise ValueError(f"{model.__name__}: columns {frame.columns}, expected {list(wanted)}")
    return frame.select(pl.col(name).cast(dtype) for name, dtype in wanted.items())


@contextmanager
def parquet(
    path: Path, model: type[pa.DataFrameModel], before: Path | None = None, rows: int = 0
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write checked frames one after the other into one file; none makes an empty table.

    First come the first ``rows`` rows of ``before``, a file that was written here.
    """
    with _writer(path, model) as write:
        for group in _first(before, rows, model) if before else ():
            write(group)
        yield lambda frame: write(_coded(check(model, frame), model))


@contextmanager
def in_parts(
    folder: Path, model: type[pa.DataFrameModel], before: Path, rows: int
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """The same, into a table in parts (see ``tasks.parts``): all but the last have ``parts.ROWS``.

    Of the first ``rows`` rows of ``before``, whole parts become further names of the same files.
    """
    folder.mkdir()
    number = 0
    while rows >= parts.ROWS and parts.rows(parts.part(before, number)) == parts.ROWS:
        parts.link(parts.part(before, number), parts.part(folder, number))
        number, rows = number + 1, rows - parts.ROWS
    with ExitStack() as open_part:
        write = open_part.enter_context(_writer(parts.part(folder, number), model))
        room = parts.ROWS

        def fill(table: pyarrow.Table) -> None:
            nonlocal write, number, room
            while table.num_rows:
                if not room:
                    open_part.close()
                    number, room = number + 1, parts.ROWS
                    write = open_part.enter_context(_writer(parts.part(folder, number), model))
                write(table.slice(0, room))
                table, room = table.slice(room), max(0, room - table.num_rows)

        if rows:
            for group in _first(parts.part(before, number), rows, model):
                fill(group)
        yield lambda frame: fill(_coded(check(model, frame), model))


@contextmanager
def _writer(path: Path, model: type[pa.DataFrameModel]) -> Iterator[Callable[[pyarrow.Table], None]]:
    """A file for tables of the ``_schema``."""
    schema, texts = _schema(model)
    numbers = [name for name in schema.names if name not in texts]  # of texts, statistics gain nothing
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=texts, write_statistics=numbers,
        store_schema=False,
    ) as writer:  # fmt: skip
        yield lambda table: writer.write_table(table, row_group_size=parts.ROWS)


def _schema(model: type[pa.DataFrameModel]) -> tuple[pyarrow.Schema, list[str]]:
    """The model's columns as they are written, and which of them are texts.

    Texts stay codes from file to file: to hash each again would take half of the writing.
    """
    wanted = tables.columns(model)
    texts = [name for name, dtype in wanted.items() if dtype == pl.String]
    schema = pl.DataFrame(schema=wanted).to_arrow().schema
    for name in texts:
        codes = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        schema = schema.set(schema.get_field_index(name), pyarrow.field(name, codes))
    return schema, texts


def _coded(frame: pl.DataFrame, model: type[pa.DataFrameModel]) -> pyarrow.Table:
    return frame.to_arrow().cast(_schema(model)[0])


def _first(path: Path, rows: int, model: type[pa.DataFrameModel]) -> Iterator[pyarrow.Table]:
    """A file's first rows, as large a group at a time as is written: small ones come together."""
    schema, texts = _schema(model)
    waiting: list[pyarrow.RecordBatch] = []
    held = 0
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(parts.ROWS):  # of codes, none crosses the groups of the file
            first = batch.slice(0, rows)
            if waiting and held + first.num_rows > parts.ROWS:
                yield pyarrow.Table.from_batches(waiting).unify_dictionaries().cast(schema)
                waiting, held = [], 0
            waiting.append(first)
            held, rows = held + first.num_rows, rows - first.num_rows
            if rows <= 0:
                break
    if held:
        yield pyarrow.Table.from_batches(waiting).unify_dictionaries().cast(schema)
