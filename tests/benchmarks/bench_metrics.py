"""What the bootstrap costs: python -m tests.benchmarks.bench_metrics [--rows N --users N --models N].

Prints the seconds of the point values and of all intervals, the peak memory, and how many times
longer a loop over scikit-learn's weighted AUC and average precision alone would take (a few of its
resamples are timed and multiplied).
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from tasks.metrics.binary import point
from tasks.metrics.bootstrap import blocks, resample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--users", type=int, default=34_403)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--resamples", type=int, default=1_000)
    given = parser.parse_args()

    random = np.random.default_rng(0)
    users = random.integers(0, given.users, given.rows)
    truth = random.beta(2, 3, given.rows)
    target = random.random(given.rows) < truth
    models = {
        f"model {place}": np.clip(truth + random.normal(0, 0.05 * place, given.rows), 0, 1)
        for place in range(given.models)
    }
    thresholds = dict.fromkeys(models, 0.4)
    few = slice(0, 1000)
    small, _ = blocks(users[few], None, 30)
    start = time.perf_counter()
    resample(
        target[few],
        {name: column[few] for name, column in models.items()},
        thresholds,
        small,
        resamples=16,
        bins=15,
        seed=1,
    )
    print(f"first call, compiled or loaded   {time.perf_counter() - start:8.2f} s")

    start = time.perf_counter()
    units, unit = blocks(users, None, 30)
    print(f"blocks ({unit}, {units.max() + 1})".ljust(33) + f"{time.perf_counter() - start:8.2f} s")

    start = time.perf_counter()
    for name, column in models.items():
        point(target, column, thresholds[name], 15)
    print(f"point values alone               {time.perf_counter() - start:8.2f} s")

    start = time.perf_counter()
    resample(target, models, thresholds, units, resamples=given.resamples, bins=15, seed=1)
    ours = time.perf_counter() - start
    print(f"points and all intervals         {ours:8.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process       {peak:8.2f} GiB")

    start = time.perf_counter()
    tried = 2
    for _ in range(tried):
        weight = random.poisson(1.0, int(units.max()) + 1)[units]
        for column in models.values():
            roc_auc_score(target, column, sample_weight=weight)
            average_precision_score(target, column, sample_weight=weight)
    plain = (time.perf_counter() - start) / tried * given.resamples
    print(f"scikit-learn, two metrics, loop  {plain:8.0f} s = {plain / ours:.0f} times as long")


if __name__ == "__main__":
    main()
