"""As-of features: Encore against pandas and against the floor, in one run on one log.

The floor is DuckDB scanning and rewriting the feature columns themselves: no computation at all.
The pandas way is what one writes first: sort, group by, cumulative counts and sums, shifts. It
takes every earlier row for known and so does less than Encore, which waits for a play's end.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

from schemas import config, tables
from tests.benchmarks.measured import measure

NAMES = (
    "hour", "day_of_week", "month", "is_weekend", "user_plays", "track_plays", "artist_plays",
    "pair_plays", "user_artist_plays",
    "pair_days", "user_artist_days", "session_position", "gap_minutes",
    "previous_same_track", "user_completion_rate", "track_completion_rate", "artist_completion_rate",
    "pair_last_completed", "previous_completed", "recent_skip_rate_10",
)  # fmt: skip


def log(plays: int, folder: Path) -> None:
    """A log of ``plays`` in canonical tables: 1 user per 215 plays, 1 track per 21, Zipf tracks."""
    import numpy as np

    random = np.random.default_rng(7)
    users, tracks = max(5, plays // 215), max(50, plays // 21)
    user = random.integers(0, users, plays)
    track = np.minimum(random.zipf(1.2, plays), tracks)
    played = random.integers(0, 240_000, plays)
    start = np.sort(random.integers(0, 540 * 86_400, plays)) * 1000 + 1_640_995_200_000
    moment = pl.Datetime("ms", "UTC")
    frame = pl.DataFrame({"u": user, "t": track, "s": start, "ms_played": played}).with_columns(
        user_id=pl.format("user-{}", "u"),
        track_id=pl.format("{}", pl.col("t").hash()),
        started_at=pl.col("s").cast(moment),
        ended_at=(pl.col("s") + pl.col("ms_played")).cast(moment),
        skipped=pl.col("ms_played") < 60_000,
        resolution=pl.lit("second"),
        file=pl.lit("f"),
        position=pl.int_range(plays),
        seq=pl.int_range(pl.len()).over("u"),
    )
    _write(frame, tables.Plays, folder / "plays.parquet")
    artists = pl.select(t=pl.int_range(tracks + 1)).with_columns(
        track_id=pl.format("{}", pl.col("t").hash()), artist=pl.format("artist {}", pl.col("t") // 8)
    )
    _write(artists, tables.Tracks, folder / "tracks.parquet")
    _write(frame.select("user_id").unique().sort("user_id"), tables.Users, folder / "users.parquet")
    _write(pl.DataFrame(schema=tables.columns(tables.Errors)), tables.Errors, folder / "errors.parquet")
    labels = frame.select(
        "user_id", "seq", play="position", target=~pl.col("skipped"),
        matures_at=pl.max_horizontal("s", pl.col("s") + pl.col("ms_played")),
    )  # fmt: skip
    _write(labels, tables.Labels, folder / "completed.parquet")


def _write(frame: pl.DataFrame, model: type, path: Path) -> None:
    wanted = tables.columns(model)
    absent = [
        pl.lit(None, dtype).alias(name) for name, dtype in wanted.items() if name not in frame.columns
    ]
    frame.with_columns(absent).select(
        pl.col(name).cast(dtype) for name, dtype in wanted.items()
    ).write_parquet(path)


def encore(folder: Path, names: tuple[str, ...] | None) -> int:
    """Encore's feature table; returns the number of features."""
    from tasks import featurize
    from tasks.warehouse import Warehouse

    paths = {name: folder / f"{name}.parquet" for name in ("plays", "tracks", "users", "errors")}
    history = featurize.History(
        **paths,
        labels={"completed": folder / "completed.parquet"},
        clock="time",
        timezone="Europe/Berlin",
    )
    with Warehouse(config.Store(path=folder / "store")) as warehouse:
        return len(
            featurize.write(
                history, "completed", names, warehouse, 2, folder / f"features-{names is None}.parquet"
            )
        )


