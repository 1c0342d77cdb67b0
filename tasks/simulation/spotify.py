"""Writes a world as Spotify's exports: one account a folder, all three packages under Spotify's names.

The texts of a record that repeat (a track, a device, a combination of reasons and flags) are encoded
once; a record is then put together from a handful of pieces, whole columns at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.simulation import scene
from tasks.simulation.listeners import PLATFORMS
from tasks.simulation.world import World, frame

ACCOUNT = "Spotify Account Data"
EXTENDED = "Spotify Extended Streaming History"
TECHNICAL = "Spotify Technical Log Information"

_ACCOUNT_RECORDS = 10_000  # of an account file
_ACCOUNT_DAYS = 365
_FILE_BYTES = 12_000_000  # of an extended file, about
_THREADS = 2
_SHOWS = 40
_EPISODES = 200  # of a show

_NO_AUDIOBOOK = "".join(
    f',"audiobook_{key}":null' for key in ("title", "uri", "chapter_uri", "chapter_title")
)
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class _Texts:
    """Encoded pieces of records, by index."""

    extended_track: pl.Series
    account_track: pl.Series
    platform: pl.Series
    outcome: pl.Series  # by ((end * starts + start) * 2 + shuffle) * 2 + offline


def write(world: World, export: Path) -> Facts:
    """Write all accounts beneath ``export``; returns counts of accounts, files, plays and episodes."""
    texts = _Texts(*_tracks(world), *_fixed())
    users = len(world.people.users)
    with ThreadPoolExecutor(_THREADS) as pool:
        files = list(pool.map(lambda user: _account(world, user, texts, export), range(users)))
    episodes = int((world.log.track == scene.EPISODE).sum())
    return {
        "accounts": users,
        "files": sum(files),
        "plays": len(world.log.track) - episodes,
        "episodes": episodes,
        "connection_errors": int(world.log.connection_errors.sum(dtype=np.int64)),
        "playback_errors": int(world.log.playback_errors.sum(dtype=np.int64)),
    }


def truth(world: World, path: Path) -> None:
    """Write the true probability of each play of a track (see ``simulation.write``)."""
    artist = pl.lit(world.music.artists["artist"])
    tracks = world.music.tracks.select(track_name="title", artist_name=artist.gather(pl.col("artist")))
    user = np.repeat(np.arange(len(world.first) - 1), np.diff(world.first)).astype(np.int32)
    log = world.log
    plays = pl.DataFrame(
        {"user": user, "ended": log.ended, "ms_played": log.ms_played, "track": log.track,
         "probability": log.probability}
    ).filter(pl.col("track") >= 0)  # fmt: skip
    plays.lazy().select(
        user_id=pl.lit(world.people.users["user_id"]).gather(pl.col("user")),
        ended_at=pl.col("ended").cast(pl.Datetime("ms", "UTC")),
        ms_played=pl.col("ms_played").cast(pl.Int64),
        track_name=pl.lit(tracks["track_name"]).gather(pl.col("track")),
        artist_name=pl.lit(tracks["artist_name"]).gather(pl.col("track")),
        probability="probability",
    ).collect().write_parquet(path, compression="zstd", row_group_size=262_144)


def _account(world: World, user: int, texts: _Texts, export: Path) -> int:
    """Write one account; returns the number of its files."""
    folder = export / world.people.users["user_id"][user]
    plays = frame(world, int(world.first[user]), int(world.first[user + 1]))
    for package in (ACCOUNT, EXTENDED, TECHNICAL):
        (folder / package).mkdir(parents=True)
    files = _extended(plays, user, world.people.users["country"][user], texts, folder / EXTENDED)
    files += _streaming_history(plays, world.end_ms, texts, folder / ACCOUNT)
    files += _technical_log(plays, user, world, folder / TECHNICAL)
    _dump(_profile(user, world), folder / ACCOUNT / "Userdata.json")
    return files + 1


def _extended(plays: pl.DataFrame, user: int, country: str, texts: _Texts, folder: Path) -> int:
    # 192.0.2.0/24 is kept for documentation (RFC 5737): nobody's address
    place = f',"conn_country":"{country}","ip_addr":"192.0.2.{user % 254 + 1}"'
    outcome = (
        (pl.col("end").cast(pl.Int32) * len(scene.STARTS) + pl.col("start")) * 2 + pl.col("shuffle")
    ) * 2 + pl.col("offline")
    started = (pl.col("ended").dt.epoch("ms") - pl.col("ms_played")) // 1000
    # incognito_mode: a rare habit, fixed by the minute, that nothing else depends on
    incognito = (pl.col("ended").dt.epoch("s") // 7200 * 2_654_435_761 % 1000) < 4
    records = plays.select(
        pl.concat_str(
            pl.lit('{"ts":"'),
            pl.col("ended").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            pl.lit(texts.platform).gather(pl.col("platform")),
            pl.col("ms_played").cast(pl.String),
            pl.lit(place),
            pl.when(pl.col("track") >= 0)
            .then(pl.lit(texts.extended_track).gather(pl.col("track").clip(0)))
            .otherwise(_episode_text(pl.col("ended"))),
            pl.lit(texts.outcome).gather(outcome),
            pl.when("offline").then(started.cast(pl.String)).otherwise(pl.lit("null")),
            pl.lit(',"incognito_mode":'),
            pl.when(incognito).then(pl.lit("true}")).otherwise(pl.lit("false}")),
        ).alias("record"),
        year=pl.col("ended").dt.year(),
    )
    if records.is_empty():
        return 0
    part = records["record"].str.len_bytes().cum_sum() // _FILE_BYTES
    for number, (_, rows) in enumerate(records.group_by(part.alias("part"), maintain_order=True)):
        years = "-".join(str(year) for year in sorted({rows["year"][0], rows["year"][-1]}))
        _array(rows["record"], folder / f"Streaming_History_Audio_{years}_{number}.json")
    return int(part[-1]) + 1


def _streaming_history(plays: pl.DataFrame, end_ms: int, texts: _Texts, folder: Path) -> int:
    """The account package's history: the last year, by the minute."""
    year = plays.filter(pl.col("ended").dt.epoch("ms") > end_ms - _ACCOUNT_DAYS * 86_400_000)
    end = (pl.lit('{"endTime":"'), pl.col("ended").dt.strftime("%Y-%m-%d %H:%M"))
    played = (pl.lit(',"msPlayed":'), pl.col("ms_played").cast(pl.String), pl.lit("}"))
    known = pl.lit(texts.account_track).gather(pl.col("track"))
    music = year.filter(pl.col("track") >= 0).select(pl.concat_str(*end, known, *played))
    show, episode = _episode(pl.col("ended"))
    spoken = (pl.lit('","podcastName":"'), show, pl.lit('","episodeName":"'), episode, pl.lit('"'))
    podcasts = year.filter(pl.col("track") < 0).select(pl.concat_str(*end, *spoken, *played))
    files = 0
    for kind, records in (("music", music.to_series()), ("podcast", podcasts.to_series())):
        for number_of_file, low in enumerate(range(0, max(len(records), 1), _ACCOUNT_RECORDS)):
            path = folder / f"StreamingHistory_{kind}_{number_of_file}.json"
            _array(records.slice(low, _ACCOUNT_RECORDS), path)
            files += 1
    return files


