"""The compiled loops under the bootstrap. Imported lazily: numba takes half a second to load.

Both take the weights of ``LANES`` resamples at once, one byte each, side by side per block: a row's
weights then are one short load, and reading the rows is paid once per ``LANES`` resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

LANES = 16
Function = TypeVar("Function", bound=Callable[..., object])


def _compiled(function: Function) -> Function:
    """numba's decorator is untyped; this keeps the signature of what it compiles."""
    compile_it = numba.njit(nogil=True, cache=True, error_model="numpy")
    return cast(Function, compile_it(function))


@_compiled
def ranking_sums(codes: NDArray[np.int64], weights: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
    """Weighted AUC and average precision of ``LANES`` resamples, in one pass over the ranking.

    ``codes`` (n,): the rows by falling forecast, each ``block << 2 | last << 1 | target``, ``last``
    marking the last row of a run of equal forecasts; ``weights`` (blocks, LANES); ``out``
    (2, LANES) receives AUC and average precision, NaN for a resample with one class.
    Ties: a tied pair counts one half for AUC, and average precision steps once per run of ties,
    as in scikit-learn with ``sample_weight``. Counts are exact in float64 below 2**53.
    """
    above = np.zeros(LANES)  # weight of positives ranked before the current run
    total = np.zeros(LANES)  # weight of all rows ranked before it
    hits = np.zeros(LANES)  # weight of positives within it
    misses = np.zeros(LANES)  # weight of negatives within it
    area = np.zeros(LANES)
    precision = np.zeros(LANES)
    for row in range(codes.shape[0]):
        code = codes[row]
        block = np.uint64(code >> 2)
        if code & 1:
            for lane in range(LANES):
                hits[lane] += weights[block, lane]
        else:
            for lane in range(LANES):
                misses[lane] += weights[block, lane]
        if code & 2:
            for lane in range(LANES):
                area[lane] += misses[lane] * (above[lane] + 0.5 * hits[lane])
                above[lane] += hits[lane]
                total[lane] += hits[lane] + misses[lane]
                precision[lane] += hits[lane] * above[lane] / max(total[lane], 1.0)
                hits[lane] = 0.0
                misses[lane] = 0.0
    for lane in range(LANES):
        negatives = total[lane] - above[lane]
        one_class = above[lane] == 0.0 or negatives == 0.0
        out[0, lane] = np.nan if one_class else area[lane] / (above[lane] * negatives)
        out[1, lane] = np.nan if one_class else precision[lane] / above[lane]


@_compiled
def weighted_sums(
    sums: NDArray[np.float64], weights: NDArray[np.uint8], out: NDArray[np.float64]
) -> None:
    """``out`` (k, LANES) = ``sums`` (blocks, k) transposed times ``weights`` (blocks, LANES)."""
    out[:] = 0.0
    wide = np.zeros(LANES)  # the block's weights, widened once for all its columns
    for block in range(sums.shape[0]):
        for lane in range(LANES):
            wide[lane] = weights[block, lane]
        for column in range(sums.shape[1]):
            value = sums[block, column]
            for lane in range(LANES):
                out[column, lane] += value * wide[lane]
