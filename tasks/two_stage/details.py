"""What pictures and pages of judged lists are made of: small tables of the newest judged window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Config
from tasks.metrics import cohorts, curves
from tasks.ranking.boosting import Boosting
from tasks.ranking.corrected import Corrected
from tasks.ranking.protocol import REST, ListRanker
from tasks.two_stage import candidates
from tasks.warehouse import Warehouse

CURVE_ROWS = 2_000_000  # most candidates that curves are drawn of
SAMPLE = 2_000  # candidates that a ranker is asked about
MISTAKES = 20
THRESHOLD = 0.5  # list rankers choose no threshold on validation: only more likely than not is neutral
PLACES = 60  # points of the long tail
SHAPES: Mapping[str, Callable[..., pl.DataFrame]] = {
    "roc": curves.roc,
    "precision_recall": curves.precision_recall,
    "calibration": partial(curves.calibration, bins=20),
}
NOBODY = (np.array([False, True]), np.array([0.5, 0.5]))


@dataclass(frozen=True)
class Judged:
    """A judged window: what was found and played, and what every system made of it.

    ``found`` are all candidates (user, track, heard, target, the retrievers' scores and ranks) and
    ``relevant`` the pairs played; ``scores`` go ranker → its order of ``found``'s rows; ``tops`` are
    the lists of heard and unheard tracks (user, track, rank) of every system.
    """

    cutoff: int
    place: Path
    found: pl.DataFrame
    relevant: pl.DataFrame
    models: Mapping[str, ListRanker]
    scores: Mapping[str, pl.Series]
    tops: Mapping[str, pl.DataFrame]


def write(
    judged: Judged, candidate: str, best: str, tables: Mapping[str, Path], config: Config, folder: Path
) -> None:
    """Write roc, precision_recall, calibration, decisions, tail, importance, lists and mistakes.

    ``candidate`` is the ranker that recommends, ``best`` the best single retriever; ``tables`` has
    plays and tracks. Curves and importance are of a sample by ``evaluation.seed``.
    """
    seed = config.evaluation.seed
    for name, frame in binary(judged, seed).items():
        frame.write_parquet(folder / f"{name}.parquet")
    importance(judged, seed).write_parquet(folder / "importance.parquet")
    with Warehouse(config.store) as warehouse:
        warehouse.relation("plays", tables["plays"])
        popularity = warehouse.frame("reports/list_popularity", cutoff=judged.cutoff)
    tail(judged, popularity).write_parquet(folder / "tail.parquet")
    lists(judged, candidate, best).write_parquet(folder / "lists.parquet")
    named = pl.read_parquet(tables["tracks"], columns=["track_id", "name", "artist"])
    mistakes(judged, candidate, named).write_parquet(folder / "mistakes.parquet")


def binary(judged: Judged, seed: int) -> dict[str, pl.DataFrame]:
    """Every ranker's curves and decisions over the candidates of users drawn by ``seed``.

    "roc", "precision_recall" and "calibration" are the frames of ``tasks.metrics.curves``
    with ``system``. "decisions": ``system``, ``by`` ("probability": at least ``THRESHOLD``; "list":
    on the user's list), Boolean ``called`` and ``target``, and ``rows``.
    """
    drawn = _drawn(judged.found["user"], seed)
    target = judged.found["target"].to_numpy()[drawn]
    pairs = judged.found.select("user", "track")[drawn]
    made: dict[str, list[pl.DataFrame]] = {}
    decisions: list[dict[str, Any]] = []
    for name, model in judged.models.items():
        probability = model.probability(judged.scores[name].to_numpy()[drawn])
        for curve, shape in SHAPES.items():
            # without a candidate there are no points, but still their columns
            frame = shape(target, probability) if len(target) else shape(*NOBODY).clear()
            made.setdefault(curve, []).append(frame.insert_column(0, pl.lit(name).alias("system")))
        listed = judged.tops[name].select("user", "track", called=pl.lit(True))
        on_list = pairs.join(listed, on=["user", "track"], how="left", maintain_order="left")
        both = {
            "probability": probability >= THRESHOLD,
            "list": on_list["called"].fill_null(False).to_numpy(),
        }
        decisions += [
            {"system": name, "by": by, "called": call, "target": fact,
             "rows": int(((called == call) & (target == fact)).sum())}
            for by, called in both.items()
            for fact in (True, False)
            for call in (True, False)
        ]  # fmt: skip
    told = {curve: pl.concat(frames) for curve, frames in made.items()}
    return {**told, "decisions": pl.DataFrame(decisions)}


def importance(judged: Judged, seed: int) -> pl.DataFrame:
    """What each ranker looks at: a row per ``system`` and ``feature``, the heaviest first.

    ``contribution`` is the mean over ``SAMPLE`` candidates drawn by ``seed`` of what the feature adds
    to their order, up or down (of trees, SHAP values); ``direction`` the rank correlation (Spearman)
    of a number with what it adds, null for a category or a constant; ``gain`` the share of the
    trees' total loss reduction, null for others.
    """
    height = judged.found.height
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(height, min(SAMPLE, height), replace=False))
    sample = (
        pl.scan_parquet(judged.place / "candidates.parquet", row_index_name="place")
        .filter(pl.col("place").is_in(pl.Series(rows).implode()))
        .drop("place")
        .collect()
    )
    users, tracks = (pl.read_parquet(judged.place / f"{side}.parquet") for side in ("users", "tracks"))
    asked = candidates.beside(sample, users, tracks)
    told = [_weighed(name, model, asked) for name, model in judged.models.items()]
    return pl.concat(told).sort(
        "system", "contribution", "feature", descending=[False, True, False], maintain_order=True
    )


def tail(judged: Judged, popularity: pl.DataFrame) -> pl.DataFrame:
    """Shares of the ``tracks`` most played before the cutoff: a row per ``of`` and depth.

    ``of``: "plays" (before the cutoff, of ``popularity``: track_id and plays, most played first),
    "window" (distinct pairs played in it) and the systems' lists; ``catalogue`` is the depth as a
    share of all known tracks, ``share`` what these tracks hold. At most ``PLACES`` depths.
    """
    known = pl.read_parquet(judged.place / "tracks.parquet", columns=["track_id"])
    number = known.with_row_index("track").cast({"track": pl.Int32})
    placed = popularity.with_row_index("place").join(number, on="track_id", how="inner")
    tracks = known.height
    place = np.full(tracks, tracks - 1)
    place[placed["track"].to_numpy()] = placed["place"].to_numpy()
    depths = np.unique(np.geomspace(1, tracks, PLACES).round().astype(np.int64))

    def shares(places: Any, weights: Any) -> Any:
        held = np.cumsum(np.bincount(places, weights, tracks))
        return held[depths - 1] / held[-1] if held[-1] > 0 else np.full(len(depths), np.nan)

    told = {"plays": shares(placed["place"].to_numpy(), placed["plays"].to_numpy())}
    pairs = {"window": judged.relevant, **judged.tops}
    told |= {name: shares(place[frame["track"].to_numpy()], None) for name, frame in pairs.items()}
    return pl.concat(
        pl.DataFrame(
            {"of": [name] * len(depths), "tracks": depths, "catalogue": depths / tracks, "share": held},
            schema_overrides={"share": pl.Float64},
        )
        for name, held in told.items()
    )  # fmt: skip


def lists(judged: Judged, candidate: str, best: str) -> pl.DataFrame:
    """The lists of ``candidate`` and of ``best`` to the users who played something, by user and rank.

    ``system``, ``user`` (id), ``rank``, ``track_id``, ``heard``, ``played`` (in the window),
    ``probability`` by ``candidate``, each retriever's rank, and ``relevant``, the number of known
    tracks that the user played in the window.
    """
    ids, names = _ids(judged.place)
    ranks = [name for name in judged.found.columns if name.endswith("_rank")]
    counts = judged.relevant.group_by("user").agg(relevant=pl.len().cast(pl.Int32))
    whole = judged.found.select("user", "track", "heard", "target", *ranks).with_columns(
        judged.scores[candidate].alias("order")
    )
    parts = []
    for system in (candidate, best):
        top = judged.tops[system].select("user", "track", "rank").join(counts, on="user")
        told = top.join(whole, on=["user", "track"], how="left").sort("user", "rank")
        parts.append(
            told.select(
                pl.lit(system).alias("system"),
                user=ids[told["user"]],
                rank="rank",
                track_id=names[told["track"]],
                heard="heard",
                played="target",
                probability=pl.Series(judged.models[candidate].probability(told["order"].to_numpy())),
                relevant="relevant",
            ).hstack(told.select(ranks))
        )
    return pl.concat(parts)


def mistakes(judged: Judged, candidate: str, named: pl.DataFrame) -> pl.DataFrame:
    """The ``MISTAKES`` of highest probability on ``candidate``'s lists, highest first.

    Of users who played something in the window: who was away all of it says nothing of a list.
    ``named`` are tracks. Columns ``user`` (id), ``track_id``, ``name``, ``artist``, ``rank``,
    ``probability``, ``heard``.
    """
    ids, names = _ids(judged.place)
    top = judged.tops[candidate].join(judged.relevant.select("user").unique(), on="user", how="semi")
    sure = top.with_columns(
        probability=pl.Series(judged.models[candidate].probability(top["score"].to_numpy()))
    )
    wrong = cohorts.confident_mistakes(sure, judged.relevant.select("user", "track"), MISTAKES)
    told = wrong.with_columns(user=ids[wrong["user"]], track_id=names[wrong["track"]]).join(
        named, on="track_id", how="left", maintain_order="left"
    )
    return told.select("user", "track_id", "name", "artist", "rank", "probability", "heard")


def _ids(place: Path) -> tuple[pl.Series, pl.Series]:
    """Ids of users and of tracks by their numbers."""
    user, track = (
        pl.read_parquet(place / f"{side}s.parquet", columns=[f"{side}_id"]).to_series()
        for side in ("user", "track")
    )
    return user, track


def _drawn(user: pl.Series, seed: int) -> NDArray[np.intp]:
    """Places of all candidates of users drawn by ``seed``, ``CURVE_ROWS`` at most in the mean."""
    if len(user) <= CURVE_ROWS:
        return np.arange(len(user))
    random = np.random.default_rng(seed)
    kept = random.random(int(user.max()) + 1) < CURVE_ROWS / len(user)  # type: ignore[arg-type]
    return np.flatnonzero(kept[user.to_numpy()])


def _weighed(system: str, model: ListRanker, asked: pl.DataFrame) -> pl.DataFrame:
    """``importance`` of one ranker."""
    added = model.contributions(asked).drop(REST)
    weight = added.select(pl.all().abs().mean()).row(0) if added.columns else ()
    told = pl.DataFrame(
        {
            "system": [system] * added.width,
            "feature": added.columns,
            "contribution": weight,
            "direction": [_direction(asked[name], added[name]) for name in added.columns],
        },
        {"system": pl.String, "feature": pl.String, "contribution": pl.Float64,
         "direction": pl.Float64},
    )  # fmt: skip
    if not isinstance(model, Boosting | Corrected):
        return told.with_columns(gain=pl.lit(None, pl.Float64))
    gains = model.importance().select("feature", gain=pl.col("gain") / pl.col("gain").sum())
    return told.join(gains, on="feature", how="left", maintain_order="left")


def _direction(value: pl.Series, added: pl.Series) -> float | None:
    if not (value.dtype.is_numeric() or value.dtype == pl.Boolean):
        return None
    both = pl.DataFrame({"value": value.cast(pl.Float64).fill_nan(None), "added": added}).drop_nulls()
    if min(both["value"].n_unique(), both["added"].n_unique()) < 2:
        return None
    return float(both.select(pl.corr("value", "added", method="spearman")).item())
