"""Lists as files that players and importers of playlists take: one .m3u8 and one .csv a listener."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import polars as pl

FOLDER = "playlists"
NAMED = re.compile(r"[A-Za-z0-9_-]*-[0-9a-f]{16}\.(m3u8|csv)")  # what `name` gives, with an ending
SHOWN = 40  # letters of an id that its files are named after
BREAKS = r"[\p{Cc}\p{Z}]+"  # of lines, and all other white space
# Of Exportify's columns (README of watsonbox/exportify) those that are known here; importers find
# theirs by these names.
CSV = {
    "uri": "Track URI", "name": "Track Name", "artist": "Artist Name(s)", "album": "Album Name",
    "duration_ms": "Track Duration (ms)",
}  # fmt: skip


def write(lists: Path, tracks: Path, audio: Path | None, most: int, folder: Path) -> list[str]:
    """Write the first ``most`` listeners' lists into ``folder``/playlists; return the files' names.

    ``lists`` is the table of recommendations, ``tracks`` and ``audio`` (None without a catalogue)
    tell albums and lengths. Only tracks with a URI are in a playlist, and who has none gets no files.
    The .m3u8 is UTF-8 (RFC 8216's reason for the ending) in the extended form: #EXTINF with the
    length in seconds, -1 where it is not known, artist and title, then the URI.
    """
    from tasks.report.files import write_text  # loads what draws figures

    listed = _listed(lists, tracks, audio)
    users = listed["user_id"].unique(maintain_order=True).head(most)
    chosen = listed.filter(pl.col("user_id").is_in(users.implode()))
    written = []
    for rows in chosen.partition_by("user_id", maintain_order=True):
        stem = name(rows["user_id"][0])
        lines = rows.select(
            pl.format(
                "#EXTINF:{},{}\n{}\n",
                (pl.col("duration_ms") / 1000).round().cast(pl.Int64).fill_null(-1),
                pl.concat_str("artist", "name", separator=" - ", ignore_nulls=True),
                "uri",
            )
        ).to_series()
        write_text(folder / FOLDER / f"{stem}.m3u8", "#EXTM3U\n" + lines.str.join().item())
        table = rows.select(pl.col(column).alias(shown) for column, shown in CSV.items())
        write_text(folder / FOLDER / f"{stem}.csv", table.write_csv())
        written += [f"{stem}.m3u8", f"{stem}.csv"]
    return written


def there(folder: Path) -> list[Path]:
    """The playlists in ``folder``/playlists; other files there are the person's own."""
    return [path for path in (folder / FOLDER).glob("*") if NAMED.fullmatch(path.name)]


def name(user_id: str) -> str:
    """A file name for any id: what of it is plain, and a hash, which tells distinct ids apart."""
    told = hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', user_id)[:SHOWN].strip('-')}-{told}"


def _listed(lists: Path, tracks: Path, audio: Path | None) -> pl.DataFrame:
    """Rows with a URI in the lists' order, in the columns of CSV, each text on one line."""
    found = pl.read_parquet(lists, columns=["user_id", "rank", "track_id", "name", "artist", "uri"])
    lengths = pl.scan_parquet(tracks).select("track_id", "album", "duration_ms")
    of_catalogue = pl.LazyFrame(schema={"track_id": pl.String, "length": pl.Int64})
    if audio is not None:
        of_catalogue = pl.scan_parquet(audio).select("track_id", length="duration_ms")
    described = (
        lengths.filter(pl.col("track_id").is_in(found["track_id"].unique().implode()))
        .join(of_catalogue, on="track_id", how="left")
        .with_columns(pl.coalesce("duration_ms", "length").alias("duration_ms"))
        .collect()
    )
    return (
        found.join(described, on="track_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("name", "artist", "album").str.replace_all(BREAKS, " ").str.strip_chars(),
            pl.col("uri").str.replace_all(BREAKS, ""),
        )
        .with_columns(pl.col("name").fill_null(pl.col("track_id")))
        # a line that begins so would be a comment
        .filter(pl.col("uri").str.len_bytes() > 0, ~pl.col("uri").str.starts_with("#"))
        .select("user_id", *CSV)
    )
