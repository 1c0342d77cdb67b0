"""The door to DuckDB: a store that cannot be written is one line, not a trace."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from schemas.config import Store
from schemas.errors import InputError
from tasks import parts
from tasks.warehouse import Warehouse


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as refused:
            Warehouse(Store(path=path))
        told = str(refused.value)
        assert told.startswith(f"cannot write to the store | file: {path} | found: ")
        assert "choose another store.path" in told
        assert "\n" not in told


def test_places_are_counted_over_all_parts_of_a_table(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    table.mkdir()
    for number, values in enumerate(([3, 1, 2], [], [5], [4, 6])):
        frame = pl.DataFrame({"value": values}, schema={"value": pl.Int64})
        frame.write_parquet(parts.part(table, number))
    with Warehouse(Store(path=tmp_path / "store")) as warehouse:
        warehouse.numbered("numbered", table)
        told = warehouse.connection.sql("select file_row_number, value from numbered order by 1")
        assert told.fetchall() == [(0, 3), (1, 1), (2, 2), (3, 5), (4, 4), (5, 6)]
        warehouse.relation("whole", [table, parts.part(table, 3)])
        assert warehouse.connection.sql("select sum(value) from whole").fetchall() == [(31,)]


def test_a_folder_that_has_gone_or_is_full_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    with pytest.raises(InputError, match="No space left on device"):
        Warehouse(Store(path=tmp_path / "store"))