def _technical_log(plays: pl.DataFrame, user: int, world: World, folder: Path) -> int:
    country = world.people.users["country"][user]
    start, length = pl.col("ended").dt.epoch("ms") - pl.col("ms_played"), pl.col("ms_played")
    for kind, message in (("connection", "connection_timeout"), ("playback", "track_unavailable")):
        errors = (
            plays.select(start=start, length=length, count=f"{kind}_errors")
            .filter(pl.col("count") > 0)
            .with_columns(which=pl.int_ranges(0, pl.col("count").cast(pl.Int64)))
            .explode("which")
            # spread over the play, none after its end
            .select(
                at=pl.col("start") + pl.col("length") * (pl.col("which") + 1) // (pl.col("count") + 1)
            )
        )
        moment = pl.col("at").cast(pl.Datetime("ms", "UTC")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        records = errors.select(
            pl.concat_str(
                pl.lit('{"timestamp_utc":"'),
                moment,
                pl.lit('","context_time":'),
                (pl.col("at") // 1000).cast(pl.String),
                pl.lit(f',"context_conn_country":"{country}","message_error":"{message}"}}'),
            )
        ).to_series()
        _array(records, folder / f"{kind.title()}Error.json")
    _dump([_mutation(user, world)], folder / "AccountMutated.json")
    return 3


def _tracks(world: World) -> tuple[pl.Series, pl.Series]:
    artist = pl.lit(world.music.artists["artist"]).gather(pl.col("artist"))

    def text(column: pl.Expr) -> pl.Expr:
        return column.str.replace_all("\\", "\\\\", literal=True).str.replace_all(
            '"', '\\"', literal=True
        )

    both = world.music.tracks.select(
        extended=pl.concat_str(
            pl.lit(',"master_metadata_track_name":"'), text(pl.col("title")),
            pl.lit('","master_metadata_album_artist_name":"'), text(artist),
            pl.lit('","master_metadata_album_album_name":"'), text(pl.col("album")),
            pl.lit('","spotify_track_uri":"'), pl.col("uri"),
            pl.lit('","episode_name":null,"episode_show_name":null,"spotify_episode_uri":null'),
            pl.lit(_NO_AUDIOBOOK),
        ),
        account=pl.concat_str(
            pl.lit('","artistName":"'), text(artist), pl.lit('","trackName":"'), text(pl.col("title")),
            pl.lit('"'),
        ),
    )  # fmt: skip
    return both["extended"], both["account"]


def _fixed() -> tuple[pl.Series, pl.Series]:
    platforms = [f'","platform":{json.dumps(name)},"ms_played":' for name in PLATFORMS]
    outcomes = []
    for end in scene.ENDS:
        # as in real exports, except that a play that was cut off has no verdict
        skipped = (
            "true"
            if end in ("fwdbtn", "endplay", "backbtn")
            else "false"
            if end == "trackdone"
            else "null"
        )
        outcomes += [
            f',"reason_start":"{start}","reason_end":"{end}","shuffle":{shuffle},"skipped":{skipped},'
            f'"offline":{offline},"offline_timestamp":'
            for start in scene.STARTS
            for shuffle in ("false", "true")
            for offline in ("false", "true")
        ]
    return pl.Series(platforms), pl.Series(outcomes)


def _episode(ended: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Names of the show and the episode: any rule does for so few, and the moment is at hand."""
    number = ended.dt.epoch("s") * 2_654_435_761 // 1000 % (_SHOWS * _EPISODES)
    show = pl.concat_str(pl.lit("Evening Talks "), (number % _SHOWS + 1).cast(pl.String))
    return show, pl.concat_str(pl.lit("Episode "), (number // _SHOWS + 1).cast(pl.String))


def _episode_text(ended: pl.Expr) -> pl.Expr:
    show, episode = _episode(ended)
    uri = pl.concat_str(show, episode).str.replace_all(" ", "", literal=True).str.pad_end(22, "0")
    return pl.concat_str(
        pl.lit(',"master_metadata_track_name":null,"master_metadata_album_artist_name":null'),
        pl.lit(',"master_metadata_album_album_name":null,"spotify_track_uri":null,"episode_name":"'),
        episode, pl.lit('","episode_show_name":"'), show,
        pl.lit('","spotify_episode_uri":"spotify:episode:'), uri,
        pl.lit('"' + _NO_AUDIOBOOK),
    )  # fmt: skip


def _profile(user: int, world: World) -> dict[str, Any]:
    """A profile of planted values, made to be searched for where they must not be."""
    number = f"{user + 1:05d}"
    return {
        "username": f"planted-user-{number}",
        "email": f"planted-{number}@example.invalid",
        "country": world.people.users["country"][user],
        "createdFromFacebook": False,
        "facebookUid": None,
        "birthdate": "1901-01-01",
        "gender": None,
        "postalCode": None,
        "mobileNumber": None,
        "mobileOperator": None,
        "mobileBrand": None,
        "creationTime": "2016-04-19",
    }


def _mutation(user: int, world: World) -> dict[str, Any]:
    return {
        "timestamp_utc": datetime.fromtimestamp(world.start_ms / 1000, UTC).strftime(
            "%Y-%m-%dT%H:%M:%S.000Z"
        ),
        "context_time": world.start_ms // 1000,
        "message_country": world.people.users["country"][user],
        "message_email": f"planted-{user + 1:05d}@example.invalid",
        "message_email_verified": True,
        "message_mutated_fields": "email",
        "message_new_user": False,
    }


def _array(records: pl.Series, path: Path) -> None:
    """Write encoded records as a JSON array."""
    text = records.str.join(",").item() if len(records) else ""
    path.write_text(f"[{text}]", encoding="utf-8", newline="")


def _dump(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8", newline="")
