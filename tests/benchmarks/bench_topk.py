"""Exact top-200 of 34,000 users over 348,000 tracks against implicit's own ``recommend``.

    python -m tests.benchmarks.bench_topk [users] [tracks]

Twice: with drawn factors, whose norms fall with popularity as those of ALS do, and with factors that
ALS learned from drawn plays. implicit runs with one BLAS thread in each of its threads, as it asks
for, on part of the users, because its rate does not depend on their number. Both leave out what the
user has heard. Recall is counted against all scores in float64, for some of the users.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.measured import measure

FACTORS, K, PLAYS, THREADS = 64, 200, 7_400_000, 2
PART, CHECKED = 2_000, 200  # users that implicit is timed on; users whose recall is counted


def plays(users: int, tracks: int, folder: Path) -> None:
    """Zipf tracks; each user prefers one of 100 tastes, and each track belongs to one."""
    random = np.random.default_rng(7)
    wanted = PLAYS * users // 34_000
    user = random.integers(0, users, wanted, dtype=np.int32)
    track = np.minimum(random.zipf(1.2, wanted) - 1, tracks - 1) % tracks
    taste = random.integers(0, 100, users)[user]
    swapped = random.random(wanted) < 0.7
    track[swapped] = (track[swapped] // 100 * 100 + taste[swapped]).clip(0, tracks - 1)
    tail = random.random(wanted) < 0.1
    track[tail] = random.integers(0, tracks, tail.sum())
    np.savez(folder / "plays.npz", user=user, track=track.astype(np.int32))


def drawn(users: int, tracks: int, folder: Path) -> None:
    """Normal directions; lognormal user norms, and item norms that fall as popularity**-0.5."""
    random = np.random.default_rng(8)
    sides = {}
    for name, count, norm in (
        ("user", users, random.lognormal(0, 0.5, users)),
        ("item", tracks, random.permutation(np.arange(1, tracks + 1) ** -0.5)),
    ):
        side = random.normal(size=(count, FACTORS)) + 0.5
        side *= (norm / np.linalg.norm(side, axis=1))[:, None]
        sides[name] = side.astype(np.float32)
    np.savez(folder / "drawn.npz", **sides)


def learned(users: int, tracks: int, folder: Path) -> None:
    """Five alternations on the drawn plays."""
    import polars as pl

    from schemas.two_stage import Als, Retrieval
    from tasks.retrieval import als
    from tasks.retrieval.protocol import Listening

    loaded = np.load(folder / "plays.npz")
    tick = np.arange(len(loaded["user"]), dtype=np.int64)
    listening = Listening(
        loaded["user"],
        loaded["track"],
        tick,
        pl.DataFrame({"user": np.arange(users)}),
        pl.DataFrame({"track": np.arange(tracks)}),
        len(tick),
        "order",
    )
    fitted = als.fit(listening, Retrieval(als=Als(factors=FACTORS, iterations=5)), THREADS, 7)
    np.savez(folder / "learned.npz", user=fitted.user_factors, item=fitted.track_factors)


def encore(folder: Path, name: str) -> dict[str, Any]:
    """All users; the catalogue is sorted within the time that counts."""
    from tasks.retrieval import topk

    factors, loaded = np.load(folder / f"{name}.npz"), np.load(folder / "plays.npz")
    user_factors, item_factors = factors["user"], factors["item"]
    users = np.arange(len(user_factors), dtype=np.int32)
    heard = topk.pairs(loaded["user"], loaded["track"], len(users), len(item_factors))
    small = topk.catalogue(item_factors[:500])
    topk.top(user_factors, small, users[:10], K, heard, "exclude", THREADS)  # compiled or loaded
    before = memory("VmRSS")
    forget_peak()
    start = time.perf_counter()
    items = topk.catalogue(item_factors)
    answer = topk.top(user_factors, items, users, K, heard, "exclude", THREADS)
    seconds = time.perf_counter() - start
    peak = memory("VmHWM")
    assert len(answer.user) == len(users) * K
    return {
        "rate": len(users) / seconds,
        "over": peak - before,
        "track": answer.track.reshape(len(users), K),
    }


def implicit(folder: Path, name: str) -> dict[str, Any]:
    """The first users, in one call."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    from tasks.retrieval import topk

    factors, loaded = np.load(folder / f"{name}.npz"), np.load(folder / "plays.npz")
    model = AlternatingLeastSquares(factors=FACTORS, num_threads=THREADS)
    model.user_factors, model.item_factors = factors["user"], factors["item"]
    shape = len(model.user_factors), len(model.item_factors)
    heard = topk.pairs(loaded["user"], loaded["track"], *shape)
    matrix = csr_matrix((heard.count, heard.track, heard.start), shape)[:PART]
    model.recommend(np.arange(10), matrix[:10], N=K)
    before = memory("VmRSS")
    forget_peak()
    start = time.perf_counter()
    track, _ = model.recommend(np.arange(PART), matrix, N=K)
    seconds = time.perf_counter() - start
    peak = memory("VmHWM")
    return {"rate": PART / seconds, "over": peak - before, "track": track}


def recall(folder: Path, name: str, found: NDArray[np.int32], users: NDArray[np.int64]) -> float:
    """Share of the scores found that reach the K-th best of all, to float32's last places."""
    factors, loaded = np.load(folder / f"{name}.npz"), np.load(folder / "plays.npz")
    user_factors = factors["user"][users].astype(np.float64)
    item_factors = factors["item"].astype(np.float64)
    heard = np.isin(loaded["user"], users)
    row = np.searchsorted(users, loaded["user"][heard])
    scores = user_factors @ item_factors.T
    scores[row, loaded["track"][heard]] = -np.inf
    least = np.partition(scores, -K, axis=1)[:, -K]
    hits = np.take_along_axis(scores, found[users].astype(np.int64), axis=1)
    return float((hits >= (least - 1e-7 * np.abs(least))[:, None]).mean())


def memory(field: str) -> float:
    """Resident memory of this process, GB: now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e6


def forget_peak() -> None:
    """Let VmHWM begin anew; getrusage's peak cannot, and starts with that of the parent process."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 34_000
    tracks = int(sys.argv[2]) if len(sys.argv) > 2 else 348_000
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for the processes that are started from here
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plays(users, tracks, folder)
        drawn(users, tracks, folder)
        measure(learned, users, tracks, folder)
        print(f"top {K} of {users:,} users over {tracks:,} tracks, {FACTORS} factors, {THREADS} threads")
        for name in ("drawn", "learned"):
            ours = measure(encore, folder, name).result
            theirs = measure(implicit, folder, name).result
            some = np.linspace(0, PART - 1, CHECKED).astype(np.int64)
            for label, side in (("encore", ours), ("implicit", theirs)):
                print(
                    f"{name:8} {label:9} {side['rate']:8,.0f} users/s  {side['over']:5.2f} GB over the "
                    f"factors  recall {recall(folder, name, side['track'], some):.6f}"
                )
            print(f"{name:8} ratio     {ours['rate'] / theirs['rate']:8.2f}")


if __name__ == "__main__":
    main()
