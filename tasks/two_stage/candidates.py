"""Candidates at a cutoff: retrieved, featurized as of it, and labelled by the window after it.

A candidate table is three: features of users, of tracks and of pairs, each kept where it varies, so
that millions of candidates take the memory of their pairs alone. ``rows`` puts them side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Config
from schemas.tables import AUDIO
from tasks import featurize, moments
from tasks.featurize import History
from tasks.moments import Moments, Sides
from tasks.ranking.protocol import Column
from tasks.retrieval import RETRIEVERS
from tasks.retrieval.audio import standardised
from tasks.retrieval.protocol import Codes, Listening, Retriever
from tasks.retrieval.union import united
from tasks.split import Span
from tasks.warehouse import Warehouse

KEYS = ("user", "track", "heard", "target")
ROW_GROUP = 262_144  # rows


@dataclass(frozen=True)
class Known:
    """The plays before a cutoff, and the numbers in ``Moments`` of their "user"s and "track"s.

    Both are sorted; places in them are the numbers in ``listening``. All tracks of the catalogue, if
    there is one, are among the tracks.
    """

    listening: Listening
    codes: Mapping[str, NDArray[np.int32]]

    def pairs(self) -> pl.DataFrame:
        """Distinct (user, track) of the plays."""
        played = {"user": self.listening.user, "track": self.listening.track}
        return pl.DataFrame(played).unique().sort("user", "track")


def known_at(history: History, events: Moments, cutoff: int, silent: Sequence[str] = ()) -> Known:
    """What retrievers may know at tick ``cutoff``: nothing that started later has a number in it.

    ``silent`` are ids of users who are to be among the known without a play. A track of the catalogue
    is known whether or not it is ever played: that it exists is no news.
    """
    before = np.flatnonzero(events.columns["seen_from"] <= cutoff)
    # moments number users and tracks in the order of their ids
    users, tracks = pl.read_parquet(history.users).sort("user_id"), _described(history)
    unplayed = {
        "user": users["user_id"].is_in(pl.Series(silent, dtype=pl.String).implode()).arg_true(),
        "track": tracks["in_catalogue"].arg_true(),
    }
    codes, places = {}, {}
    for side, others in unplayed.items():
        played = events.columns[side][before]
        codes[side] = np.union1d(played, others.to_numpy().astype(np.int32))
        places[side] = np.searchsorted(codes[side], played).astype(np.int32)
    listening = Listening(
        user=places["user"],
        track=places["track"],
        tick=events.columns["tick"][before],
        users=users[codes["user"]],
        tracks=tracks.drop("in_catalogue")[codes["track"]],
        at=cutoff,
        clock=history.clock,
        tags=_tagged(history, tracks["track_id"][codes["track"]], cutoff),
    )
    return Known(listening, codes)


def _described(history: History) -> pl.DataFrame:
    """All tracks by id: what retrievers read of them, and whether they are in the catalogue.

    Of a large one, names and addresses would take more memory than all the rest.
    """
    tracks = pl.scan_parquet(history.tracks).select("track_id", "artist", "genres").sort("track_id")
    if history.audio is None:
        nothing = (pl.lit(None, pl.Float32).alias(name) for name in AUDIO)
        return tracks.with_columns(*nothing, in_catalogue=False).collect()
    audio = pl.scan_parquet(history.audio).select(
        "track_id", pl.col(AUDIO).cast(pl.Float32), in_catalogue=True
    )
    described = tracks.join(audio, on="track_id", how="left", maintain_order="left")
    return described.with_columns(pl.col("in_catalogue").fill_null(False)).collect()


def _tagged(history: History, tracks: pl.Series, cutoff: int) -> pl.DataFrame | None:
    """Tags given before tick ``cutoff``, of ``tracks``, by their places; tags are numbered by name."""
    if history.tags is None:
        return None
    known = pl.DataFrame({"track_id": tracks}).with_row_index("track")
    given = pl.scan_parquet(history.tags).filter(pl.col("tagged_at").dt.epoch("ms") < cutoff)
    placed = given.select("track_id", "tag").collect().join(known, on="track_id")
    return placed.select(
        pl.col("track").cast(pl.Int32), tag=(pl.col("tag").rank("dense") - 1).cast(pl.Int32)
    ).sort("track", "tag")


def write(
    history: History,
    span: Span,
    most_users: int | None,
    silent: Sequence[str],
    config: Config,
    warehouse: Warehouse,
    folder: Path,
) -> Mapping[str, Any]:
    """Write candidates, users, tracks, relevant and heard as Parquet into ``folder``; return facts.

    ``candidates`` has user, track (int32 rows of the other two), heard (bool: played before the
    cutoff), target (bool: played in the window; null where it has none), the retrievers' scores and
    ranks and the pairs' features, by user. ``relevant`` (user, track, heard) are the pairs played in
    the window by users who were asked, whose track was known at the cutoff, ``heard`` (user, track)
    those played before it by anyone. With a catalogue there is ``audio``: track and AUDIO, standardised
    over all known tracks, null where not measured. All known users are asked, those named in
    ``silent`` though they never played, or at most ``most_users``, drawn from those who played in the
    window.
    """
    sides = Sides.read(history.users, history.tracks, warehouse)
    events = moments.read(history.plays, sides, history.timezone, warehouse)
    known = known_at(history, events, span.cutoff, silent)
    listening = known.listening
    relevant, played = played_in(events, known, span)
    asked = np.arange(listening.users.height, dtype=np.int32)
    if most_users is not None:
        active = relevant["user"].unique().sort().to_numpy()
        random = np.random.default_rng(config.models.seed)
        asked = np.sort(random.choice(active, min(most_users, active.size), replace=False))
    # what users did who were not asked says nothing; who was asked and got nothing, has missed it all
    judged = relevant.filter(pl.col("user").is_in(pl.Series(asked).implode()))
    found = retrieved(listening, asked, config)
    pairs = featurize.probe_pairs(
        history, _as_of(sides, known, history), events, known.codes["user"], known.codes["track"],
        (found["user"].to_numpy(), found["track"].to_numpy()),
        span.cutoff, warehouse, config.store.threads,
    )  # fmt: skip
    hits = relevant.select("user", "track", target=pl.lit(True))
    target = pl.col("target").fill_null(False) if span.end > span.cutoff else pl.lit(None, pl.Boolean)
    labelled = found.join(hits, on=["user", "track"], how="left", maintain_order="left").with_columns(
        target.alias("target")
    )
    whole = pl.concat([labelled, pairs.pairs], how="horizontal")
    whole.write_parquet(folder / "candidates.parquet", compression="lz4", row_group_size=ROW_GROUP)
    pairs.users.insert_column(0, listening.users["user_id"]).write_parquet(folder / "users.parquet")
    pairs.tracks.insert_column(0, listening.tracks["track_id"]).write_parquet(folder / "tracks.parquet")
    judged.write_parquet(folder / "relevant.parquet")
    known.pairs().write_parquet(folder / "heard.parquet", compression="lz4")
    if history.audio is not None:
        audio = standardised(listening.tracks).with_row_index("track")
        audio.with_columns(pl.col("track").cast(pl.Int32)).write_parquet(folder / "audio.parquet")
    return {
        "cutoff": span.cutoff,
        "end": span.end,
        "candidates": found.height,
        "users": len(asked),
        "catalogue": listening.tracks.height,
        "played_pairs": played,
        "reachable_pairs": relevant.height,
    }


def _as_of(sides: Sides, known: Known, history: History) -> Sides:
    """``sides`` without the lengths of tracks that were not played yet.

    A source without lengths of its own tells them with plays: that a track of the catalogue had one
    would say that it is going to be played.
    """
    if history.audio is None or "duration" not in sides.tracks.columns:
        return sides
    heard = np.zeros(sides.tracks.rows, bool)
    heard[known.codes["track"][np.unique(known.listening.track)]] = True
    duration = np.where(heard, sides.tracks.columns["duration"], np.float32(np.nan))
    columns = {**sides.tracks.columns, "duration": duration}
    return replace(sides, tracks=replace(sides.tracks, columns=columns))


def retrieved(listening: Listening, users: Codes, config: Config) -> pl.DataFrame:
    """The union of all retrievers' candidates: at most ``retrieval.candidates`` a user.

    Tracks the user has heard get at most half of the places, unheard ones the rest, so that lists
    with and without repeats come from the same candidates.
    """
    settings = config.retrieval
    fitted: dict[str, Retriever] = {
        name: RETRIEVERS[name].fit(listening, settings, config.store.threads, config.models.seed)
        for name in settings.retrievers
    }
    most = settings.candidates
    new = united(fitted, users, most, "exclude")
    own = united(fitted, users, most // 2, "only") if most > 1 else new.clear()
    both = pl.concat(
        [own.with_columns(heard=pl.lit(True)), new.with_columns(heard=pl.lit(False))]
    ).with_columns(
        place=pl.int_range(pl.len()).over("user", "heard"), held=pl.col("heard").sum().over("user")
    )
    kept = both.filter(pl.col("heard") | (pl.col("place") < most - pl.col("held")))
    columns = [f"{name}_{what}" for name in settings.retrievers for what in ("score", "rank")]
    ordered = kept.sort("user", "heard", "place", descending=[False, True, False])
    standard = [_standard(name) for name in settings.retrievers]
    return ordered.select("user", "track", "heard", *columns, *standard)


def _standard(retriever: str) -> pl.Expr:
    """A retriever's score among the user's other candidates, of heard or of unheard tracks.

    Scores of one user say little beside those of another; how far one stands out does. Null where
    the retriever has no score, or all have the same.
    """
    score = pl.col(f"{retriever}_score").cast(pl.Float64)
    distance = (score - score.mean().over("user", "heard")) / score.std().over("user", "heard")
    named = distance.cast(pl.Float32).alias(f"{retriever}_standard")
    return pl.when(distance.is_finite()).then(named).alias(f"{retriever}_standard")


def cold(history: History, cutoff: int, config: Config, warehouse: Warehouse) -> pl.DataFrame:
    """What somebody unknown gets: track (place) and score, the most popular first."""
    sides = Sides.read(history.users, history.tracks, warehouse)
    events = moments.read(history.plays, sides, history.timezone, warehouse)
    listening = known_at(history, events, cutoff).listening
    stranger = listening.users.clear(1)  # a row of nulls: no place, no age, no plays
    others = replace(listening, users=pl.concat([listening.users, stranger]))
    popular = RETRIEVERS["popular"].fit(
        others, config.retrieval, config.store.threads, config.models.seed
    )
    user = np.array([listening.users.height], np.int32)
    found = popular.retrieve(user, config.retrieval.candidates, "include")
    return pl.DataFrame({"track": found.track, "score": found.score})


def rows(folder: Path, names: list[str]) -> pl.DataFrame:
    """Candidates with their users' and tracks' features beside their own: KEYS, then ``names``."""
    return beside(
        pl.read_parquet(folder / "candidates.parquet"),
        pl.read_parquet(folder / "users.parquet"),
        pl.read_parquet(folder / "tracks.parquet"),
    ).select(*KEYS, *names)


def beside(candidates: pl.DataFrame, users: pl.DataFrame, tracks: pl.DataFrame) -> pl.DataFrame:
    """A slice of candidates with the rows of their users and tracks."""
    return pl.concat(
        [
            candidates,
            users.drop("user_id")[candidates["user"]],
            tracks.drop("track_id")[candidates["track"]],
        ],
        how="horizontal",
    )


def columns(folder: Path, clock: str) -> tuple[Column, ...]:
    """What rankers of candidates read: declared features and what retrievers said."""
    from tasks.features import declared

    category = {feature.name: feature.category for feature in declared(clock)}
    names = [
        name
        for table in ("candidates", "users", "tracks")
        for name in pl.read_parquet_schema(folder / f"{table}.parquet")
    ]
    own = {*KEYS, "user_id", "track_id"}
    return tuple(Column(name, category.get(name, False)) for name in names if name not in own)


def played_in(events: Moments, known: Known, span: Span) -> tuple[pl.DataFrame, int]:
    """Pairs played in the window whose user and track were known, and how many there are in all."""
    tick = events.columns["tick"]
    inside = (tick >= span.cutoff) & (tick < span.end)
    played = pl.DataFrame({side: events.columns[side][inside] for side in known.codes}).unique()
    reachable = played.select(_places(known.codes[side], played[side]) for side in known.codes)
    marked = reachable.drop_nulls().join(
        known.pairs().with_columns(heard=pl.lit(True)), on=["user", "track"], how="left"
    )
    return marked.with_columns(pl.col("heard").fill_null(False)).sort("user", "track"), played.height


def _places(sorted_codes: NDArray[np.int32], wanted: pl.Series) -> pl.Series:
    """Where each wanted code lies among the sorted ones, null where it does not."""
    codes = wanted.to_numpy()
    place = np.minimum(np.searchsorted(sorted_codes, codes), len(sorted_codes) - 1).astype(np.int32)
    return pl.Series(wanted.name, place).set(pl.Series(sorted_codes[place] != codes), None)
