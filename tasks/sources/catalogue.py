"""Catalogues: files of tracks with audio features, and of artists with their genres.

Not a source: they tell of no plays. CSV or Parquet, told apart by their columns; measures that come
from the time of a crawl, such as popularity, are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from schemas.config import Catalogue
from schemas.errors import InputError
from schemas.tables import AUDIO
from tasks.sources.records import Records, header, stream, watched
from tasks.warehouse import Warehouse

ENDINGS = (".csv", ".csv.gz", ".parquet")
# What a column may be called, in the order of trust; of a role's names the first that is there.
NAMES: Mapping[str, tuple[str, ...]] = {
    "title": ("track_name", "track", "name", "title"),
    "artist": ("track_artist", "artist", "artists", "artist_name"),
    "album": ("track_album_name", "album_name", "album"),
    "uri": ("uri", "track_uri", "spotify_uri", "track_id", "id"),
    "duration_ms": ("duration_ms",),
    "released": ("year", "release_date", "track_album_release_date"),
    "genres": ("playlist_genre", "track_genre", "genres", "genre"),
    "subgenre": ("playlist_subgenre", "subgenre"),
    **{name: (name,) for name in AUDIO},
}
OF_TRACKS = ("title", "artist")
OF_ARTISTS = ("artist", "genres")


@dataclass
class Staged:
    """Records of all files as Parquet, by what they tell of, and facts by file."""

    tracks: list[Path] = field(default_factory=list)
    artists: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def files(settings: Catalogue) -> list[Path]:
    """The .csv, .csv.gz and .parquet files that ``catalogue.path`` names or has in it, sorted.

    Raises ``InputError`` when a path is not there, is another kind of file, or has none.
    """
    return sorted(_labelled(settings))


def stage(settings: Catalogue, scratch: Path, warehouse: Warehouse) -> Staged:
    """Read each file into Parquet in ``scratch``, streamed.

    Files with a title and an artist hold records of ``schemas.tables.Catalogue``, those with an
    artist and genres alone records of ``Artists``. A number that cannot be read lies outside of its
    column's range, so that validation refuses its row; so does a malformed record, all of whose
    values are null. Raises ``InputError`` for a file that is no CSV in UTF-8 or no Parquet, and for
    one that lacks the columns.
    """
    staged = Staged()
    for number, (path, label) in enumerate(sorted(_labelled(settings).items())):
        target = scratch / f"catalogue-{number:06}.parquet"
        read = _read_parquet if path.suffix == ".parquet" else _read_csv
        kind, staged.facts[label] = read(path, label, target, warehouse)
        (staged.tracks if kind == "catalogue_records" else staged.artists).append(target)
    return staged


def _labelled(settings: Catalogue) -> dict[Path, str]:
    """Each file once, with its name in reports, which starts with the name of its path's last part."""
    found: dict[Path, str] = {}
    for root in settings.path:
        if not root.exists():
            raise InputError("catalogue.path is not there", file=root, do="check catalogue.path")
        inside = sorted(root.rglob("*")) if root.is_dir() else [root]
        paths = [path for path in inside if path.name.endswith(ENDINGS) and path.is_file()]
        if not paths:
            raise InputError(
                "no catalogue found", file=root, expected="files that end in " + ", ".join(ENDINGS),
                do="check catalogue.path",
            )  # fmt: skip
        for path in paths:
            label = f"{root.resolve().name}/{path.relative_to(root).as_posix()}".removesuffix("/.")
            twins = sum(each.split("#")[0] == label for each in found.values())
            found.setdefault(path, f"{label}#{twins + 1}" if twins else label)
    return found


def _read_csv(
    path: Path, label: str, target: Path, warehouse: Warehouse
) -> tuple[str, Mapping[str, Any]]:
    file = Records(path, ())
    there = _mapped(header(file), path)
    with watched(file):
        read = warehouse.connection.from_arrow(stream(file, list(dict.fromkeys(there.values()))))
        kind = _write(read, there, "position", label, target, warehouse)
    return kind, file.facts


def _read_parquet(
    path: Path, label: str, target: Path, warehouse: Warehouse
) -> tuple[str, Mapping[str, Any]]:
    try:
        whole = warehouse.connection.read_parquet(str(path), file_row_number=True)
        kind = _write(whole, _mapped(whole.columns, path), "file_row_number", label, target, warehouse)
        ((records,),) = warehouse.connection.read_parquet(str(target)).count("*").fetchall()
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.SerializationException) as error:
        raise InputError(
            "not readable as Parquet", file=path, do="mend or write it again"
        ) from error  # DuckDB's message may quote a value
    return kind, {"records": records}


def _mapped(found: Sequence[str], path: Path) -> dict[str, str]:
    """The file's column for each role that it has, whatever the case of its letters."""
    spelled = {name.strip().lower(): name for name in reversed(found)}
    there = {role: [spelled[name] for name in names if name in spelled] for role, names in NAMES.items()}
    mapped = {role: names[0] for role, names in there.items() if names}
    if not (set(OF_TRACKS) <= mapped.keys() or set(OF_ARTISTS) <= mapped.keys()):
        missing = [role for role in OF_TRACKS if role not in mapped]
        raise InputError(
            "columns are missing", file=path, place=", ".join(missing), found=", ".join(found),
            expected="; ".join(f"for {role} one of {', '.join(NAMES[role])}" for role in missing),
            do="name the columns so, or leave the file out of catalogue.path",
        )  # fmt: skip
    return mapped


def _write(
    whole: duckdb.DuckDBPyRelation, there: Mapping[str, str], position: str,
    label: str, target: Path, warehouse: Warehouse,
) -> str:  # fmt: skip
    """Records of one file as Parquet; returns which kind they are of."""
    types = dict(zip(whole.columns, map(str, whole.types), strict=True))
    texts = [_text(role, there.get(role), types).alias(role) for role in NAMES]
    place = duckdb.ColumnExpression(position).alias("position")
    warehouse.relation("catalogue_texts", whole.select(*texts, place))
    if set(OF_TRACKS) <= there.keys():
        warehouse.write("staging/catalogue_records", target, file=label)
        return "catalogue_records"
    warehouse.write("staging/catalogue_artists", target, file=label)
    return "catalogue_artists"


def _text(role: str, name: str | None, types: Mapping[str, str]) -> duckdb.Expression:
    """A column as text: of a list of artists the first, of genres all."""
    if name is None:
        return duckdb.ConstantExpression(None).cast("VARCHAR")
    column = duckdb.ColumnExpression(name)
    if types[name].endswith("[]"):
        if role == "artist":
            column = duckdb.FunctionExpression("list_extract", column, duckdb.ConstantExpression(1))
        else:
            comma = duckdb.ConstantExpression(",")
            column = duckdb.FunctionExpression("array_to_string", column, comma)
    return column.cast("VARCHAR")
