"""Recommendations: candidates as of now, ranked by the published model, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from schemas.errors import InputError
from schemas.two_stage import Recommend
from tasks.featurize import History
from tasks.two_stage import candidates, evaluation, lists, reasons
from tasks.two_stage.evaluation import MODES
from tasks.warehouse import Warehouse

COLUMNS = (
    "user_id", "rank", "track_id", "name", "artist", "uri", "score", "probability", "retrievers",
    "reason", "model_version", "cutoff",
)  # fmt: skip
NAMED = 5  # unknown ids told in a refusal


def write(
    place: Path,
    ranker: Path,
    neighbours: Path,
    together: str,
    history: History,
    settings: Recommend,
    model_version: str,
    cutoff: str,
    warehouse: Warehouse,
    folder: Path,
) -> dict[str, Any]:
    """Write recommendations.parquet (COLUMNS; key (user_id, rank)); returns facts.

    ``place`` has the candidates of all users at the cutoff and ``ranker`` the model; ``neighbours``
    and ``together`` (the retriever they are of) serve the reasons. Raises ``InputError`` for
    unknown users, or where nobody has an unheard candidate and only such are wanted.
    """
    ids = pl.read_parquet(place / "users.parquet", columns=["user_id"]).to_series()
    asked = _asked(settings.users, ids)
    model = lists.load(ranker)
    whole = pl.read_parquet(place / "candidates.parquet")
    scored = whole.with_columns(score=pl.Series(evaluation.scored(place, model)))
    of_users = scored.filter(pl.col("user").is_in(asked.implode())).filter(MODES[settings.heard])
    if of_users.is_empty():
        raise InputError(
            "no candidates for these users", place="recommend.heard", found=settings.heard,
            expected="include or only: no retriever found an unheard track" if settings.heard
            == "exclude" else "users who have played something",
            do="give a catalogue.path with unheard tracks and some of the heard ones or their artists,"
            " bring the listening of more people, or choose another recommend.heard",
        )  # fmt: skip
    best = lists.top(of_users, settings.k)
    tracks = pl.read_parquet(place / "tracks.parquet", columns=["track_id"]).to_series()
    described = pl.scan_parquet(history.tracks).select("track_id", "name", "artist", "uri").collect()
    ranks = [name for name in whole.columns if name.endswith("_rank")]
    named = best.with_columns(
        user_id=ids[best["user"]],
        track_id=tracks[best["track"]],
        probability=pl.Series(model.probability(best["score"].to_numpy())),
        retrievers=pl.concat_str(
            [pl.when(pl.col(each).is_not_null()).then(pl.lit(each[:-5])) for each in ranks],
            separator=" ",
            ignore_nulls=True,
        ),
        model_version=pl.lit(model_version),
        cutoff=pl.lit(cutoff),
    ).join(described, on="track_id", how="left", maintain_order="left")
    users, features = (pl.read_parquet(place / f"{side}.parquet") for side in ("users", "tracks"))
    why = model.contributions(candidates.beside(best, users, features))
    named = named.with_columns(
        reasons.given(named, why, neighbours, together, reasons.heard_as(place), history, warehouse)
    )
    named.select(COLUMNS).write_parquet(folder / "recommendations.parquet")
    return {
        "users": named["user_id"].n_unique(),
        "rows": named.height,
        "model_version": model_version,
        "cutoff": cutoff,
    }


def _asked(users: Sequence[str], known: pl.Series) -> pl.Series:
    """Numbers of the asked users."""
    if tuple(users) == ("all",):
        return pl.int_range(len(known), dtype=pl.Int32, eager=True)
    numbered = pl.DataFrame({"user_id": known}).with_row_index("user")
    found = pl.DataFrame({"user_id": users}, schema={"user_id": pl.String}).join(
        numbered, on="user_id", how="left", maintain_order="left"
    )
    missing = found.filter(pl.col("user").is_null())["user_id"].to_list()
    if missing:
        shown = ", ".join(missing[:NAMED]) + (" …" if len(missing) > NAMED else "")
        raise InputError(
            f"{len(missing)} unknown users", place="recommend.users", found=shown,
            expected="ids of users with plays, such as " + ", ".join(known.head(3).to_list()),
            do="look the ids up, or ask for all",
        )  # fmt: skip
    return found["user"].unique().sort().cast(pl.Int32)


def shown(table: Path, users: int) -> pl.DataFrame:
    """The lists of the first few users, for a terminal."""
    frame = pl.read_parquet(table)
    first = frame["user_id"].unique(maintain_order=True).head(users)
    return frame.filter(pl.col("user_id").is_in(first.implode())).select(
        "user_id", "rank", pl.coalesce("name", "track_id").alias("track"), "artist",
        pl.col("probability").round_sig_figs(2), "reason",
    )  # fmt: skip
