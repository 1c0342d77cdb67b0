"""Feature tables: the declarations of ``tasks/features.py`` answered for plays or for probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks import moments, parts, standing, sweeps
from tasks.features import Feature, declared
from tasks.moments import Moments, Sides
from tasks.standing import Before
from tasks.sweeps import Stream
from tasks.warehouse import Warehouse

Array = NDArray[Any]
KEYS = ("play", "user", "tick", "matures_at", "target")


@dataclass(frozen=True)
class History:
    """The tables that features are built from; ``labels`` by stream ("completed", "repeated").

    ``known_until`` serves sources without a clock: labels of rows from it on are never seen, those
    before it are all known at it. With a clock, maturity alone decides and it is None. ``audio`` is
    there with a catalogue, ``tags`` where the source dates them.
    """

    plays: Path
    tracks: Path
    users: Path
    errors: Path
    labels: Mapping[str, Path]
    clock: str
    timezone: str
    known_until: int | None = None
    audio: Path | None = None
    tags: Path | None = None


def write(
    history: History,
    target: str,
    names: Sequence[str] | None,
    warehouse: Warehouse,
    threads: int,
    path: Path,
    before: Before | None = None,
) -> list[str]:
    """Write the feature table of a target's rows to the new folder ``path``; returns its features.

    It is in parts (see ``tasks.parts``); those of an earlier table ``before`` that stand are not made
    again.

    Columns: ``play`` (row of plays.parquet, int64), ``user`` (int32), ``tick`` and ``matures_at``
    (int64), ``target`` (bool, null where withheld), then Float32 and Categorical features. Rows
    are those of the target whose label is known or asked for, in time order.
    """
    with ThreadPoolExecutor(2) as pool:
        pool.submit(_load)  # a second, during which the engines read
        changed = pool.submit(standing.first_change, before.history, history) if before else None
        labelled = pool.submit(_rows, history, target)
        sides = Sides.read(history.users, history.tracks, warehouse)
        events = moments.read(history.plays, sides, history.timezone, warehouse)
        rows = labelled.result()
    everything = rows.height == events.rows
    probes = events if everything else events.take(rows["play"].to_numpy())
    features = available(history, events, names)
    keyed = rows.with_columns(
        pl.Series("user", probes.columns["user"]), pl.Series("tick", probes.columns["tick"])
    ).select("play", "user", "tick", "matures_at", "target")
    streams = _streams(history, events, features, warehouse)
    told = [feature.name for feature in features]
    blocks = _blocks(probes.columns["tick"], _order(probes.columns["tick"]))
    path.mkdir()
    stand = 0
    if before and changed and list(before.names) == told:
        tick = probes.columns["tick"]
        stand = standing.linked(before.table, changed.result(), tick, blocks, path)
    writing: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:  # a part is written while the next is made
        for number, frame in enumerate(build(features, streams, probes, threads, stand), start=stand):
            block = keyed[blocks[number]].hstack(frame)
            if writing:
                writing.pop().result()
            writing.append(pool.submit(_write, block, parts.part(path, number)))
        for each in writing:
            each.result()
    return told


def _write(block: pl.DataFrame, path: Path) -> None:
    block.write_parquet(path, compression="lz4", row_group_size=parts.ROWS)


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
    return pl.concat(frames).select(names)


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
        return pl.concat(build(features, streams, probes, threads)) if features else pl.DataFrame()

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
    return pl.concat(frames).select(names)


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
    features: Sequence[Feature],
    streams: Mapping[str, Stream],
    probes: Moments,
    threads: int,
    stand: int = 0,
) -> Iterator[pl.DataFrame]:
    """Frames of some probes each, one after the other, in their order: Float32 or Categorical.

    Block by block, because what the past answers takes more memory than the features themselves;
    the sweeps of the next block run while this one is evaluated, and used. Of the first ``stand``
    blocks there is no frame: the sweeps pass through what happened meanwhile, a block at a time.
    """
    order = _order(probes.columns["tick"])
    probes = probes if order is None else probes.take(order)
    categories = _categories(features, probes)
    questions = [question for feature in features for question in feature.questions]
    with ThreadPoolExecutor(threads) as pool:
        running = sweeps.sweeps(questions, probes, streams, pool)

        def begin(rows: slice) -> list[Future[dict[str, Array]]]:
            return [pool.submit(sweep.answers, rows) for sweep in running]

        every = _blocks(probes.columns["tick"], order)
        for rows in every[:stand]:
            for passed in begin(slice(rows.stop - 1, rows.stop)):
                passed.result()
        blocks = every[stand:]
        ahead = begin(blocks[0]) if blocks else []
        for place, rows in enumerate(blocks):
            answers = {name: each for future in ahead for name, each in future.result().items()}
            ahead = begin(blocks[place + 1]) if place + 1 < len(blocks) else []
            frame = _evaluate(features, probes, rows, answers, categories)
            yield frame if order is None else frame[np.argsort(order[rows])]


def _blocks(tick: Array, order: Array | None) -> list[slice]:
    """Rows of about a part each, sorted in time, that hold the same probes in their own order."""
    rows = len(tick)
    ends = np.arange(parts.ROWS, rows, parts.ROWS)
    if order is not None:  # cut only where none of those before stands behind one of those after
        closed = np.flatnonzero(np.maximum.accumulate(order)[:-1] == np.arange(rows - 1)) + 1
        ends = np.unique(np.append(closed, rows)[np.searchsorted(closed, ends)])
    cuts = [0, *(int(end) for end in ends if end < rows), rows]
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _categories(features: Sequence[Feature], probes: Moments) -> dict[str, pl.Series]:
    """The texts of each category's column, once for all blocks."""
    columns = {feature.name: feature.expression.meta.root_names() for feature in features}
    return {
        feature.name: pl.Series(
            feature.name, probes.names.get(columns[feature.name][0], []), dtype=pl.String
        ).cast(pl.Categorical)
        for feature in features
        if feature.category
    }


