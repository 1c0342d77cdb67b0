"""Every table's contract: grain, key, types and ranges, checked by pandera at each border.

Times are UTC with millisecond resolution. Windows are half-open. A column that a source does not
have is there and null, so that every source has the same shape.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pandera.polars as pa
import polars as pl
from pandera.engines.polars_engine import DateTime

EPOCH = datetime(2005, 1, 1, tzinfo=UTC)  # no listening service logged plays before
LONGEST_PLAY_MS = 24 * 3600 * 1000  # a play of more than a day is a fault of the log

# What a service measures of a recording, in the order of the table `audio`.
AUDIO = (
    "danceability", "energy", "key", "loudness", "mode", "speechiness", "acousticness",
    "instrumentalness", "liveness", "valence", "tempo", "time_signature",
)  # fmt: skip

# Columns of a play that its end reveals. No feature of the same play may touch them.
OUTCOMES = ("ended_at", "ms_played", "reason_end", "skipped", "repeated")


class _Table(pa.DataFrameModel):
    class Config:
        strict = True
        coerce = False


class Plays(_Table):
    """One listen. Key: (user_id, seq). Sorted by (started_at, user_id, seq), or by seq alone.

    Sources with a clock fill ``started_at`` and ``ended_at``; ``seq`` counts each user's plays
    from 0 in time order. Where a source measures no lengths, ``ms_played`` is null and a play ends
    as it starts; of resolution "day" only the date (UTC) is known. Sources without a clock
    (resolution "order") leave both null and ``seq`` is the row's number in the whole log.
    ``repeated`` is a label the source itself gives. A row with a ``request_id`` is a play whose
    outcome the source withholds: it asks for a prediction.
    ``file`` and ``position`` (0-based record) lead back to the raw record.
    """

    user_id: str
    seq: pl.Int64 = pa.Field(ge=0)
    track_id: str
    started_at: DateTime(time_zone="UTC", time_unit="ms") = pa.Field(nullable=True, ge=EPOCH)  # type: ignore[valid-type]
    ended_at: DateTime(time_zone="UTC", time_unit="ms") = pa.Field(nullable=True, ge=EPOCH)  # type: ignore[valid-type]
    resolution: str = pa.Field(isin=["second", "minute", "day", "order"])
    # context: known when the play starts
    platform: str = pa.Field(nullable=True)
    country: str = pa.Field(nullable=True)
    reason_start: str = pa.Field(nullable=True)
    shuffle: pl.Boolean = pa.Field(nullable=True)
    offline: pl.Boolean = pa.Field(nullable=True)
    source_tab: str = pa.Field(nullable=True)
    source_screen: str = pa.Field(nullable=True)
    source_type: str = pa.Field(nullable=True)
    # outcomes: known when it has ended (``repeated``: when its 30 days are over)
    ms_played: pl.Int64 = pa.Field(nullable=True, ge=0, le=LONGEST_PLAY_MS)
    reason_end: str = pa.Field(nullable=True)
    skipped: pl.Boolean = pa.Field(nullable=True)
    repeated: pl.Boolean = pa.Field(nullable=True)
    # lineage
    request_id: str = pa.Field(nullable=True)
    file: str
    position: pl.Int64 = pa.Field(ge=0)


class Tracks(_Table):
    """One track: what a catalogue says of it. Key: track_id."""

    track_id: str = pa.Field(unique=True)
    name: str = pa.Field(nullable=True)
    artist: str = pa.Field(nullable=True)  # as displayed; the first of ``artists``' group
    album: str = pa.Field(nullable=True)
    uri: str = pa.Field(nullable=True)
    duration_ms: pl.Int64 = pa.Field(nullable=True, ge=0)
    language: str = pa.Field(nullable=True)
    year: pl.Int64 = pa.Field(nullable=True, ge=1900, le=2100)
    isrc_country: str = pa.Field(nullable=True)
    isrc_registrant: str = pa.Field(nullable=True)
    artists: pl.List(pl.String) = pa.Field(nullable=True)  # type: ignore[valid-type]
    genres: pl.List(pl.String) = pa.Field(nullable=True)  # type: ignore[valid-type]
    composers: pl.List(pl.String) = pa.Field(nullable=True)  # type: ignore[valid-type]
    lyricists: pl.List(pl.String) = pa.Field(nullable=True)  # type: ignore[valid-type]


class Users(_Table):
    """One listener. Key: user_id. Nothing that identifies a person beyond the id itself."""

    user_id: str = pa.Field(unique=True)
    city: str = pa.Field(nullable=True)
    country: str = pa.Field(nullable=True)
    age: pl.Int64 = pa.Field(nullable=True, gt=0, lt=75)
    gender: str = pa.Field(nullable=True)
    registered_via: str = pa.Field(nullable=True)
    registered_at: pl.Date = pa.Field(nullable=True)
    expires_at: pl.Date = pa.Field(nullable=True)


class Errors(_Table):
    """One connection or playback error at its moment. No key: the log may repeat itself."""

    user_id: str
    at: DateTime(time_zone="UTC", time_unit="ms") = pa.Field(ge=EPOCH)  # type: ignore[valid-type]
    kind: str = pa.Field(isin=["connection", "playback"])
    file: str
    position: pl.Int64 = pa.Field(ge=0)


class Tags(_Table):
    """One tag that one listener gave to a track, at its moment. No key: it may be given again.

    There only where a source dates its tags.
    """

    user_id: str
    track_id: str
    tag: str
    tagged_at: DateTime(time_zone="UTC", time_unit="ms") = pa.Field(ge=EPOCH)  # type: ignore[valid-type]
    file: str
    position: pl.Int64 = pa.Field(ge=0)


class Quarantine(_Table):
    """One refused raw record: where it lies, which column was at fault and why. No raw values."""

    table: str
    file: str
    position: pl.Int64 = pa.Field(ge=0)
    column: str
    reason: str


class Labels(_Table):
    """One row of a target. Key: (user_id, seq), and ``play``, the row's place in plays.parquet.

    ``matures_at`` is the tick (milliseconds since 1970, or row number without a clock) from which
    the label may be used by others; ``target`` is null where it cannot be known.
    """

    play: pl.Int64 = pa.Field(ge=0)
    user_id: str
    seq: pl.Int64 = pa.Field(ge=0)
    target: pl.Boolean = pa.Field(nullable=True)
    matures_at: pl.Int64


class _Audio(_Table):
    """What is measured of a recording; null where nothing is known. Key as pitch class, -1 for none;
    loudness in dB, tempo in beats a minute, the rest as shares or counts.
    """

    danceability: float = pa.Field(nullable=True, ge=0, le=1)
    energy: float = pa.Field(nullable=True, ge=0, le=1)
    key: float = pa.Field(nullable=True, ge=-1, le=11)
    loudness: float = pa.Field(nullable=True, ge=-70, le=10)
    mode: float = pa.Field(nullable=True, ge=0, le=1)
    speechiness: float = pa.Field(nullable=True, ge=0, le=1)
    acousticness: float = pa.Field(nullable=True, ge=0, le=1)
    instrumentalness: float = pa.Field(nullable=True, ge=0, le=1)
    liveness: float = pa.Field(nullable=True, ge=0, le=1)
    valence: float = pa.Field(nullable=True, ge=0, le=1)
    tempo: float = pa.Field(nullable=True, ge=0, le=300)
    time_signature: float = pa.Field(nullable=True, ge=0, le=16)


class Audio(_Audio):
    """One track of the catalogue, heard or not. Key: track_id. There only with a catalogue.

    ``duration_ms`` is the catalogue's: that of ``Tracks`` stays the source's, as labels rest on it.
    """

    track_id: str = pa.Field(unique=True)
    duration_ms: pl.Int64 = pa.Field(nullable=True, ge=1, le=LONGEST_PLAY_MS)


class Catalogue(_Audio):
    """One record of a catalogue's file: a recording. No key: a track may be there often."""

    title: str
    artist: str
    album: str = pa.Field(nullable=True)
    uri: str = pa.Field(nullable=True)
    duration_ms: pl.Int64 = pa.Field(nullable=True, ge=1, le=LONGEST_PLAY_MS)
    year: pl.Int64 = pa.Field(nullable=True, ge=1900, le=2100)
    genres: pl.List(pl.String) = pa.Field(nullable=True)  # type: ignore[valid-type]
    file: str
    position: pl.Int64 = pa.Field(ge=0)


