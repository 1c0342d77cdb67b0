"""The KKBox competition's files: plays in row order without a clock, and a catalogue beside them.

Every column is read as text and cast in ``sql/staging/kkbox_*.sql``. ``train.csv`` comes before
``test.csv``: row order is time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from schemas.config import Source
from schemas.errors import InputError
from tasks.warehouse import Warehouse

_PLAY = ("msno", "song_id", "source_system_tab", "source_screen_name", "source_type")
COLUMNS = {
    "train": (*_PLAY, "target"),
    "test": (*_PLAY, "id"),
    "songs": ("song_id", "song_length", "genre_ids", "artist_name", "composer", "lyricist", "language"),
    "song_extra_info": ("song_id", "name", "isrc"),
    "members": (
        "msno", "city", "bd", "gender", "registered_via", "registration_init_time", "expiration_date",
    ),
}  # fmt: skip
OPTIONAL = ("test",)
BLOCK_BYTES = 16 << 20  # parsed at a time; a longer record is refused
PLACES = 10  # malformed records named in the facts


@dataclass
class _File:
    """One of the competition's files, and what was met while it streamed by."""

    path: Path
    columns: tuple[str, ...]
    records: int = 0
    blank: int = 0
    malformed: list[int] = field(default_factory=list)
    unclosed: int | None = None
    fault: InputError | None = None


def files(settings: Source) -> list[Path]:
    """The competition's files in the folders of ``source.path``, sorted.

    Raises ``InputError`` if a folder or a needed file is missing, still packed as .7z or .zip, or
    there twice.
    """
    return sorted(_locate(settings).values())


def stage(settings: Source, scratch: Path, warehouse: Warehouse) -> Mapping[str, Any]:
    """Make the raw relations (see ``Reader``); facts count each file's records.

    A record with too few or too many fields stays as a row of nulls, so that validation refuses
    it; blank records are dropped and counted. Raises ``InputError`` for a file that is not CSV in
    UTF-8, is cut off or lacks a column.
    """
    found = {name: _File(path, COLUMNS[name]) for name, path in _locate(settings).items()}
    plays: list[Path] = []
    first_seq = 0
    for name in ("train", "test"):
        if name in found:
            file = found[name]
            plays.append(scratch / f"kkbox_{name}_plays.parquet")
            # one shape for both: the column that the other file has is null
            records = _stream(file, (*COLUMNS["train"], "id"))
            with _watched(file):
                warehouse.connection.register("kkbox_records", records)
                warehouse.write(
                    "staging/kkbox_plays", plays[-1], file=file.path.name, first_seq=first_seq
                )
            first_seq += file.records
    for name in ("songs", "song_extra_info", "members"):
        file, path = found[name], scratch / f"kkbox_{name}.parquet"
        with _watched(file):
            warehouse.connection.from_arrow(_stream(file, file.columns)).write_parquet(str(path))
        warehouse.relation(f"kkbox_{name}", path)
    warehouse.relation("raw_plays", plays)
    warehouse.write("staging/kkbox_tracks", scratch / "kkbox_tracks.parquet")
    warehouse.relation("raw_tracks", scratch / "kkbox_tracks.parquet")
    warehouse.keep("raw_users", "staging/kkbox_users")
    warehouse.keep("raw_errors", "staging/kkbox_errors")
    return {
        "files": {
            file.path.name: {
                "records": file.records,
                "blank": file.blank,
                "malformed": len(file.malformed),
                "malformed_at": file.malformed[:PLACES],
            }
            for file in found.values()
        }
    }


def _locate(settings: Source) -> dict[str, Path]:
    """Each file's path, by its name in ``COLUMNS``."""
    for folder in settings.path:
        if not folder.is_dir():
            raise InputError(
                "not a folder", file=folder, expected="the folder with train.csv", do="check source.path"
            )
    found: dict[str, Path] = {}
    for name in COLUMNS:
        # plain before packed: who has both has unpacked it
        there = [
            [path for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if path.is_file()]
            for folder in settings.path
        ]
        paths = [paths[0] for paths in there if paths]
        if len(paths) > 1:
            raise InputError(
                f"{name}.csv is there twice",
                found=", ".join(map(str, paths)),
                do="keep one in source.path",
            )
        if paths:
            found[name] = paths[0]
            continue
        packed = [
            path
            for folder in settings.path
            for path in (folder / f"{name}.csv.7z", folder / f"{name}.7z", folder / f"{name}.csv.zip")
            if path.is_file()
        ]
        if packed:
            raise InputError(
                f"{name}.csv is still packed", file=packed[0], expected=f"{name}.csv or {name}.csv.gz",
                do=f"unpack it, e.g. with 7z x {packed[0].name}",
            )  # fmt: skip
        if name not in OPTIONAL:
            raise InputError(
                f"no {name}.csv", file=", ".join(map(str, settings.path)),
                found=_listing(settings) or "an empty folder",
                expected=", ".join(f"{each}.csv" for each in COLUMNS if each not in OPTIONAL),
                do="check source.path",
            )  # fmt: skip
    return found


def _listing(settings: Source) -> str:
    return ", ".join(sorted(path.name for folder in settings.path for path in folder.iterdir())[:PLACES])