def _evaluate(
    features: Sequence[Feature],
    probes: Moments,
    rows: slice,
    answers: Mapping[str, Array],
    categories: Mapping[str, pl.Series],
) -> pl.DataFrame:
    """The features of some probes, whose questions have been answered."""
    absent = np.full(rows.stop - rows.start, np.nan, np.float32)
    inputs: dict[str, Array] = {}
    for feature in features:
        for name in feature.expression.meta.root_names():
            if name in answers:
                inputs[name] = answers[name]
            else:
                inputs[name] = probes.columns[name][rows] if name in probes.columns else absent
    # all at once: Polars works on several; the outer select, or its comparison would work them out anew
    values = (
        pl.DataFrame(inputs)
        .select(
            feature.expression.cast(pl.Float32).alias(feature.name)
            for feature in features
            if not feature.category
        )
        .select(pl.all().fill_nan(None))
    )
    texts = []
    for feature in features:
        if feature.category:
            codes = pl.Series(inputs[feature.expression.meta.root_names()[0]]).cast(
                pl.Int32, strict=False
            )
            texts.append(categories[feature.name].gather(codes.replace(-1, None)).alias(feature.name))
    return values.with_columns(texts).select(feature.name for feature in features)


def _rows(history: History, target: str) -> pl.DataFrame:
    """The labels (play, target, matures_at) that are known or asked for."""
    labels = pl.read_parquet(history.labels[target], columns=["play", "target", "matures_at"])
    asked = (
        pl.scan_parquet(history.plays)
        .select(asked=pl.col("request_id").is_not_null())
        .with_row_index("play")
        .filter("asked")
        .select(pl.col("play").cast(pl.Int64))
        .collect()["play"]
    )
    return labels.filter(pl.col("target").is_not_null() | pl.col("play").is_in(asked.implode()))


def _load() -> None:
    """Load the compiled sweeps, which takes a second, before they are wanted."""
    from tasks import asof

    asof.dense(np.zeros(1, np.int64))


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
    ours = {"connection_errors", "playback_errors"}  # read by a session of one thread
    with ThreadPoolExecutor(2) as pool:
        made = {name: pool.submit(makers[name]) for name in makers if name in asked - ours}
        read = {name: makers[name]() for name in makers if name in asked & ours}
    return {
        name: read[name] if name in read else made[name].result() for name in makers if name in asked
    }


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
