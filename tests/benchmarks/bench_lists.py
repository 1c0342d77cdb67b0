"""What metrics of lists cost: python -m tests.benchmarks.bench_lists [--users N --length N --tracks N].

Accuracy of all users against a plain loop over them with the same definitions and the same answers,
timed from the same frames and, apart, with its sets and lists made beforehand; then the bootstrap of
six metrics of eight systems, the recall of candidates, the metrics beyond accuracy, and the peak
memory.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from tasks.metrics import beyond
from tasks.metrics.lists import ACCURACY, accuracy, recall_of
from tasks.metrics.means import resampled_means


def world(users: int, length: int, tracks: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists of distinct tracks, and some 25 played tracks a user, of which a part is in the list."""
    random = np.random.default_rng(0)
    # distinct within a user: steps of at least 1 through the catalogue
    steps = random.integers(1, 2 * tracks // length - 1, (users, length))
    shown = random.permuted(np.cumsum(steps, axis=1) % tracks, axis=1).astype(np.int32)
    lists = pl.DataFrame(
        {
            "user": np.repeat(np.arange(users, dtype=np.int32), length),
            "track": shown.ravel(),
            "rank": np.tile(np.arange(1, length + 1, dtype=np.int32), users),
        }
    ).unique(["user", "track"], keep="first", maintain_order=True)
    lists = lists.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("user"))
    other = pl.DataFrame(
        {
            "user": random.integers(0, users, 20 * users, dtype=np.int32),
            "track": random.integers(0, tracks, 20 * users, dtype=np.int32),
        }
    )
    found = lists.sample(5 * users, seed=1).select("user", "track")
    return lists, pl.concat([found, other]).unique(maintain_order=True)


def loop(shown: dict[int, list[int]], played: dict[int, set[int]], k: int) -> list[tuple[float, ...]]:
    discount = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    ideal = np.cumsum(discount).tolist()
    rows = []
    for user, wanted in played.items():
        gain = precision = first = 0.0
        hits = 0
        for place, track in enumerate(shown.get(user, ())[:k]):
            if track in wanted:
                hits += 1
                gain += discount[place]
                precision += hits / (place + 1)
                if hits == 1:
                    first = 1 / (place + 1)
        reachable = min(k, len(wanted))
        rows.append(
            (
                gain / ideal[reachable - 1],
                precision / reachable,
                first,
                hits / len(wanted),
                hits / k,
                float(hits > 0),
            )
        )
    return rows


def best(work: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the quickest of several runs: what the machine can do when left alone."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def tell(what: str, seconds: float, ours: float | None = None) -> None:
    print(what.ljust(48) + f"{seconds:8.3f} s" + (f"{seconds / ours:8.1f} times ours" if ours else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=34_000)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--tracks", type=int, default=348_000)
    given = parser.parse_args()
    k = given.length
    lists, relevant = world(given.users, k, given.tracks)
    print(
        f"{lists.height} rows of lists, {relevant.height} relevant pairs, {given.users} users, k = {k}"
    )

    def grouped() -> tuple[dict[int, list[int]], dict[int, set[int]]]:
        shown = lists.group_by("user").agg("track").iter_rows()
        played = relevant.group_by("user").agg("track").sort("user").iter_rows()
        return dict(shown), {user: set(tracks) for user, tracks in played}

    shuffled = lists.sample(fraction=1, shuffle=True, seed=2)
    ours = best(lambda: accuracy(lists, relevant, k))
    plain = best(lambda: loop(*grouped(), k), times=3)
    shown, played = grouped()
    ready = best(lambda: loop(shown, played, k), times=3)
    tell("accuracy, all six metrics", ours)
    tell("accuracy, rows of the lists shuffled", best(lambda: accuracy(shuffled, relevant, k)))
    tell("loop over users, from the same frames", plain, ours)
    tell("loop over users, its sets made beforehand", ready, ours)
    found = accuracy(lists, relevant, k).select(ACCURACY).to_numpy()
    gap = np.abs(found - np.array(loop(shown, played, k))).max()
    print(f"largest difference from the loop: {gap:.1e}")

    random = np.random.default_rng(1)
    mine = accuracy(lists, relevant, k)
    systems = {
        f"system {each}": mine.with_columns(pl.col(ACCURACY) * random.random()) for each in range(8)
    }
    small = {name: frame.head(100) for name, frame in systems.items()}
    resampled_means(small, resamples=16, seed=1)  # compiled or loaded
    tell(
        "bootstrap, 1000 resamples, 6 metrics × 8",
        best(lambda: resampled_means(systems, resamples=1000, seed=1), times=3),
    )
    heard = {"heard": pl.Series(random.random(relevant.height) < 0.7)}
    ranks = {
        f"{each} rank": pl.when(pl.Series(random.random(lists.height) < 0.3)).then("rank")
        for each in range(6)
    }
    wide, names = lists.with_columns(**ranks), dict(zip("abcdef", ranks, strict=True))
    tell(
        "recall of 6 retrievers and union at 4 depths",
        best(
            lambda: recall_of(wide, relevant.with_columns(**heard), [10, 50, 100, 200], names), times=2
        ),
    )
    tracks = np.arange(given.tracks, dtype=np.int32)
    genres = pl.DataFrame({"track": tracks}).with_columns(
        genres=pl.concat_list(
            pl.Series(random.integers(0, 120, given.tracks)).cast(pl.String) for _ in range(2)
        )
    )
    audio = pl.DataFrame(
        {"track": tracks} | {f"f{each}": random.random(len(tracks)) for each in range(9)}
    )
    for cut in (10, k):
        tell(
            f"beyond accuracy, per user, k = {cut}",
            best(
                lambda cut=cut: beyond.per_user(
                    lists,
                    cut,
                    relevant=relevant,
                    popular=lists,
                    heard=relevant,
                    genres=genres,
                    audio=audio,
                ),
                times=1,
            ),
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
