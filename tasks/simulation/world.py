"""The world as it happened: every play with its true probability, before any export is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, time

import numpy as np
import polars as pl

from schemas.config import Simulation
from tasks.simulation import catalogue, kernel, listeners
from tasks.simulation.catalogue import GENRES, Catalogue
from tasks.simulation.listeners import DAY_MS, Listeners

_THREADS = 2
_BATCH = 16  # listeners a thread takes at a time


@dataclass(frozen=True)
class World:
    """``log`` has a row per play, listener by listener in time order; those of listener ``u`` are
    ``first[u] : first[u + 1]``. ``track`` is a row of ``music.tracks``, or -1 for a podcast's episode;
    ``start``, ``end``, ``origin`` and ``platform`` count into the lists of ``kernel`` and ``listeners``.
    """

    music: Catalogue
    people: Listeners
    log: kernel.Log
    first: catalogue.Ints
    start_ms: int
    end_ms: int
    seed: int


def simulate(settings: Simulation) -> World:
    """The world of these settings; equal settings give an equal world.

    Raises ``InputError`` when the plays do not fit into the days.
    """
    start = datetime.combine(settings.start, time(), UTC)
    start_ms = int(start.timestamp()) * 1000
    music = catalogue.make(settings.tracks, settings.start.year, settings.seed)
    genre = music.artists["genre"].to_numpy()
    exists = np.bincount(genre, minlength=len(GENRES)) > 0
    people = listeners.make(settings, exists, start_ms)
    first = np.concatenate([[0], np.cumsum(people.users["plays"].to_numpy())])
    log = _empty(int(first[-1]))
    arguments = (_music(music), _people(people, first, settings.seed), log, settings.days, start_ms,
                 settings.start.weekday())  # fmt: skip
    lows = range(0, settings.users, _BATCH)
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda low: kernel.listen(low, min(low + _BATCH, settings.users), *arguments), lows))
    # plays that would have ended after the last day did not happen
    happened = log.ended > 0
    kept = np.concatenate([[0], np.cumsum(happened)])[first]
    log = kernel.Log(*(column[happened] for column in log))
    return World(music, people, log, kept, start_ms, start_ms + settings.days * DAY_MS, settings.seed)


def _empty(plays: int) -> kernel.Log:
    def column(dtype: type) -> kernel.Array:
        return np.zeros(plays, dtype)

    return kernel.Log(
        ended=column(np.int64),
        ms_played=column(np.int32),
        track=column(np.int32),
        probability=column(np.float64),
        start=column(np.int8),
        end=column(np.int8),
        platform=column(np.int8),
        shuffle=column(np.bool_),
        offline=column(np.bool_),
        origin=column(np.int8),
        connection_errors=column(np.int8),
        playback_errors=column(np.int8),
    )


def _music(music: Catalogue) -> kernel.Music:
    genre = np.array(music.artists["genre"])
    popularity = music.artists["popularity"].to_numpy()
    by_genre = np.argsort(genre, kind="stable")
    genre_first = np.searchsorted(genre[by_genre], np.arange(len(GENRES) + 1))
    cumulative = np.zeros(len(genre))
    for low, high in zip(genre_first[:-1], genre_first[1:], strict=True):
        share = np.cumsum(popularity[by_genre[low:high]])
        cumulative[low:high] = share / share[-1] if high > low else share
    artist = np.array(music.tracks["artist"])
    quality = music.tracks["quality"].to_numpy() + music.artists["quality"].to_numpy()[artist]
    return kernel.Music(
        music.first, music.size, artist, np.array(music.tracks["duration_ms"]), quality, music.shape,
        genre, genre_first, by_genre, cumulative,
    )  # fmt: skip


def _people(people: Listeners, first: catalogue.Ints, seed: int) -> kernel.People:
    users = people.users
    scalars = users.select("patience", "curiosity", "shuffles", "binges", "podcasts", "offline")
    return kernel.People(
        seed=np.random.SeedSequence([seed, 3]).generate_state(len(users)).astype(np.int64),
        first_play=first[:-1],
        plays=np.array(users["plays"]),
        offset=np.array(users["offset_ms"]),
        scalars=np.array(scalars, order="C"),
        hours=people.hours,
        weekdays=people.weekdays,
        genres=people.genres,
        liking=people.liking,
        tastes=people.tastes,
        devices=people.devices,
        outage_first=people.outage_first,
        outages=people.outages,
    )


def frame(world: World, low: int, high: int) -> pl.DataFrame:
    """Rows ``low : high`` of the log as a frame, ``ended`` in UTC milliseconds."""
    return pl.DataFrame({name: column[low:high] for name, column in world.log._asdict().items()}).with_columns(
        pl.col("ended").cast(pl.Datetime("ms", "UTC"))
    )
