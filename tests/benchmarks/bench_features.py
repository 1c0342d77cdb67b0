"""As-of features: Encore against pandas and against the floor, in one run on one log.

The floor is DuckDB scanning and rewriting the feature columns themselves: no computation at all.
The pandas way computes the same columns: group by, cumulative counts and sums, shifts, and one
`merge_asof` for each key whose outcomes count only from the end of their play.
"""

from __future__ import annotations

import shutil
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
    table = folder / f"features-{names is None}.parquet"
    shutil.rmtree(table, ignore_errors=True)
    with Warehouse(config.Store(path=folder / "store")) as warehouse:
        return len(featurize.write(history, "completed", names, warehouse, 2, table))


def floor(folder: Path, every: bool) -> None:
    """Scan and rewrite the feature columns."""
    import duckdb

    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB"}) as connection:
        table = connection.read_parquet(str(folder / f"features-{every}.parquet" / "*.parquet"))
        table.write_parquet(str(folder / "floor.parquet"), compression="zstd")


def with_pandas(folder: Path) -> int:
    """The same 20 columns with pandas; returns their number."""
    import numpy as np
    import pandas as pd

    columns = ["user_id", "track_id", "started_at", "ended_at", "skipped"]
    frame = pd.read_parquet(folder / "plays.parquet", columns=columns)
    artists = pd.read_parquet(folder / "tracks.parquet", columns=["track_id", "artist"])
    frame = frame.merge(artists, on="track_id", how="left").sort_values("started_at", kind="stable")
    frame = frame.reset_index(drop=True)
    for name in ("user", "track", "artist"):
        frame[name] = pd.factorize(frame["artist" if name == "artist" else f"{name}_id"])[0]
    frame["completed"] = (~frame["skipped"].astype(bool)).astype("float64")
    frame = frame.drop(columns=["user_id", "track_id", "skipped"])
    # what had ended before: running sums by end, looked up at each start
    ends = frame[["user", "track", "artist", "ended_at", "completed"]].sort_values(
        "ended_at", kind="stable"
    )
    keys: dict[str, list[str]] = {
        "user": ["user"], "track": ["track"], "artist": ["artist"],
        "pair": ["user", "track"], "user_artist": ["user", "artist"],
    }  # fmt: skip

    def seen(sums: pd.DataFrame, key: list[str]) -> pd.DataFrame:
        wanted = frame[[*key, "started_at"]]
        return pd.merge_asof(
            wanted,
            sums,
            left_on="started_at",
            right_on="ended_at",
            by=key or None,
            allow_exact_matches=True,
        )

    local = frame["started_at"].dt.tz_convert("Europe/Berlin")
    out = pd.DataFrame(index=frame.index)
    out["hour"], out["day_of_week"], out["month"] = local.dt.hour, local.dt.dayofweek, local.dt.month
    out["is_weekend"] = out["day_of_week"] >= 5
    overall = ends[["ended_at"]].assign(n=np.arange(1, len(ends) + 1), s=ends["completed"].cumsum())
    everybody = seen(overall, [])
    prior = (everybody["s"].fillna(0) + 1) / (everybody["n"].fillna(0) + 2)
    for name, key in keys.items():
        # plays that start together do not see each other: the first of a tie counts for all
        earlier = frame.groupby(key, sort=False).cumcount()
        ties = earlier.groupby([frame[each] for each in [*key, "started_at"]], sort=False)
        out[f"{name}_plays"] = np.log1p(ties.transform("min"))
        groups = ends.groupby(key, sort=False)
        if name in ("user", "track", "artist"):
            sums = ends[[*key, "ended_at"]].assign(
                n=groups.cumcount() + 1, s=groups["completed"].cumsum()
            )
            known = seen(sums, key)
            rate = (known["s"].fillna(0) + 20 * prior) / (known["n"].fillna(0) + 20)
            out[f"{name}_completion_rate"] = rate
        else:
            days = frame.groupby(key, sort=False)["started_at"].diff().dt.total_seconds() / 86_400
            out[f"{name}_days"] = np.log1p(days)
    users = frame.groupby("user", sort=False)
    gap = (frame["started_at"] - users["ended_at"].shift()).dt.total_seconds().clip(lower=0)
    out["gap_minutes"] = np.log1p(gap / 60)
    session = (gap.isna() | (gap > 1_800)).groupby(frame["user"], sort=False).cumsum()
    out["session_position"] = frame.groupby(["user", session], sort=False).cumcount()
    out["previous_same_track"] = users["track"].shift() == frame["track"]
    recent = ends.groupby("user", sort=False)["completed"].rolling(10, min_periods=1).mean()
    outcomes = ends[["user", "ended_at", "completed"]].assign(
        recent=recent.reset_index(level=0, drop=True)
    )
    last = seen(outcomes, ["user"])
    out["previous_completed"], out["recent_skip_rate_10"] = last["completed"], 1 - last["recent"]
    out["pair_last_completed"] = seen(ends[["user", "track", "ended_at", "completed"]], keys["pair"])[
        "completed"
    ]
    out.astype("float32").to_parquet(folder / "pandas.parquet")
    return out.shape[1]


def differing(folder: Path) -> dict[str, float]:
    """Share of values, by column, in which the two differ by more than rounding."""
    ours = pl.read_parquet(folder / "features-False.parquet", columns=list(NAMES))
    theirs = pl.read_parquet(folder / "pandas.parquet", columns=list(NAMES))
    theirs = theirs.with_columns(pl.col("day_of_week") + 1)  # pandas counts from 0
    shares = {name: ((ours[name] - theirs[name]).abs() > 1e-3).mean() for name in NAMES}
    return {
        name: float(share) for name, share in shares.items() if isinstance(share, float) and share > 0
    }


def main(plays: int) -> None:
    """Print seconds, peak memory and ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(log, plays, folder)
        measure(encore, folder, NAMES)  # compiles what the cache does not hold
        ours = measure(encore, folder, NAMES)
        lowest = measure(floor, folder, False)
        theirs = measure(with_pandas, folder)
        differ = differing(folder)
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
    shown = ", ".join(f"{name} {share:.2%}" for name, share in differ.items()) or "none"
    print(f"  values in which pandas and Encore differ: {shown}")
    print(f"  all columns: Encore / floor {whole.seconds / lowest_whole.seconds:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7_400_000)