class Artists(_Table):
    """One record of a catalogue's file of artists: what they play."""

    artist: str
    genres: pl.List(pl.String) = pa.Field(nullable=True)  # type: ignore[valid-type]
    file: str
    position: pl.Int64 = pa.Field(ge=0)


class Scored(_Table):
    """One holdout play with its probability: the columns of scored_samples.csv."""

    started_at: DateTime(time_zone="UTC", time_unit="ms") = pa.Field(nullable=True)  # type: ignore[valid-type]
    user_id: str
    track_id: str
    target: pl.Boolean
    predicted_probability: float = pa.Field(ge=0, le=1)


SOURCE_TABLES: dict[str, type[pa.DataFrameModel]] = {
    "plays": Plays,
    "tracks": Tracks,
    "users": Users,
    "errors": Errors,
}

# What only some sources have.
OTHER_TABLES: dict[str, type[pa.DataFrameModel]] = {"tags": Tags}

# What a catalogue's files hold; validated as those are, then merged into tracks and audio.
CATALOGUE_TABLES: dict[str, type[pa.DataFrameModel]] = {"catalogue": Catalogue, "artists": Artists}


def columns(table: type[pa.DataFrameModel]) -> dict[str, pl.DataType]:
    """Column names and Polars dtypes of a table, in order: the schema an empty frame needs."""
    schema = table.to_schema()
    return {name: column.dtype.type for name, column in schema.columns.items()}
