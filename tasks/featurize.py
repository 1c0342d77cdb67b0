"""Feature tables: the declarations of ``tasks/features.py`` answered for plays or for probes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks import aggregates, moments
from tasks.aggregates import Codes, Key, Question, Stream, answer
from tasks.features import Feature, declared
from tasks.moments import Moments, Sides
from tasks.warehouse import Warehouse

KEYS = ("play", "user", "tick", "matures_at", "target")
ROW_GROUP = 262_144  # rows


@dataclass(frozen=True)
class History:
    """The tables that features are built from; ``labels`` by stream ("completed", "repeated").

    ``known_until`` serves sources without a clock: labels of rows from it on are never seen, those
    before it are all known at it. With a clock, maturity alone decides and it is None.
    """

    plays: Path
    tracks: Path
    users: Path
    errors: Path
    labels: Mapping[str, Path]
    clock: str
    timezone: str
    known_until: int | None = None


def write(
    history: History,
    target: str,
    names: Sequence[str] | None,
    warehouse: Warehouse,
    threads: int,
    path: Path,
) -> list[str]:
    """Write the feature table of a target's rows to ``path``; returns the features' names.

    Columns: ``play`` (row of plays.parquet, int64), ``user`` (int32), ``tick`` and ``matures_at``
    (int64), ``target`` (bool, null where withheld), then Float32 and Categorical features. Rows
    are those of the target whose label is known or asked for, in time order.
    """
    labels = pl.read_parquet(history.labels[target], columns=["play", "target", "matures_at"])
    asked = (
        pl.scan_parquet(history.plays)
        .select(asked=pl.col("request_id").is_not_null())
        .with_row_index("play")
        .filter("asked")
        .select(pl.col("play").cast(pl.Int64))
        .collect()["play"]
    )
    rows = labels.filter(pl.col("target").is_not_null() | pl.col("play").is_in(asked.implode()))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(aggregates.load)  # a second, during which the engine reads
        sides = Sides.read(history.users, history.tracks, warehouse)
        events = moments.read(history.plays, sides, history.timezone, warehouse)
    everything = rows.height == events.rows
    probes = events if everything else events.take(rows["play"].to_numpy())
    features = available(history, events, names)
    keyed = rows.with_columns(
        pl.Series("user", probes.columns["user"]), pl.Series("tick", probes.columns["tick"])
    ).select("play", "user", "tick", "matures_at", "target")
    with tempfile.TemporaryDirectory(prefix=".parts-", dir=path.parent) as scratch:
        parts: list[Path] = []
        streams = _streams(history, events, features, warehouse)
        for frame in chain([keyed], build(features, streams, probes, threads)):
            parts.append(Path(scratch) / f"{len(parts)}.parquet")
            frame.write_parquet(
                parts[-1], compression="uncompressed", statistics=False, row_group_size=ROW_GROUP
            )
        del events, probes, streams, frame, keyed
        side_by_side = pl.concat([pl.scan_parquet(part) for part in parts], how="horizontal")
        wanted = side_by_side.select(*KEYS, *(feature.name for feature in features))
        wanted.sink_parquet(path, compression="lz4", row_group_size=ROW_GROUP)
    return [feature.name for feature in features]


def probe(
    history: History, probes: pl.DataFrame, names: Sequence[str], warehouse: Warehouse
) -> pl.DataFrame:
    """Features ``names`` at ``probes``: rows shaped like plays, whose outcomes are not read.

    Rows may come in any order; the result keeps it.
    """
    sides = Sides.read(history.users, history.tracks, warehouse)
    events = moments.read(history.plays, sides, history.timezone, warehouse)
    at = moments.read(probes, sides, history.timezone, warehouse, names=events.names)
    features = [feature for feature in declared(history.clock) if feature.name in set(names)]
    frames = build(features, _streams(history, events, features, warehouse), at, threads=1)
    return pl.concat(frames, how="horizontal").select(names)


@dataclass(frozen=True)
class Pairs:
    """Features of (user, track) pairs at one moment, each kept where it varies.

    ``users`` and ``tracks`` have a row per user and track asked about, ``pairs`` one per pair: a
    pair's features are its rows of all three.
    """

    users: pl.DataFrame
    tracks: pl.DataFrame
    pairs: pl.DataFrame


def probe_pairs(
    history: History,
    sides: Sides,
    events: Moments,
    users: NDArray[np.int32],
    tracks: NDArray[np.int32],
    pairs: tuple[NDArray[np.int32], NDArray[np.int32]],
    at: int,
    warehouse: Warehouse,
    threads: int,
) -> Pairs:
    """All features that need no context, of (user, track) pairs at tick ``at``.

    ``pairs`` are places in ``users`` and ``tracks``, numbers of ``sides``; ``events`` are the
    moments of the history's plays.
    """
    wanted = [each for each in available(history, events, None) if each.needs != "context"]
    streams = _streams(history, events, wanted, warehouse)

    def frame(need: str, brought: Moments) -> pl.DataFrame:
        tick = np.full(brought.rows, at, np.int64)
        probes = Moments(brought.rows, {**brought.columns, "tick": tick}, brought.names)
        features = [feature for feature in wanted if feature.needs == need]
        frames = list(build(features, streams, probes, threads))
        return pl.concat(frames, how="horizontal") if frames else pl.DataFrame()

    of_pairs = sides.of(users[pairs[0]], tracks[pairs[1]])
    return Pairs(
        frame("user", sides.users.take(users)),
        frame("track", sides.tracks.take(tracks)),
        frame("pair", of_pairs),
    )


def newest(history: History, names: Sequence[str], warehouse: Warehouse) -> pl.DataFrame:
    """Features ``names`` of the last row of the plays, as a frame of one row."""
    sides = Sides.read(history.users, history.tracks, warehouse)
    events = moments.read(history.plays, sides, history.timezone, warehouse)
    features = [feature for feature in declared(history.clock) if feature.name in set(names)]
    last = events.take(np.array([events.rows - 1]))
    frames = build(features, _streams(history, events, features, warehouse), last, threads=1)
    return pl.concat(frames, how="horizontal").select(names)


def available(history: History, events: Moments, names: Sequence[str] | None) -> list[Feature]:
    """Declared features whose columns and streams exist; with ``names`` exactly those."""
    if names is not None:
        return [feature for feature in declared(history.clock) if feature.name in set(names)]
    streams = {"plays", "ended", "connection_errors", "playback_errors"}
    for name, path in history.labels.items():  # of a label that nothing tells, rates tell nothing
        if pl.scan_parquet(path).select(pl.col("target").is_not_null().any()).collect().item():
            streams.add(name)
    return [
        feature
        for feature in declared(history.clock)
        if feature.columns <= events.columns.keys()
        and {question.stream for question in feature.questions} <= streams
    ]


def build(
    features: Sequence[Feature], streams: Mapping[str, Stream], probes: Moments, threads: int
) -> Iterator[pl.DataFrame]:
    """Frames of a few features each: a row per probe, in their order, Float32 or Categorical.

    Few at a time, because what the past answers takes more memory than the features themselves.
    """
    order = _order(probes.columns["tick"])
    probes = probes if order is None else probes.take(order)
    codes: dict[Key, Codes] = {}
    with ThreadPoolExecutor(threads) as pool:
        for group in _grouped(features):
            questions = [question for feature in group for question in feature.questions]
            answers = answer(questions, probes, streams, codes, pool)
            frame = pl.DataFrame(list(pool.map(partial(_evaluate, probes, answers), group)))
            del answers  # not held while the next are found
            yield frame if order is None else frame[np.argsort(order)]
            del frame


def _grouped(features: Sequence[Feature]) -> list[list[Feature]]:
    """Features in batches that bound the memory of their answers, sharing keys where possible."""
    ordered = sorted(
        features, key=lambda feature: sorted(str(question.by) for question in feature.questions)
    )
    size = 4
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _evaluate(probes: Moments, answers: Mapping[str, NDArray[Any]], feature: Feature) -> pl.Series:
    if feature.category:
        (name,) = feature.expression.meta.root_names()
        codes = pl.Series(probes.columns.get(name, np.full(probes.rows, -1, np.int32)))
        names = pl.Series(probes.names.get(name, []), dtype=pl.String)
        texts = (
            names.gather(codes.replace(-1, None))
            if len(names)
            else pl.repeat(None, probes.rows, dtype=pl.String, eager=True)
        )
        return texts.cast(pl.Categorical).alias(feature.name)
    inputs = {}
    for name in feature.expression.meta.root_names():
        if Question.parse(name) is not None:
            inputs[name] = pl.Series(name, answers[name])
        else:
            values = probes.columns.get(name, np.full(probes.rows, np.nan, np.float32))
            inputs[name] = pl.Series(name, values)
    value = feature.expression.cast(pl.Float32).fill_nan(None).alias(feature.name)
    # slice by slice, so that the expression's intermediate columns stay small
    frame = pl.DataFrame(inputs)
    slices = list(frame.iter_slices(ROW_GROUP)) or [frame]
    pieces = [piece.select(value) for piece in slices]
    return pl.concat(pieces, rechunk=False).to_series()


def _order(tick: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Places in time order, or None where they are: rounding disorders logs of two resolutions."""
    return None if (tick[1:] >= tick[:-1]).all() else np.argsort(tick, kind="stable")