def floor(folder: Path, every: bool) -> None:
    """Scan and rewrite the feature columns."""
    import duckdb

    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB"}) as connection:
        table = connection.read_parquet(str(folder / f"features-{every}.parquet"))
        table.write_parquet(str(folder / "floor.parquet"), compression="zstd")


def with_pandas(folder: Path) -> int:
    """The same 20 columns with pandas; returns their number."""
    import pandas as pd

    columns = ["user_id", "track_id", "started_at", "ended_at", "skipped"]
    frame = pd.read_parquet(folder / "plays.parquet", columns=columns)
    artists = pd.read_parquet(folder / "tracks.parquet", columns=["track_id", "artist"])
    frame = frame.merge(artists, on="track_id", how="left").sort_values("started_at", kind="stable")
    local = frame["started_at"].dt.tz_convert("Europe/Berlin")
    out = pd.DataFrame(index=frame.index)
    out["hour"], out["day_of_week"], out["month"] = local.dt.hour, local.dt.dayofweek, local.dt.month
    out["is_weekend"] = out["day_of_week"] >= 5
    frame["completed"] = (~frame["skipped"].astype(bool)).astype("float32")
    keys = {
        "user": ["user_id"], "track": ["track_id"], "artist": ["artist"],
        "pair": ["user_id", "track_id"], "user_artist": ["user_id", "artist"],
    }  # fmt: skip
    for name, key in keys.items():
        groups = frame.groupby(key, sort=False)
        out[f"{name}_plays"] = groups.cumcount()
        if name in ("user", "track", "artist"):
            total = groups["completed"].cumsum() - frame["completed"]
            out[f"{name}_completion_rate"] = (total + 10) / (out[f"{name}_plays"] + 20)
        else:
            out[f"{name}_days"] = groups["started_at"].diff().dt.total_seconds() / 86_400
    users = frame.groupby("user_id", sort=False)
    gap = (frame["started_at"] - users["ended_at"].shift()).dt.total_seconds()
    out["gap_minutes"] = gap / 60
    session = (gap.isna() | (gap > 1_800)).groupby(frame["user_id"], sort=False).cumsum()
    out["session_position"] = frame.groupby([frame["user_id"], session], sort=False).cumcount()
    out["previous_same_track"] = users["track_id"].shift() == frame["track_id"]
    out["previous_completed"] = users["completed"].shift()
    out["pair_last_completed"] = frame.groupby(keys["pair"], sort=False)["completed"].shift()
    recent = (
        out["previous_completed"].groupby(frame["user_id"], sort=False).rolling(10, min_periods=1).mean()
    )
    out["recent_skip_rate_10"] = 1 - recent.reset_index(level=0, drop=True)
    out.to_parquet(folder / "pandas.parquet")
    return out.shape[1]


def main(plays: int) -> None:
    """Print seconds, peak memory and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(log, plays, folder)
        measure(encore, folder, NAMES)  # compiles what the cache does not hold
        ours = measure(encore, folder, NAMES)
        lowest = measure(floor, folder, False)
        theirs = measure(with_pandas, folder)
        whole = measure(encore, folder, None)
        lowest_whole = measure(floor, folder, True)
    print(f"as-of features, {plays:,} plays")
    for told, run in (
        (f"Encore, {ours.result} columns", ours),
        ("floor, the same columns", lowest),
        (f"pandas, {theirs.result} columns", theirs),
        (f"Encore, {whole.result} columns", whole),
        ("floor, those columns", lowest_whole),
    ):
        print(f"  {told:28s} {run.seconds:7.1f} s {run.gigabytes:6.2f} GB")
    print(
        f"  pandas / Encore {theirs.seconds / ours.seconds:.1f}"
        f"   Encore / floor {ours.seconds / lowest.seconds:.1f}"
    )
    print(f"  all columns: Encore / floor {whole.seconds / lowest_whole.seconds:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7_400_000)
