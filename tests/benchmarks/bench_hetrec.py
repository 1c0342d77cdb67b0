"""Last.fm HetRec: every retriever and ranker over three fixed windows, compared by NDCG@10.

With the argument ``development`` the same over four quarters before them, by which settings are
chosen. Rankers of a window learn from the quarters before it, the newest being their validation.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from schemas.loading import load
from tasks import stages
from tasks.metrics.lists import ACCURACY
from tasks.metrics.means import resampled_means
from tasks.split import Span
from tasks.store import Entry
from tasks.two_stage import als_tuning
from tasks.two_stage import stages as two_stage
from tasks.warehouse import Warehouse

QUARTERS = [(year, month) for year in range(2005, 2012) for month in (1, 4, 7, 10)]
# judged windows end where the next quarter begins, but for the last, which the end of the data cuts
JUDGED = {"test": [(2010, 7), (2010, 10), (2011, 1)], "development": QUARTERS[18:22]}
LAST = (2011, 1), (2011, 6)
# NDCG@10 of discoveries: a closed form with L2 200 over the 6,000 most popular, measured elsewhere
CLOSED_FORM = {(2010, 7): 0.083, (2010, 10): 0.074, (2011, 1): 0.090}


def main(which: str = "test") -> None:
    """Print NDCG@10 with intervals by user, per window, and the paired differences."""
    source = Path(os.environ.get("ENCORE_DATA", Path("..", "shared", "data"))) / "lastfm_hetrec"
    with tempfile.TemporaryDirectory() as name:
        folder = os.environ.get("ENCORE_BENCH_STORE", name)
        told = (
            f"source.path={source}",
            f"store.path={folder}",
            f"backtest.cutoffs={len(JUDGED[which])}",
        )
        config = load(Path("configs/lastfm.yaml"), list(told))
        data = stages.ingested(config, None, datetime.now(UTC))
        outcomes = stages.labelled(config, data)
        first = QUARTERS.index(JUDGED[which][0])
        earlier = [_span(each) for each in QUARTERS[first - config.lists.training_windows - 1 : first]]
        if two_stage.tunes(config):
            config = two_stage.with_als(config, two_stage.als_tuned(config, data, outcomes, earlier))
            print(f"ALS as tuned before: {config.retrieval.als.model_dump(exclude={'trials'})}")
        windows = [_fitted(config, data, outcomes, quarter) for quarter in JUDGED[which]]
        judged = two_stage.lists_evaluated(config, data, windows)
        _told(config, judged, which)
        _told_als(config, data, outcomes, [_span(each) for each in JUDGED[which]])


def _fitted(
    config: Config, data: Entry, outcomes: Entry, quarter: tuple[int, int]
) -> tuple[Entry, dict[str, Entry]]:
    """A judged window's candidates, and the rankers fitted on the windows before it."""
    place = QUARTERS.index(quarter)
    first = place - config.lists.training_windows - 1
    *training, validation = (
        two_stage.candidates_at(config, data, outcomes, _span(earlier), training=True)
        for earlier in QUARTERS[first:place]
    )
    found = two_stage.candidates_at(config, data, outcomes, _span(quarter), training=False)
    fits: dict[str, Entry] = {
        ranker: two_stage.lists_fitted(config, ranker, data, training, validation)
        for ranker in config.lists.rankers
    }
    return found, fits


def _span(quarter: tuple[int, int]) -> Span:
    end = LAST[1] if quarter == LAST[0] else QUARTERS[QUARTERS.index(quarter) + 1]
    return Span(_tick(*quarter), _tick(*end))


def _tick(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


def _told(config: Config, judged: Entry, which: str) -> None:
    per_user = pl.read_parquet(judged.tables["per_user"].path)
    for mode, words in (("exclude", "discoveries"), ("include", "everything")):
        rows: list[dict[str, Any]] = [
            row for row in judged.facts["metrics"] if row["mode"] == mode and row["metric"] == "ndcg"
        ]
        pooled = {row["system"]: row["value"] for row in rows}
        best = max(config.retrieval.retrievers, key=lambda name: pooled[name])
        against = {
            row["system"]: row
            for row in judged.facts["differences"]
            if row["mode"] == mode and row["metric"] == "ndcg" and row["against"] == best
        }
        windows = (
            per_user.filter(pl.col("mode") == mode)
            .group_by("system", "cutoff")
            .agg(pl.col("ndcg").mean(), pl.len())
            .sort("cutoff")
            .partition_by("system", as_dict=True)
        )
        print(f"HetRec, {which} windows, {words}: NDCG@10 of {rows[0]['rows']:,} lists")
        for row in sorted(rows, key=lambda row: -row["value"]):
            system = row["system"]
            each = " ".join(f"{value:.4f}" for value in windows[system,]["ndcg"])
            line = f"  {system:11s} {row['value']:.4f} ({row['low']:.4f} to {row['high']:.4f})   {each}"
            if system in against:
                gain = against[system]
                line += f"   {pooled[system] / pooled[best]:.3f} x {best}"
                line += f" ({gain['value']:+.4f}, {gain['low']:+.4f} to {gain['high']:+.4f})"
            print(line)
        if mode == "exclude" and which == "test":
            users = windows[best,]["len"].to_list()
            weighed = zip(CLOSED_FORM.values(), users, strict=True)
            earlier = sum(value * count for value, count in weighed) / sum(users)
            for ranker in config.lists.rankers:
                print(f"  {ranker}: {pooled[ranker] / earlier:.3f} x the closed form's {earlier:.4f}")
    _everything_told(config, judged)


def _everything_told(config: Config, judged: Entry) -> None:
    """The candidate beside the best single retriever, metric by metric."""
    candidate, singles = config.lists.champion_candidate, config.retrieval.retrievers
    metrics = pl.DataFrame(judged.facts["metrics"])
    apart = pl.DataFrame(judged.facts["differences"]).filter(pl.col("system") == candidate)
    for mode in ("include", "exclude", "only"):
        for metric in ACCURACY:
            here = (pl.col("mode") == mode) & (pl.col("metric") == metric)
            best = (
                metrics.filter(here, pl.col("system").is_in(singles)).sort("value").row(-1, named=True)
            )
            own = metrics.filter(here, pl.col("system") == candidate)["value"].item()
            gain = apart.filter(here, pl.col("against") == best["system"]).row(0, named=True)
            print(
                f"  {mode:8s} {metric:9s} {candidate} {own:.4f}, {best['system']} {best['value']:.4f}: "
                f"{gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
            )


def _told_als(config: Config, data: Entry, outcomes: Entry, judged: list[Span]) -> None:
    """ALS as tuned beside implicit's own settings, on all users of the judged windows."""
    most = config.lists.model_copy(update={"max_users": 1_000_000})
    whole = config.model_copy(update={"lists": most})
    with Warehouse(config.store) as warehouse:
        past = stages.past(config, data, outcomes, None)
        windows = list(als_tuning.read(past, judged, whole, warehouse))
    both = {
        name: als_tuning.judge(windows, config.retrieval.model_copy(update={"als": als}), config)
        for name, als in (("tuned", config.retrieval.als), ("implicit", als_tuning.IMPLICIT))
    }
    means = resampled_means(both, resamples=config.evaluation.resamples, seed=config.evaluation.seed)
    gain = means.difference("tuned", "implicit", "ndcg")
    print(
        f"ALS alone, repeats and discoveries: {means.values['tuned']['ndcg']:.4f}, by implicit's own"
        f" settings {means.values['implicit']['ndcg']:.4f}: {gain.value:+.4f}"
        f" ({gain.low:+.4f} to {gain.high:+.4f})"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