def _streams(
    history: History, events: Moments, features: Sequence[Feature], warehouse: Warehouse
) -> dict[str, Stream]:
    """The streams that the features ask."""
    makers: dict[str, Callable[[], Stream]] = {
        "plays": lambda: Stream(events, None, events.columns["seen_from"], None),
        "ended": lambda: _ended(events),
        "connection_errors": lambda: _errors(history, "connection", warehouse),
        "playback_errors": lambda: _errors(history, "playback", warehouse),
        **{name: partial(_labelled, history, events, path) for name, path in history.labels.items()},
    }
    asked = {question.stream for feature in features for question in feature.questions}
    return {name: make() for name, make in makers.items() if name in asked}


def _ended(events: Moments) -> Stream:
    """Plays of at least 30 s, with their seconds, from their end."""
    seconds = events.columns.get("seconds_played", np.zeros(events.rows, np.float32))
    visible = np.maximum(events.columns["end_tick"], events.columns["seen_from"])
    places = np.flatnonzero(seconds >= 30).astype(np.int32)
    places = places[np.argsort(visible[places], kind="stable")]
    return Stream(events, places, visible[places], seconds[places].astype(np.float32))


def _labelled(history: History, events: Moments, path: Path) -> Stream:
    """Known labels, from their maturity."""
    labels = pl.read_parquet(path, columns=["play", "target", "matures_at"]).drop_nulls("target")
    places, visible = labels["play"].cast(pl.Int32).to_numpy(), labels["matures_at"].to_numpy()
    value = labels["target"].cast(pl.Float32).to_numpy()
    if history.known_until is not None:
        inside = events.columns["tick"][places] < history.known_until
        places, visible, value = places[inside], visible[inside], value[inside]
        visible = np.minimum(visible, history.known_until)
    order = np.argsort(visible, kind="stable")
    return Stream(events, places[order], visible[order], value[order])


def _errors(history: History, kind: str, warehouse: Warehouse) -> Stream:
    warehouse.relation("errors", history.errors)
    warehouse.relation("users", history.users)
    frame = warehouse.frame("features/errors", kind=kind)
    columns = {name: frame[name].to_numpy() for name in ("user", "day", "tick")}
    return Stream(Moments(frame.height, columns, {}), None, columns["tick"] + 1, None)
