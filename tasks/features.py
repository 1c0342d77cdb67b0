"""Every feature, declared once, as of a moment: the same line serves a play and a probe.

``needs`` says what a moment must bring: ``user``, ``track``, ``pair`` (both) or ``context`` (a
play that is happening). Expressions read the columns of ``sql/features`` and ask the past through
``tasks/aggregates.py``; a feature whose columns a source does not have is left out.
Times are ticks: milliseconds with a clock, rows without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl
from polars import col

from tasks.aggregates import (
    Question,
    count,
    deviation,
    known,
    last,
    last_label,
    longest,
    mean,
    nested_rate,
    rate,
    recent_rate,
    session,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Needs = Literal["user", "track", "pair", "context"]


@dataclass(frozen=True)
class Feature:
    """A column of the feature table: Float32, or Categorical when ``category``."""

    name: str
    needs: Needs
    expression: pl.Expr
    category: bool = False

    @property
    def questions(self) -> list[Question]:
        """What the feature asks about the past."""
        parsed = (Question.parse(name) for name in self.expression.meta.root_names())
        return [question for question in parsed if question is not None]

    @property
    def columns(self) -> set[str]:
        """Columns of the moment that the feature reads, as values or as keys."""
        plain = {name for name in self.expression.meta.root_names() if Question.parse(name) is None}
        for question in self.questions:
            plain |= set(question.by)
            if question.value and question.kind != "session" and question.value != "label":
                plain.add(question.value.split("=")[0])
        return plain


def _share(*by: str, of: tuple[str, ...]) -> pl.Expr:
    """P(the rest of ``by`` | ``of``) among earlier plays, shrunk to 0 by one imagined play."""
    return count(*by) / (count(*of) + 1.0)


def _same(code: str) -> pl.Expr:
    """Whether the user's newest earlier play has the same code; null where either has none."""
    newest = last(code, "user")
    return pl.when(newest.is_not_nan() & (col(code) >= 0)).then((newest == col(code)).cast(pl.Float32))


def _category(name: str) -> Feature:
    return Feature(name, "context", col(name), category=True)


# The moment itself and who and what it is about, whatever the source.
GIVEN = [
    _category("platform"),
    _category("country"),
    _category("reason_start"),
    _category("source_tab"),
    _category("source_screen"),
    _category("source_type"),
    Feature("shuffle", "context", col("shuffle")),
    Feature("offline", "context", col("offline")),
    Feature("track_seconds", "track", col("duration")),
    Feature("track_year", "track", col("year")),
    Feature("track_language", "track", col("language"), category=True),
    Feature("track_genre", "track", col("genre"), category=True),
    Feature("track_isrc_country", "track", col("isrc_country"), category=True),
    Feature("user_country", "user", col("home_country"), category=True),
    Feature("user_city", "user", col("city"), category=True),
    Feature("user_gender", "user", col("gender"), category=True),
    Feature("user_registered_via", "user", col("registered_via"), category=True),
    Feature("user_age", "user", col("age")),
    Feature("user_registered_year", "user", col("registered_year")),
]

# How often: counts of earlier plays.
COUNTS = [
    Feature("user_plays", "user", count("user").log1p()),
    Feature("track_plays", "track", count("track").log1p()),
    Feature("artist_plays", "track", count("artist").log1p()),
    Feature("composer_plays", "track", count("composer").log1p()),
    Feature("genre_plays", "track", count("genre").log1p()),
    Feature("registrant_plays", "track", count("registrant").log1p()),
    Feature("user_artist_plays", "pair", count("user", "artist").log1p()),
    Feature("user_artist_share", "pair", _share("user", "artist", of=("user",))),
    Feature("user_genre_share", "pair", _share("user", "genre", of=("user",))),
    Feature("user_language_share", "pair", _share("user", "language", of=("user",))),
    Feature("user_year_share", "pair", _share("user", "year", of=("user",))),
    Feature("user_seconds_mean", "user", mean("duration", "user")),
    Feature("user_seconds_deviation", "user", deviation("duration", "user")),
    Feature("user_year_mean", "user", mean("year", "user")),
    Feature("user_year_deviation", "user", deviation("year", "user")),
    Feature("previous_same_artist", "context", _same("artist")),
]

# What a clock adds.
CLOCK = [
    Feature("hour", "context", col("hour")),
    Feature("day_of_week", "context", col("day_of_week")),
    Feature("month", "context", col("month")),
    Feature("is_weekend", "context", (col("day_of_week") >= 6).cast(pl.Float32)),
    Feature("user_account_days", "user", col("tick") / DAY - col("registered_day")),
    Feature("session_position", "context", session("position")),
    Feature("session_minutes", "context", session("elapsed") / MINUTE),
    Feature("gap_minutes", "context", (session("gap") / MINUTE).log1p()),
    Feature("previous_same_track", "context", _same("track")),
    Feature("user_plays_hour", "user", count("user", within=HOUR)),
    Feature("user_plays_day", "user", count("user", within=DAY).log1p()),
    Feature("track_plays_month", "track", count("track", within=30 * DAY).log1p()),
    Feature("pair_plays", "pair", count("user", "track").log1p()),
    Feature("pair_plays_day", "pair", count("user", "track", within=DAY)),
    Feature("pair_plays_week", "pair", count("user", "track", within=7 * DAY).log1p()),
    Feature("pair_days", "pair", ((col("tick") - last("tick", "user", "track")) / DAY).log1p()),
    Feature("user_artist_plays_day", "pair", count("user", "artist", within=DAY).log1p()),
    Feature("user_artist_days", "pair", ((col("tick") - last("tick", "user", "artist")) / DAY).log1p()),
    Feature("track_longest", "track", longest("track")),
    Feature("connection_error_count", "context", count("user", "day", stream="connection_errors")),
    Feature("playback_error_count", "context", count("user", "day", stream="playback_errors")),
]

