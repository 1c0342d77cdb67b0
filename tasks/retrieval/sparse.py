"""Sparse matrices of plays, and exact top k of their products, block by block on all threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.retrieval.protocol import Candidates, Codes, Heard, Scores, ranked

CELLS = 2_000_000  # of a block's buffers: 16 MB; one such block per thread is alive
ROWS = 4_096  # of a block at most
# fills (rows, k) scores, (rows, k) tracks and (rows) how many there are for a block of rows
Best = Callable[[Codes, Scores, Codes, Codes], None]


@dataclass(frozen=True)
class Sparse:
    """Row r has ``columns[starts[r]:starts[r + 1]]``, with ``values`` above zero beside them.

    ``starts`` (rows + 1) int64, ``columns`` int32, ``values`` float32; ``width`` counts the columns.
    """

    starts: NDArray[np.int64]
    columns: Codes
    values: Scores
    width: int

    @property
    def rows(self) -> Codes:
        """The row of each entry."""
        height = len(self.starts) - 1
        return np.repeat(np.arange(height, dtype=np.int32), np.diff(self.starts))


def collected(
    row: Codes, column: Codes, value: NDArray[np.float64] | None, height: int, width: int
) -> Sparse:
    """The matrix whose entries are the sums of ``value`` per (row, column); counts without values."""
    key = row.astype(np.int64) * width + column
    order = None if value is None else np.argsort(key, kind="stable")
    key = np.sort(key) if order is None else key[order]
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    at = np.flatnonzero(first)
    if value is None or order is None:
        total = np.diff(np.append(at, len(key))).astype(np.float64)
    else:
        total = np.add.reduceat(value[order], at) if len(at) else np.zeros(0)
    key = key[at]
    return Sparse(
        _starts(key // max(width, 1), height),
        (key % max(width, 1)).astype(np.int32),
        total.astype(np.float32),
        width,
    )


def identity(size: int) -> Sparse:
    """Ones on the diagonal."""
    return Sparse(
        np.arange(size + 1, dtype=np.int64),
        np.arange(size, dtype=np.int32),
        np.ones(size, np.float32),
        size,
    )


def transposed(matrix: Sparse) -> Sparse:
    """Rows become columns."""
    order = np.argsort(matrix.columns, kind="stable")
    return Sparse(
        _starts(matrix.columns[order], matrix.width),
        matrix.rows[order],
        matrix.values[order],
        len(matrix.starts) - 1,
    )


def top(
    left: Sparse, right: Sparse, rows: Codes, k: int, seen: Sparse, heard: Heard, threads: int
) -> Sparse:
    """The ``k`` best columns of ``rows`` of left @ right that ``heard`` allows, given ``seen``.

    Exact; a row for each of ``rows``, its entries the best first. Memory: a block's buffers and
    12 bytes per column for each thread, and twice the answer.
    """
    from tasks.retrieval import kernels

    mode = {"include": kernels.INCLUDE, "exclude": kernels.EXCLUDE, "only": kernels.ONLY}[heard]

    def best(block: Codes, scores: Scores, tracks: Codes, found: Codes) -> None:
        kernels.top_products(
            block,
            left.starts,
            left.columns,
            left.values,
            right.starts,
            right.columns,
            right.values,
            seen.starts,
            seen.columns,
            mode,
            right.width,
            scores,
            tracks,
            found,
        )

    return by_blocks(best, rows, k, right.width, threads)


def scored(left: Sparse, right: Sparse, row: Codes, column: Codes, threads: int) -> Scores:
    """Entries of left @ right, NaN where nothing adds to them; the numbers that ``top`` gives."""
    from tasks.retrieval import kernels

    order = np.argsort(row, kind="stable")
    rows, firsts = np.unique(row[order], return_index=True)
    bounds = np.append(firsts, len(row)).astype(np.int64)
    columns = column[order].astype(np.int32)
    sorted_out = np.empty(len(row), np.float32)

    def fill(span: tuple[int, int]) -> None:
        start, stop = span
        kernels.pair_products(
            rows[start:stop].astype(np.int32),
            bounds[start : stop + 1],
            columns,
            left.starts,
            left.columns,
            left.values,
            right.starts,
            right.columns,
            right.values,
            right.width,
            sorted_out,
        )

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, pairwise([*range(0, len(rows), ROWS), len(rows)])):
            pass
    out = np.empty(len(row), np.float32)
    out[order] = sorted_out
    return out


def by_blocks(best: Best, rows: Codes, k: int, width: int, threads: int) -> Sparse:
    """The at most ``k`` columns that ``best`` finds for each of ``rows``, the best first."""
    k = min(k, width)

    def cut(block: Codes) -> tuple[Codes, Codes, Scores]:
        scores = np.empty((len(block), k), np.float32)
        tracks = np.empty((len(block), k), np.int32)
        found = np.zeros(len(block), np.int32)
        best(block, scores, tracks, found)
        there = np.arange(k) < found[:, None]
        return found, tracks[there], scores[there]

    step = max(1, min(ROWS, CELLS // max(k, 1)))
    rows = np.ascontiguousarray(rows, np.int32)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(cut, (rows[at : at + step] for at in range(0, len(rows), step))))
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    found, tracks, scores = (np.concatenate(part) for part in zip(nothing, *parts, strict=True))
    starts = np.append(0, np.cumsum(found, dtype=np.int64))
    return Sparse(starts, tracks, scores, width)


def candidates(users: Codes, found: Sparse) -> Candidates:
    """The rows of ``found``, the best first, as the candidates of ``users``."""
    return ranked(users[found.rows], found.columns, found.values)


def _starts(rows: NDArray[np.integer], height: int) -> NDArray[np.int64]:
    """Where each of ``height`` rows begins, of the rising ``rows`` of the entries."""
    starts = np.zeros(height + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=height), out=starts[1:])
    return starts
