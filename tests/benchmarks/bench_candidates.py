"""Candidates featurized, scored and cut to the top k, against LightGBM's own predict on a ready matrix.

200 candidates a user at the end of a log; the model has 200 trees of 63 leaves. What is counted is
all that lies between candidate pairs and lists; finding the pairs is not.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from schemas import config
from tests.benchmarks.bench_features import log
from tests.benchmarks.measured import measure

EACH, K = 200, 10
TREES, LEAVES, ROWS = 200, 63, 300_000


def lists(folder: Path, threads: int) -> dict[str, Any]:
    """Seconds to featurize, to score and cut, and LightGBM's own on the same rows as a matrix."""
    import numpy as np

    from tasks import featurize, moments
    from tasks.ranking import boosting
    from tasks.ranking.protocol import Column, Task
    from tasks.two_stage import candidates
    from tasks.two_stage import lists as second
    from tasks.two_stage.candidates import known_at
    from tasks.two_stage.evaluation import scored
    from tasks.warehouse import Warehouse

    paths = {name: folder / f"{name}.parquet" for name in ("plays", "tracks", "users", "errors")}
    labels = {"completed": folder / "completed.parquet"}
    history = featurize.History(**paths, labels=labels, clock="time", timezone="UTC")
    random = np.random.default_rng(7)
    with Warehouse(config.Store(path=folder / "store")) as warehouse:
        sides = moments.Sides.read(history.users, history.tracks, warehouse)
        events = moments.read(history.plays, sides, "UTC", warehouse)
        cutoff = int(events.columns["tick"].max()) + 1000
        known = known_at(history, events, cutoff)
        users, tracks = known.codes["user"], known.codes["track"]
        # a third of each user's candidates are tracks of theirs
        user = np.repeat(np.arange(len(users), dtype=np.int32), EACH)
        track = random.integers(0, len(tracks), len(user)).astype(np.int32)
        own = random.integers(0, len(known.listening.track), len(user))
        track = np.where(random.random(len(user)) < 0.33, known.listening.track[own], track)
        started = time.perf_counter()
        pairs = featurize.probe_pairs(
            history, sides, events, users, tracks, (user, track), cutoff, warehouse, threads
        )
        featurized = time.perf_counter() - started
    ids = {side: getattr(known.listening, f"{side}s")[f"{side}_id"] for side in ("user", "track")}
    found = pl.DataFrame({"user": user, "track": track}).with_columns(heard=pl.lit(False))
    found = found.with_columns(target=pl.Series(random.random(len(user)) < 0.1))
    pl.concat([found, pairs.pairs], how="horizontal").write_parquet(folder / "candidates.parquet")
    pairs.users.insert_column(0, ids["user"]).write_parquet(folder / "users.parquet")
    pairs.tracks.insert_column(0, ids["track"]).write_parquet(folder / "tracks.parquet")
    names = [*pairs.pairs.columns, *pairs.users.columns[1:], *pairs.tracks.columns[1:]]
    columns = tuple(Column(name, False) for name in names)
    few = candidates.beside(
        pl.read_parquet(folder / "candidates.parquet", n_rows=ROWS),
        *(pl.read_parquet(folder / f"{side}s.parquet") for side in ("user", "track")),
    )
    grown = config.LightGBM(max_trees=TREES, num_leaves=LEAVES, early_stopping=0)
    settings = config.Models(lightgbm=grown)
    model: Any = boosting.fit(Task(columns, few, None, settings, threads))
    started = time.perf_counter()
    order = scored(folder, model)
    kept = second.top(found.with_columns(score=pl.Series(order)), K)
    cut = time.perf_counter() - started
    whole = [
        model.encoding.apply(few.slice(0, 0)),
        *(
            model.encoding.apply(
                candidates.beside(part, *(pl.read_parquet(folder / f"{s}s.parquet") for s in ids))
            )
            for part in pl.read_parquet(folder / "candidates.parquet").iter_slices(262_144)
        ),
    ]
    matrix = pl.concat(whole).to_numpy(order="c")
    started = time.perf_counter()
    raw = model.booster.predict(matrix, raw_score=True)
    predicted = time.perf_counter() - started
    assert np.allclose(raw, order)
    return {
        "rows": len(user), "columns": matrix.shape[1], "lists": kept["user"].n_unique(),
        "featurize": featurized, "score": cut, "predict": predicted,
    }  # fmt: skip


def main(plays: int) -> None:
    """Print seconds, the ratio and the peak (which holds the ready matrix as well)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(log, plays, folder)
        run = measure(lists, folder, 2)
    told = run.result
    ours = told["featurize"] + told["score"]
    print(f"{told['rows']:,} candidates of {told['lists']:,} users, {told['columns']} columns")
    print(f"  featurize {told['featurize']:.1f} s, score and cut {told['score']:.1f} s")
    print(f"  LightGBM's predict on the ready matrix {told['predict']:.1f} s")
    print(f"  ratio {ours / told['predict']:.2f}, peak {run.gigabytes:.2f} GB, the matrix included")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7_400_000)