@contextmanager
def _readable(file: _File) -> Iterator[None]:
    """What keeps the file from being read, as the user's matter."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        file.fault = _unreadable(file, error)
        raise file.fault from error
    except InputError as error:
        file.fault = error
        raise


@contextmanager
def _watched(file: _File) -> Iterator[None]:
    """What went wrong while DuckDB pulled the file's stream, as its cause rather than as text."""
    try:
        yield
    except duckdb.Error:
        if file.fault is not None:
            raise file.fault from None
        raise


def _stream(file: _File, columns: tuple[str, ...]) -> pa.RecordBatchReader:
    """The records as text (``columns`` that the file need not have are null) and ``position``."""
    read = pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)  # threads lose record numbers
    first = _parsing(_File(file.path, ()))  # its own tally: these records are read again
    with _readable(file), pacsv.open_csv(file.path, read_options=read, parse_options=first) as header:
        names = header.schema.names
    missing = [name for name in file.columns if name not in names]
    if missing:
        raise InputError(
            "columns are missing", file=file.path, place=", ".join(missing), found=", ".join(names),
            expected=", ".join(file.columns), do="restore the header line",
        )  # fmt: skip
    convert = pacsv.ConvertOptions(
        include_columns=list(columns),
        include_missing_columns=True,
        column_types=dict.fromkeys(columns, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    with _readable(file):
        reader = pacsv.open_csv(
            file.path, read_options=read, parse_options=_parsing(file), convert_options=convert
        )
    schema = pa.schema([*((name, pa.string()) for name in columns), ("position", pa.int64())])
    return pa.RecordBatchReader.from_batches(schema, _batches(file, reader, names[-1], schema))


def _parsing(file: _File) -> pacsv.ParseOptions:
    def malformed(record: pacsv.InvalidRow) -> str:
        position = record.number - 2  # counts from 1, and the header
        file.malformed.append(position)
        if "\n" in record.text.rstrip("\r\n"):
            file.unclosed = position
        return "skip"

    return pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=malformed)


def _batches(
    file: _File, reader: pacsv.CSVStreamingReader, last: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Batches with positions; malformed records come back as nulls, blank ones go."""
    parsed = returned = 0  # well-formed records so far, malformed ones returned so far
    with _readable(file):
        for batch in reader:
            if batch.num_rows == 0:
                continue
            _refuse_unclosed_quote(file, batch, last)
            malformed = np.asarray(file.malformed, np.int64)
            positions = _positions(parsed, batch.num_rows, malformed)
            parsed += batch.num_rows
            before = malformed[returned : np.searchsorted(malformed, positions[-1])]
            returned += len(before)
            blank = _blank(batch)
            file.blank += int(blank.sum())
            columns = [column.filter(pa.array(~blank)) for column in batch.columns]
            yield from _with_nulls(columns, positions[~blank], before, schema)
        _refuse_unclosed_quote(file, pa.record_batch([], schema=pa.schema([])), last)
        rest = np.asarray(file.malformed[returned:], np.int64)
        yield from _with_nulls([pa.nulls(0, pa.string())] * (len(schema) - 1), rest[:0], rest, schema)
        file.records = parsed + len(file.malformed)


def _positions(first: int, rows: int, malformed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Record numbers of ``rows`` well-formed records, of which ``first`` came before."""
    well_formed = np.arange(first, first + rows)
    skipped = np.searchsorted(malformed - np.arange(len(malformed)), well_formed, side="right")
    return well_formed + skipped


def _blank(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    blank = np.ones(batch.num_rows, np.bool_)
    for column in batch.columns:
        if not blank.any():
            break
        blank &= np.asarray(column.is_null())
    return blank


def _with_nulls(
    columns: list[pa.Array],
    positions: npt.NDArray[np.int64],
    malformed: npt.NDArray[np.int64],
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """The records with a row of nulls at each malformed position; nothing if there are none."""
    if len(positions) + len(malformed) == 0:
        return
    if len(malformed):
        order = np.argsort(np.concatenate([positions, malformed]), kind="stable")
        nulls = pa.nulls(len(malformed), pa.string())
        columns = [pa.concat_arrays([column, nulls]).take(pa.array(order)) for column in columns]
        positions = np.concatenate([positions, malformed])[order]
    yield pa.record_batch([*columns, pa.array(positions)], schema=schema)


def _refuse_unclosed_quote(file: _File, batch: pa.RecordBatch, last: str) -> None:
    """An open quote swallows the rows after it: they end up in a malformed record or the last field."""
    swallowed = last in batch.schema.names and pc.any(pc.match_substring(batch[last], "\n")).as_py()
    if swallowed or file.unclosed is not None:
        raise InputError(
            "a quote is not closed, or a record spans lines", file=file.path,
            place=None if file.unclosed is None else f"record {file.unclosed}", do="mend the record",
        )  # fmt: skip


def _unreadable(file: _File, error: Exception) -> InputError:
    text = str(error)
    if "invalid UTF8" in text:
        return InputError("not UTF-8", file=file.path, found=text, do="convert it, e.g. with iconv")
    if "compressed" in text or "inflate" in text:
        return InputError("cut off or not gzip", file=file.path, found=text, do="download it again")
    return InputError("not readable as CSV", file=file.path, found=text, do="mend or download it again")
