"""The only door to DuckDB: runs files of ``sql/`` with bound parameters over Parquet and frames."""

from __future__ import annotations

import os
import tempfile
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb
import polars as pl

from schemas.config import Store
from schemas.errors import InputError
from tasks import parts

if TYPE_CHECKING:
    import pyarrow as pa

SQL = Path(__file__).resolve().parent.parent / "sql"


class Warehouse:
    """An in-memory DuckDB session within ``store.memory_limit``; it spills into a scratch folder.

    Relations are given by name, values as ``$parameters``: nothing is formatted into SQL. Raises
    ``InputError`` where ``store.path`` cannot be written.
    """

    def __init__(self, settings: Store) -> None:
        prefix = f".duckdb-{os.getpid()}-"
        try:
            settings.path.mkdir(parents=True, exist_ok=True)
            self._scratch = tempfile.TemporaryDirectory(prefix=prefix, dir=settings.path)
        except OSError as error:
            raise InputError(
                "cannot write to the store", file=settings.path, found=error.strerror,
                do="choose another store.path or free the disk",
            ) from error  # fmt: skip
        self._connection = duckdb.connect(
            config={
                "memory_limit": settings.memory_limit,
                "threads": settings.threads,
                "temp_directory": self._scratch.name,
                "autoinstall_known_extensions": False,
                "TimeZone": "UTC",
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._scratch.cleanup()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The session itself, for readers of raw formats (``read_json``, ``read_csv``)."""
        return self._connection

    def relation(
        self, name: str, data: Path | list[Path] | pl.DataFrame | duckdb.DuckDBPyRelation
    ) -> None:
        """Make tables of one schema, a frame or a relation known to the SQL as ``name``."""
        if isinstance(data, pl.DataFrame):
            self._connection.register(name, data.to_arrow())
            return
        if isinstance(data, Path | list):
            tables = data if isinstance(data, list) else [data]
            paths = [str(path) for table in tables for path in parts.files(table)]
            data = self._connection.read_parquet(paths)
        data.create_view(name, replace=True)

    def numbered(self, name: str, path: Path) -> None:
        """Make a table known as ``name``, with each row's place in it as ``file_row_number``."""
        paths = parts.files(path)
        before = [0, *accumulate(map(parts.rows, paths))]
        numbered = self._connection.sql(
            _text("staging/numbered"), params={"paths": list(map(str, paths)), "before": before}
        )
        numbered.create_view(name, replace=True)

    def keep(self, name: str, sql: str, **values: Any) -> None:
        """Run ``sql/<sql>.sql`` and keep its rows as the temporary table ``name``."""
        self._connection.execute(f'create temp table "{name}" as {_text(sql)}', values or None)

    def frame(self, sql: str, **values: Any) -> pl.DataFrame:
        """The rows of ``sql/<sql>.sql`` as a frame."""
        frame: pl.DataFrame = self._connection.sql(_text(sql), params=values or None).pl()
        return frame

    def batches(self, sql: str, rows: int = 1_000_000, **values: Any) -> pa.RecordBatchReader:
        """The rows of ``sql/<sql>.sql``, streamed in Arrow batches of about ``rows``."""
        return self._connection.sql(_text(sql), params=values or None).to_arrow_reader(rows)

    def write(self, sql: str, path: Path, **values: Any) -> None:
        """Write the rows of ``sql/<sql>.sql`` to a Parquet file, in their order."""
        self._connection.sql(_text(sql), params=values or None).write_parquet(
            str(path), compression="zstd", row_group_size=262_144
        )


def _text(sql: str) -> str:
    return (SQL / f"{sql}.sql").read_text(encoding="utf-8").rstrip().rstrip(";")
