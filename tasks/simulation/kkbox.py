"""Writes a world as the files of the KKBox competition: first plays, and whether they were repeated.

The competition's rows have no clock, only an order; so have these. A row is a listener's first play of
a track after the world's first 60 days; its target is whether that listener played the track again
within 30 days of its start, and rows whose 30 days were not over when the world ended are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import InputError
from tasks.simulation import names, scene
from tasks.simulation.listeners import DAY_MS
from tasks.simulation.world import World

BURN_IN_DAYS = 60
AGAIN_DAYS = 30
TRAIN_SHARE = 0.8

Ints = NDArray[np.int64]

# How a play came up, as the app's places name it: tab, screen, type and how common that is.
_SOURCES: dict[str, tuple[tuple[str | None, str | None, str | None, float], ...]] = {
    "library": (
        ("my library", "Local playlist more", "local-library", 0.95),
        ("my library", "My library", "local-library", 0.045),
        (None, None, None, 0.005),
    ),
    "playlist": (
        ("my library", "Local playlist more", "local-playlist", 0.95),
        ("my library", "My library", "local-playlist", 0.05),
    ),
    "discovery": (
        ("discover", "Online playlist more", "online-playlist", 0.62),
        ("discover", "Discover Chart", "online-playlist", 0.14),
        ("discover", "Discover Feature", "song-based-playlist", 0.1),
        ("discover", "Discover Genre", "online-playlist", 0.05),
        ("discover", None, "online-playlist", 0.05),
        ("explore", "Explore", "online-playlist", 0.04),
    ),
    "radio": (("radio", "Radio", "radio", 1.0),),
    "artist": (
        ("search", "Artist more", "top-hits-for-artist", 0.6),
        ("discover", "Artist more", "top-hits-for-artist", 0.4),
    ),
    "album": (
        ("my library", "Album more", "album", 0.4),
        ("discover", "Album more", "album", 0.3),
        ("search", "Album more", "album", 0.3),
    ),
    "search": (
        ("search", "Search", "song", 0.7),
        ("search", "Search Trends", "song", 0.1),
        ("search", "Online playlist more", "online-playlist", 0.2),
    ),
    "friend": (("listen with", "Others profile more", "listen-with", 1.0),),
}
# Number of a genre, in the order of catalogue.GENRES; language: share of the artists, ISRC country
_GENRE_IDS = (
    465, 1609, 1616, 2130, 2122, 451, 458, 437, 430, 423, 1259, 1180, 352, 1955, 2022, 726, 139, 921,
    1138, 388, 1572, 2116, 444, 691,
)  # fmt: skip
_LANGUAGES = {
    "52": (0.42, "US"), "-1": (0.19, "GB"), "3": (0.19, "TW"), "17": (0.08, "JP"), "31": (0.06, "KR"),
    "24": (0.03, "HK"), "10": (0.03, "CN"),
}  # fmt: skip
_LAST_YEAR = 2017  # an ISRC of a later year would be read as of the 1900s
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def first_plays(world: World) -> pl.DataFrame:
    """The rows of the competition in their order: user, track (indices), origin, target (Int64).

    Raises ``InputError`` when the world is too short to have any.
    """
    days = (world.end_ms - world.start_ms) // DAY_MS
    if days <= BURN_IN_DAYS + AGAIN_DAYS:
        raise InputError(
            "the simulated world is too short for the kkbox format",
            place="simulation.days",
            found=days,
            expected=f"more than {BURN_IN_DAYS + AGAIN_DAYS}",
            do="raise it",
        )
    log = world.log
    user = np.repeat(np.arange(len(world.first) - 1), np.diff(world.first))
    started = log.ended - log.ms_played
    pair = user * len(world.music.tracks) + log.track
    order = np.argsort(pair, kind="stable")  # within a pair, in time
    order = order[log.track[order] >= 0]
    pair = pair[order]
    is_first = np.diff(pair, prepend=-1) != 0
    at = started[order]
    soon = np.append(np.diff(at) < AGAIN_DAYS * DAY_MS, False)
    again = np.append(~is_first[1:], False) & soon
    in_time = (at >= world.start_ms + BURN_IN_DAYS * DAY_MS) & (at <= world.end_ms - AGAIN_DAYS * DAY_MS)
    chosen = order[is_first & in_time]
    return (
        pl.DataFrame(
            {
                "at": started[chosen],
                "user": user[chosen],
                "track": log.track[chosen],
                "origin": log.origin[chosen],
                "target": again[is_first & in_time].astype(np.int64),
            }
        )
        .sort("at", "user", maintain_order=True)
        .drop("at")
    )


def write(world: World, export: Path) -> Mapping[str, Any]:
    """Write the five files; returns counts of their rows."""
    random = np.random.default_rng([world.seed, 4])
    rows = first_plays(world)
    members = names.codes(np.arange(len(world.people.users)), _BASE64, 43, 2) + "="
    songs = names.codes(np.arange(len(world.music.tracks)), _BASE64, 43, 3) + "="
    plays = rows.select(
        pl.lit(members).gather(pl.col("user")).alias("msno"),
        pl.lit(songs).gather(pl.col("track")).alias("song_id"),
        *_sources(rows["origin"].to_numpy(), random),
        pl.col("target"),
    )
    cut = int(len(plays) * TRAIN_SHARE)
    train, test = plays[:cut], plays[cut:].drop("target").with_row_index("id")
    tables = {
        "train": train,
        "test": test,
        "members": _members(members, random),
        **_songs(world, songs, random),
    }
    for name, table in tables.items():
        table.write_csv(export / f"{name}.csv")
    return {name: len(table) for name, table in tables.items()}


def truth(world: World, path: Path) -> None:
    """Write the targets of test.csv: id, target (Int64)."""
    target = first_plays(world).select("target")
    test = target[int(len(target) * TRAIN_SHARE) :].with_row_index("id")
    test.select(pl.col("id").cast(pl.Int64), "target").write_parquet(path)


def _sources(origin: Ints, random: np.random.Generator) -> list[pl.Series]:
    """source_system_tab, source_screen_name and source_type of each row."""
    ways = [(number, *way) for number, name in enumerate(scene.ORIGINS) for way in _SOURCES[name]]
    of_origin = np.array([way[0] for way in ways])
    cumulative = np.cumsum([way[4] for way in ways])  # grows by 1 with each origin
    way = np.searchsorted(cumulative, origin + random.uniform(0.0, 0.999999, len(origin)))
    way = np.clip(
        way, np.searchsorted(of_origin, origin), np.searchsorted(of_origin, origin, side="right") - 1
    )
    columns = ("source_system_tab", "source_screen_name", "source_type")
    return [
        pl.Series([w[place] for w in ways], dtype=pl.String).gather(way).alias(name)
        for place, name in enumerate(columns, start=1)
    ]


def _members(ids: pl.Series, random: np.random.Generator) -> pl.DataFrame:
    """Members as careless as the real ones: most without an age or a gender, some with an absurd age."""
    n = len(ids)
    age = np.clip(random.normal(29, 9, n), 14, 74).astype(np.int64)
    age = np.where(random.random(n) < 0.58, 0, age)
    absurd = random.choice([-43, 105, 131, 931, 1030, 1051], n)
    age = np.where(random.random(n) < 0.01, absurd, age)
    gender = random.choice(3, n, p=[0.58, 0.215, 0.205])
    registered = random.integers(0, 4_700, n)
    left = random.integers(1, 1_300, n)
    return pl.DataFrame(
        {
            "msno": ids,
            "city": random.choice([1, 13, 5, 4, 15, 22, 6, 14], n, p=[0.57, 0.1, 0.08, *[0.05] * 5]),
            "bd": age,
            "gender": pl.Series([None, "male", "female"]).gather(gender),
            "registered_via": random.choice([4, 7, 9, 3, 13], n, p=[0.33, 0.28, 0.25, 0.138, 0.002]),
            "registration_init_time": _dates(registered, datetime(2004, 3, 26, tzinfo=UTC)),
            "expiration_date": _dates(left, datetime(2017, 1, 1, tzinfo=UTC)),
        }
    )  # fmt: skip


def _songs(world: World, ids: pl.Series, random: np.random.Generator) -> dict[str, pl.DataFrame]:
    tracks, artists = world.music.tracks, world.music.artists
    n, artist = len(tracks), tracks["artist"].to_numpy()
    language = random.choice(
        len(_LANGUAGES), len(artists), p=[share for share, _ in _LANGUAGES.values()]
    )
    genre = pl.Series([str(number) for number in _GENRE_IDS]).gather(artists["genre"].gather(artist))
    other = pl.Series([str(number) for number in _GENRE_IDS]).gather(
        random.integers(0, len(_GENRE_IDS), n)
    )
    writers = names.artists(np.arange(len(artists)) + 40_000)
    first, second = (
        writers.gather(artist),
        writers.gather((artist * 7 + tracks["year"].to_numpy()) % len(artists)),
    )
    draw = pl.DataFrame({name: random.random(n) for name in ("genre", "composer", "lyricist", "isrc")})
    frame = draw.select(
        song_id=ids,
        song_length=tracks["duration_ms"],
        genre_ids=pl.when(pl.col("genre") < 0.018)
        .then(None)
        .when((pl.col("genre") < 0.084) & (genre != other))
        .then(genre + "|" + other)
        .otherwise(genre),
        artist_name=artists["artist"].gather(artist),
        composer=pl.when(pl.col("composer") < 0.42)
        .then(None)
        .when((pl.col("composer") < 0.55) & (first != second))
        .then(first + "|  " + second)
        .otherwise(first),
        lyricist=pl.when(pl.col("lyricist") < 0.73).then(None).otherwise(second),
        language=pl.Series(list(_LANGUAGES)).gather(language[artist]),
    )
    year = np.minimum(tracks["year"].to_numpy(), _LAST_YEAR) % 100
    isrc = draw.select(
        song_id=ids,
        name=tracks["title"],
        isrc=pl.when(pl.col("isrc") < 0.13)
        .then(None)
        .otherwise(
            pl.concat_str(
                pl.Series([country for _, country in _LANGUAGES.values()]).gather(language[artist]),
                names.codes(artist % 997, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 3, 4),
                pl.Series(year).cast(pl.String).str.zfill(2),
                pl.Series(np.arange(n) % 100_000).cast(pl.String).str.zfill(5),
            )
        ),
    )
    # a few songs that the catalogue does not know
    return {
        "songs": frame.filter(draw["genre"] < 0.998),
        "song_extra_info": isrc.filter(draw["genre"] < 0.997),
    }


def _dates(days: Ints, since: datetime) -> pl.Series:
    """yyyymmdd integers, ``days`` after ``since``."""
    most = int(days.max(initial=0)) + 1
    calendar = [int((since + timedelta(days=day)).strftime("%Y%m%d")) for day in range(most)]
    return pl.Series(calendar).gather(days)
