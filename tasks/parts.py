"""Tables in parts: folders of Parquet files whose rows follow each other in the order of their names.

A table that grows at its end is a row of parts of one size: those of an earlier table that stand become
further names of the same files, and their digests are known. All other tables are one file.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb

ROWS = 262_144  # rows of a part, which are one group, and of a group in a table of one file

Identity = tuple[int, int]  # of a file, under all its names


class Sums(NamedTuple):
    """Of a file's rows: how many, their hashes combined by exclusive or, and added."""

    rows: int = 0
    mixed: int = 0
    total: int = 0


@dataclass(frozen=True)
class Contents:
    """A table's rows, a digest of them whatever their order, and what both come from, by file."""

    rows: int
    digest: str
    sums: list[Sums]


def files(table: Path) -> list[Path]:
    """A table's Parquet files, in the order of its rows: its parts, or the file that it is."""
    return sorted(table.glob("*.parquet")) if table.is_dir() else [table]


def part(table: Path, number: int) -> Path:
    """The file of a part by number, from 0; digits enough for their names to be in order."""
    return table / f"{number:06}.parquet"


def rows(table: Path) -> int:
    """Rows of a table."""
    import pyarrow.parquet as pq

    return sum(int(pq.read_metadata(path).num_rows) for path in files(table))


def link(path: Path, target: Path) -> None:
    """Make ``target`` another name of a file that is never written again; else a copy."""
    try:
        target.hardlink_to(path)
    except OSError:  # not every file system can
        shutil.copy(path, target)


def identity(path: Path) -> Identity | None:
    """What all names of a file share; None for one that has no other name."""
    told = path.stat()
    return (told.st_dev, told.st_ino) if told.st_nlink > 1 else None


def remove(folder: Path) -> None:
    """Remove an entry of the store so that a reader who comes meanwhile finds all of it or nothing."""
    doomed = folder.with_name(f".{os.getpid()}-{folder.name}")
    if not folder.name.startswith("."):
        folder = folder.rename(doomed)
    shutil.rmtree(folder)


def size(folder: Path) -> int:
    """Bytes that removing the folder frees: of a file that has other names, none."""
    told = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(each.st_size for each in told if each.st_nlink == 1)


def contents(table: Path, known: Mapping[Identity, Sums]) -> Contents:
    """What a table holds; files of ``known`` sums are not read."""
    paths = files(table)
    sums = {path: known[of] for path in paths if (of := identity(path)) in known and of}
    others = [path for path in paths if path not in sums]
    with duckdb.connect() as connection:
        first = connection.read_parquet(str(paths[0]))
        columns = list(zip(first.columns, map(str, first.types), strict=True))
        query = (
            "select file_index, count(*), bit_xor(hash(content)), sum(hash(content)::hugeint)"
            " from read_parquet($paths) as content group by file_index"
        )
        given = {"paths": list(map(str, others))}
        found = connection.sql(query, params=given).fetchall() if others else []
    sums |= {others[place]: Sums(*each) for place, *each in found}
    by_file = [sums.get(path, Sums()) for path in paths]  # an empty file is in no group
    rows, mixed, total = zip(*by_file, strict=True)
    together = Sums(sum(rows), functools.reduce(operator.xor, mixed), sum(total))
    digest = hashlib.sha256(repr((columns, *together)).encode()).hexdigest()[:32]
    return Contents(together.rows, digest, by_file)
