"""Why a track is on a list: what counted most for the ranker, told by what is true of the listener."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tasks.featurize import History
from tasks.ranking.protocol import REST
from tasks.retrieval.audio import NOTES
from tasks.warehouse import Warehouse

# What a ranker's columns speak of; a retriever's score, rank and standard score begin with its name.
SPEAKS = {
    "own": ("again_", "heard", "pair_"),
    "artist": ("user_artist_",),
    "near": ("covisit_", "item_knn_", "als_", "linear_", "tags_"),
    "sound": ("content_",),
    "others": ("popular_", "track_", "artist_"),
    "nobody": (),
}
TOLD = 2  # sentences a reason has at most
KNOWN = 3  # outcomes from which a share says something
MOST = 50  # of a listener's tracks, the most played, with which sounds are compared
# Standardised features of two tracks that sound alike lie at most this far apart; of two drawn from
# all tracks it is the square root of twice their number, 4.2
APART = 1.5


def given(
    listed: pl.DataFrame,
    contributions: pl.DataFrame,
    neighbours: Path,
    together: str,
    sounds: pl.DataFrame,
    history: History,
    warehouse: Warehouse,
) -> pl.Series:
    """One short true text for each row of ``listed``, in its order.

    ``listed`` has user_id, track_id and artist; ``contributions`` is the ranker's answer for the same
    rows. Of what is true of a listener and a track, that is told first which the ranker's columns of
    its kind (``SPEAKS``) added most to, then the next, if it added anything. ``together`` is the
    retriever whose ``neighbours`` say what lies near; ``sounds`` are as ``heard_as`` makes them.
    """
    warehouse.relation("listed", listed.select("user_id", "track_id", "artist"))
    warehouse.relation("plays", history.plays)
    warehouse.relation("tracks", history.tracks)
    warehouse.relation("neighbours", neighbours)
    warehouse.relation("sounds", sounds)
    if "completed" in history.labels:
        warehouse.relation("completed", history.labels["completed"])
        warehouse.keep("own_outcomes", "marts/own_outcomes")
    else:
        texts = dict.fromkeys(("user_id", "track_id"), pl.String)
        counts = dict.fromkeys(("known", "completed"), pl.Int64)
        warehouse.relation("own_outcomes", pl.DataFrame(schema={**texts, **counts}))
    near = {
        ("covisit", "time"): "often played in one session with {} by {}, which you played {}",
        ("covisit", "order"): "often played near {} by {}, which you played {}",
    }.get((together, history.clock), "those who play {} by {} play this too; you played that {}")
    facts = warehouse.frame("marts/reasons", most=MOST, apart=APART)
    true = listed.select("user_id", "track_id").join(
        facts, on=["user_id", "track_id"], how="left", maintain_order="left"
    )
    return told(true.select(**_sentences(near)), contributions)


def heard_as(place: Path) -> pl.DataFrame:
    """track_id and sound, a list of standardised audio features, of the measured tracks in ``place``."""
    if not (place / "audio.parquet").exists():
        return pl.DataFrame(schema={"track_id": pl.String, "sound": pl.List(pl.Float32)})
    audio = pl.read_parquet(place / "audio.parquet").drop("track", *NOTES)
    ids = pl.read_parquet(place / "tracks.parquet", columns=["track_id"])
    measured = pl.any_horizontal(pl.col(audio.columns).is_not_null())
    return (
        ids.hstack(audio)
        .filter(measured)
        .select("track_id", sound=pl.concat_list(pl.col(audio.columns).fill_null(0.0)))
    )


def told(sentences: pl.DataFrame, contributions: pl.DataFrame) -> pl.Series:
    """The sentences (a column for each kind, null where untrue) that contributions speak for most.

    Every row must have one; kinds that add nothing come last, in the order of the columns.
    """
    weights = contributions.select(
        pl.sum_horizontal(pl.lit(0.0), *_of(kind, contributions.columns)).alias(kind)
        for kind in sentences.columns
    )
    place = {kind: number for number, kind in enumerate(sentences.columns)}
    long = pl.concat(
        pl.DataFrame({"row": pl.int_range(sentences.height, eager=True)}).with_columns(
            text=sentences[kind], weight=weights[kind], place=pl.lit(number)
        )
        for kind, number in place.items()
    ).drop_nulls("text")
    ordered = long.sort("row", pl.col("weight").clip(0.0), "place", descending=[False, True, False])
    nth = pl.int_range(pl.len()).over("row")
    kept = ordered.filter((nth == 0) | ((nth < TOLD) & (pl.col("weight") > 0)))
    joined = kept.group_by("row", maintain_order=True).agg(pl.col("text").str.join("; "))
    return joined["text"].alias("reason")


def _of(kind: str, columns: list[str]) -> list[str]:
    return [name for name in columns if name != REST and name.startswith(SPEAKS[kind])]


def _sentences(near: str) -> dict[str, pl.Expr]:
    """A sentence of each kind, null where it would not be true or says nothing of its own."""
    unnamed = pl.lit("an unknown artist")
    finished = (pl.col("known") >= KNOWN) & (2 * pl.col("completed") >= pl.col("known"))
    # what was finished of an artist says more only if more than this track is counted in it
    more = pl.col("artist_plays") > pl.col("plays")
    enjoyed = (pl.col("artist_known") >= KNOWN) & (
        2 * pl.col("artist_completed") >= pl.col("artist_known")
    )
    return {
        "own": pl.when(finished)
        .then(pl.format("you finished {} of {} plays", "completed", "known"))
        .when(pl.col("plays") > 0)
        .then(pl.format("you played it {}", _times("plays"))),
        "artist": pl.when(more & enjoyed)
        .then(pl.format("you finished {} of {} by {}", "artist_completed", "artist_known", "artist"))
        .when(more)
        .then(pl.format("you played {} {}", "artist", _times("artist_plays"))),
        "near": pl.when(pl.col("other").is_not_null()).then(
            pl.format(near, "other", pl.col("other_artist").fill_null(unnamed), _times("other_plays"))
        ),
        "sound": pl.when(pl.col("sound_other").is_not_null()).then(
            pl.format(
                "sounds like {} by {}, which you played {}",
                "sound_other",
                pl.col("sound_artist").fill_null(unnamed),
                _times("sound_plays"),
            )
        ),
        "others": pl.when(pl.col("listeners") == 1)
        .then(pl.lit("played by one listener"))
        .when(pl.col("listeners") > 1)
        .then(pl.format("played by {} listeners", "listeners")),
        "nobody": pl.when(pl.col("listeners") == 0).then(
            pl.lit("played by nobody yet, found by what it is")
        ),
    }


def _times(column: str) -> pl.Expr:
    number = pl.col(column).cast(pl.Int64)
    return pl.when(number == 1).then(pl.lit("once")).otherwise(pl.format("{} times", number))
