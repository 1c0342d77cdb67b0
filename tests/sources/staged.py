"""What a reader makes of raw files, and what ingest makes of that, for tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas import tables
from schemas.config import Config, Source, Store
from schemas.errors import InputError
from tasks.ingest import ingest, inputs, named
from tasks.sources import READERS
from tasks.sources.earlier import NOTHING
from tasks.warehouse import Warehouse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Frames = dict[str, pl.DataFrame]


def staged(
    place: Path, kind: str, path: Path | list[Path], **settings: Any
) -> tuple[Frames, dict[str, Any]]:
    """The raw relations, each with the columns of its model, and the reader's facts."""
    source = Source.model_validate({"kind": kind, "path": path} | settings)
    scratch = Path(tempfile.mkdtemp(dir=place))
    with Warehouse(Store(path=place / "store")) as warehouse:
        facts = READERS[kind].stage(source, scratch, warehouse, NOTHING)
        frames = {name: warehouse.connection.table(f"raw_{name}").pl() for name in tables.SOURCE_TABLES}
    for name, frame in frames.items():
        assert frame.columns == list(tables.columns(tables.SOURCE_TABLES[name]))
    return frames, dict(facts)


def ingested(place: Path, kind: str, path: Path, **settings: Any) -> tuple[Frames, dict[str, Any], Path]:
    """The canonical tables and the facts of a whole ingest, and the folder they are in."""
    given = {"kind": kind, "path": path, "max_refused_share": 0.9} | settings
    config = Config.model_validate({"source": given, "store": {"path": place / "store"}})
    folder = Path(tempfile.mkdtemp(dir=place))
    facts = ingest(config, NOW, folder)
    return {each.stem: pl.read_parquet(each) for each in folder.glob("*.parquet")}, facts, folder


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block raises an ``InputError`` of one line that has all the words."""
    with pytest.raises(InputError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    for word in words:
        assert word in message


def lines(config: Config) -> list[str]:
    """What the store's key has of the raw files."""
    return list(inputs(config, named(config), NOTHING)[0])