# How it went: shares of earlier plays that were completed, each known from its end.
COMPLETED = [
    Feature("user_completion_rate", "user", rate("completed", "user")),
    Feature("track_completion_rate", "track", rate("completed", "track")),
    Feature("artist_completion_rate", "track", rate("completed", "artist")),
    Feature(
        "pair_completion_rate",
        "pair",
        nested_rate("completed", ("user", "track"), within=("user",), weight=3.0),
    ),
    Feature(
        "user_artist_completion_rate",
        "pair",
        nested_rate("completed", ("user", "artist"), within=("user",), weight=3.0),
    ),
    Feature(
        "user_reason_completion_rate",
        "context",
        nested_rate("completed", ("user", "reason_start"), within=("user",), weight=10.0),
    ),
    Feature(
        "user_hour_completion_rate",
        "context",
        nested_rate("completed", ("user", "hour"), within=("user",), weight=10.0),
    ),
    Feature("pair_last_completed", "pair", last_label("completed", "user", "track")),
    Feature("previous_completed", "user", last_label("completed", "user")),
    Feature("recent_skip_rate_10", "user", 1.0 - recent_rate("completed", 10, "user")),
    Feature("recent_skip_rate_50", "user", 1.0 - recent_rate("completed", 50, "user")),
]

# With what else a listener's repeats go.
_USER_KEYS: list[tuple[str, str, Needs]] = [
    ("source", "source_type", "context"),
    ("screen", "source_screen", "context"),
    ("tab", "source_tab", "context"),
    ("genre", "genre", "pair"),
    ("language", "language", "pair"),
]

# What came of first plays: shares that were repeated, each known once it has matured.
REPEATED = [
    Feature("user_repeat_rate", "user", rate("repeated", "user")),
    Feature("track_repeat_rate", "track", rate("repeated", "track")),
    Feature("artist_repeat_rate", "track", rate("repeated", "artist")),
    Feature("user_labels", "user", known("repeated", "user").log1p()),
    Feature("track_labels", "track", known("repeated", "track").log1p()),
    Feature("composer_repeat_rate", "track", rate("repeated", "composer")),
    Feature("genre_repeat_rate", "track", rate("repeated", "genre")),
    Feature("registrant_repeat_rate", "track", rate("repeated", "registrant")),
    Feature(
        "user_artist_repeat_rate",
        "pair",
        nested_rate("repeated", ("user", "artist"), within=("user",), weight=3.0),
    ),
    *(
        Feature(
            f"user_{short}_repeat_rate",
            needs,
            nested_rate("repeated", ("user", key), within=("user",), weight=3.0),
        )
        for short, key, needs in _USER_KEYS
    ),
    Feature(
        "user_source_recent_repeat_rate", "context", recent_rate("repeated", 5, "user", "source_type")
    ),
    Feature(
        "track_source_repeat_rate",
        "context",
        nested_rate("repeated", ("track", "source_type"), within=("source_type",)),
    ),
    Feature(
        "source_repeat_rate", "context", rate("repeated", "source_tab", "source_screen", "source_type")
    ),
    Feature("source_type_repeat_rate", "context", rate("repeated", "source_type")),
    Feature("source_screen_repeat_rate", "context", rate("repeated", "source_screen")),
    Feature("language_repeat_rate", "track", rate("repeated", "language")),
    Feature("language_source_repeat_rate", "context", rate("repeated", "language", "source_type")),
    Feature("city_age_repeat_rate", "user", rate("repeated", "city", "age")),
    Feature("gender_genre_repeat_rate", "pair", rate("repeated", "gender", "genre")),
    Feature("user_recent_repeat_rate", "user", recent_rate("repeated", 10, "user")),
    Feature("user_last_repeated", "user", last_label("repeated", "user")),
]

# KKBox's source types, in the order of their frequency there.
_SOURCE_TYPES = [
    "local-library", "online-playlist", "local-playlist", "radio", "album", "top-hits-for-artist",
    "song", "song-based-playlist", "listen-with", "topic-article-playlist", "artist",
    "my-daily-playlist",
]  # fmt: skip

_ROW_WINDOWS: list[tuple[str, Needs, tuple[int, ...]]] = [
    ("user", "user", (10, 25, 500, 5_000, 10_000, 50_000)),
    ("track", "track", (500, 5_000, 10_000, 50_000)),
]

# What a source without a clock still tells: the order of rows and how plays were started.
ORDER = [
    Feature("user_source_share", "context", _share("user", "source_type", of=("user",))),
    Feature("user_screen_share", "context", _share("user", "source_screen", of=("user",))),
    Feature("track_source_share", "context", _share("track", "source_type", of=("track",))),
    *(
        Feature(f"user_from_{name.replace('-', '_')}_share", "user", mean(f"source_type={name}", "user"))
        for name in _SOURCE_TYPES
    ),
    *(
        Feature(f"{key}_plays_{rows}", needs, count(key, within=rows))
        for key, needs, sizes in _ROW_WINDOWS
        for rows in sizes
    ),
    Feature("previous_same_source", "context", _same("source_type")),
    Feature("previous_rows", "context", (col("tick") - last("tick", "user")).log1p()),
]  # fmt: skip


def declared(clock: str) -> list[Feature]:
    """All features that may exist for a source with a clock ("time") or without ("order")."""
    return [*GIVEN, *COUNTS, *(CLOCK + COMPLETED if clock == "time" else ORDER), *REPEATED]
