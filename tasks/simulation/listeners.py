"""The world's listeners: who they are, when they listen, what they like, when their lines fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.config import Simulation
from schemas.errors import InputError
from tasks.simulation.catalogue import GENRES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_PLAYS_A_DAY = 250
DAY_MS = 86_400_000

# Country: share of the listeners, hours ahead of UTC (standard time all year).
COUNTRIES: dict[str, tuple[float, int]] = {
    "AT": (0.30, 1), "DE": (0.30, 1), "SE": (0.08, 1), "GB": (0.10, 0), "US": (0.10, -6),
    "BR": (0.07, -3), "JP": (0.05, 9),
}  # fmt: skip

# Device: kind (0 mobile, 1 desktop, 2 speaker), then how common it is; the strings are those of real
# exports, old style and new.
PLATFORMS: dict[str, tuple[int, float]] = {
    "android": (0, 0.28), "ios": (0, 0.30), "Android OS 12 API 31 (samsung, SM-G991B)": (0, 0.16),
    "iOS 15.4.1 (iPhone13,2)": (0, 0.16), "Android OS 10 API 29 (HUAWEI, ELE-L29)": (0, 0.10),
    "windows": (1, 0.26), "osx": (1, 0.20), "Windows 10 (10.0.19044; x64; AppX)": (1, 0.20),
    "OS X 12.3.1 [arm 2]": (1, 0.14), "web_player": (1, 0.10), "linux": (1, 0.04),
    "web_player windows 10;chrome 100.0.4896.75;desktop": (1, 0.06),
    "cast": (2, 0.50), "Partner google cast_tv;Chromecast;;tpapi": (2, 0.30),
    "Partner sonos_ppc Sonos;One": (2, 0.20),
}  # fmt: skip

# Share of session starts per local hour and per weekday (Monday first), after a real export whose
# listener lived in central Europe (there shown in UTC).
_HOURS = np.array(
    [6, 3, 2, 1, 1, 3, 10, 38, 68, 68, 62, 54, 60, 64, 58, 56, 64, 76, 66, 66, 56, 40, 26, 14], float
)
_WEEKDAYS = np.array([0.166, 0.153, 0.156, 0.151, 0.143, 0.123, 0.109])


@dataclass(frozen=True)
class Listeners:
    """``users``, one row each: user_id, country, plays (how many they will have), and the scalars that
    the kernel reads. The arrays have one row per user.

    ``hours`` (users, 24) and ``weekdays`` (users, 7) cumulative shares; ``genres`` (users, GENRES)
    cumulative share of new music by genre; ``liking`` (users, GENRES) logit by genre; ``tastes``
    (users, 4) weights of a track's shape; ``devices`` (users, 3) index into PLATFORMS by kind.
    Outages of user ``u`` are ``outage_first[u] : outage_first[u + 1]``: start, end (ms), severity.
    """

    users: pl.DataFrame
    hours: Floats
    weekdays: Floats
    genres: Floats
    liking: Floats
    tastes: Floats
    devices: Ints
    outage_first: Ints
    outages: Floats


def make(settings: Simulation, genre_exists: NDArray[np.bool_], start_ms: int) -> Listeners:
    """All listeners of the world.

    Raises ``InputError`` when nobody could hear that many plays in that many days.
    """
    if settings.plays > MOST_PLAYS_A_DAY * 0.8 * settings.users * settings.days:
        raise InputError(
            "too many plays for the listeners and days of the simulated world",
            place="simulation.plays",
            found=settings.plays,
            expected=f"at most {int(MOST_PLAYS_A_DAY * 0.8 * settings.users * settings.days)}",
            do="raise simulation.users or simulation.days",
        )
    random = np.random.default_rng([settings.seed, 2])
    n = settings.users
    country = random.choice(len(COUNTRIES), n, p=np.array([share for share, _ in COUNTRIES.values()]))
    offset = np.array([hours for _, hours in COUNTRIES.values()])[country]
    users = pl.DataFrame(
        {
            "user_id": "listener-" + pl.Series(np.arange(1, n + 1)).cast(pl.String).str.zfill(5),
            "country": pl.Series(list(COUNTRIES)).gather(country),
            "plays": _plays(settings, random),
            "offset_ms": offset * 3_600_000,
            "patience": random.normal(0, 0.45, n),
            "curiosity": np.clip(random.lognormal(np.log(0.07), 0.4, n), 0.02, 0.3),
            "shuffles": random.beta(1.5, 1.5, n),
            "binges": np.clip(random.lognormal(np.log(0.035), 0.5, n), 0.0, 0.15),
            "podcasts": np.clip(random.exponential(0.15, n) - 0.05, 0.0, 0.6),
            "offline": np.clip(random.exponential(0.06, n) - 0.02, 0.0, 0.5),
        }
    )
    hours = _hours(offset, random)
    weekdays = _WEEKDAYS * random.lognormal(0, 0.15, (n, 7))
    share = random.gamma(0.5, 1, (n, len(GENRES))) + 0.004
    share = np.where(genre_exists, share, 0.0)
    share /= share.sum(axis=1, keepdims=True)
    liking = 0.16 * np.log(np.maximum(share, 1e-4) * len(GENRES)) + random.normal(0, 0.2, share.shape)
    devices = np.stack([_devices(kind, n, random) for kind in range(3)], axis=1)
    outage_first, outages = _outages(settings, country, start_ms, random)
    return Listeners(
        users=users,
        hours=np.cumsum(hours, axis=1) / hours.sum(axis=1, keepdims=True),
        weekdays=weekdays / weekdays.mean(axis=1, keepdims=True),
        genres=np.cumsum(share, axis=1),
        liking=liking,
        tastes=random.normal(0, 0.2, (n, 4)),
        devices=devices,
        outage_first=outage_first,
        outages=outages,
    )


def _plays(settings: Simulation, random: np.random.Generator) -> Ints:
    """Plays per user: lognormal, none beyond what fits into the days, ``settings.plays`` in all."""
    weight = random.lognormal(0, 0.5, settings.users)
    most = MOST_PLAYS_A_DAY * settings.days / settings.plays
    for _ in range(50):  # what is cut from the busiest goes to the others
        weight = np.minimum(weight / weight.sum(), most)
    ends = np.round(np.cumsum(weight / weight.sum()) * settings.plays).astype(np.int64)
    return np.diff(ends, prepend=0)


def _hours(offset: Ints, random: np.random.Generator) -> Floats:
    """Session starts by UTC hour: the common profile, an hour or two early or late, with own habits."""
    shift = np.round(random.normal(0, 0.8, len(offset))).astype(np.int64)
    local = (np.arange(24) + offset[:, None] - shift[:, None]) % 24
    habit = np.repeat(random.lognormal(0, 0.35, (len(offset), 8)), 3, axis=1)
    starts: Floats = _HOURS[local] * habit
    return starts


def _devices(kind: int, n: int, random: np.random.Generator) -> Ints:
    weight = np.array([common if k == kind else 0.0 for k, common in PLATFORMS.values()])
    return random.choice(len(weight), n, p=weight / weight.sum())


def _outages(
    settings: Simulation, country: Ints, start_ms: int, random: np.random.Generator
) -> tuple[Ints, Floats]:
    """Outages of a country hit all its users, flaky spells are a user's own; by start within a user."""
    pieces: list[Floats] = []
    by_country = [_spells(settings.days / 16, settings.days, (0.5, 10), random) for _ in COUNTRIES]
    for user in range(settings.users):
        own = _spells(settings.days / 50, settings.days, (6, 72), random)
        own[:, 2] *= 0.8
        both = np.concatenate([by_country[country[user]], own])
        pieces.append(both[np.argsort(both[:, 0], kind="stable")])
    outages = np.concatenate(pieces)
    outages[:, :2] += start_ms
    return np.cumsum([0, *(len(piece) for piece in pieces)]), outages


def _spells(
    expected: float, days: int, hours: tuple[float, float], random: np.random.Generator
) -> Floats:
    count = random.poisson(expected)
    start = random.uniform(0, days * DAY_MS, count)
    length = np.exp(random.uniform(np.log(hours[0]), np.log(hours[1]), count)) * 3_600_000
    return np.stack([start, start + length, random.uniform(0.3, 1.0, count)], axis=1)
