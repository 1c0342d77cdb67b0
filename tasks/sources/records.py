"""Delimited text, streamed: each record's fields as text and its place; malformed ones as nulls.

Comma-separated files have quotes (RFC 4180); in tab-separated ones a quote is data like any letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from schemas.config import Source
from schemas.errors import InputError

BLOCK_BYTES = 16 << 20  # parsed at a time; a longer record is refused
HEAD_BYTES = 1 << 12  # looked at to tell text from other files
PLACES = 10  # malformed records named in the facts


@dataclass
class Records:
    """A delimited file, and what was met while it streamed by.

    ``columns`` must be among its names. These are ``names`` where the format has no header line;
    then ``above`` lines stand before the first record. ``records``, ``blank``, ``malformed`` and
    ``fault`` are filled in by the stream.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str = ","
    encoding: str = "utf8"  # any other name costs a recoding
    names: tuple[str, ...] = ()
    above: int = 1
    records: int = 0
    blank: int = 0
    malformed: list[int] = field(default_factory=list)
    unclosed: int | None = None
    fault: InputError | None = None

    @property
    def facts(self) -> dict[str, int | list[int]]:
        """Records read, blank ones dropped, malformed ones and where the first of them are."""
        return {
            "records": self.records,
            "blank": self.blank,
            "malformed": len(self.malformed),
            "malformed_at": self.malformed[:PLACES],
        }


def find(settings: Source, name: str, others: Sequence[str] = ()) -> Path | None:
    """The file of that name in the folders of ``source.path``; of a folder's ``others`` the first.

    Raises ``InputError`` if two folders have it, or one is no folder.
    """
    found = []
    for folder in settings.path:
        if not folder.is_dir():
            raise InputError(
                "not a folder", file=folder, expected=f"the folder with {name}", do="check source.path"
            )
        found += [path for path in (folder / each for each in (name, *others)) if path.is_file()][:1]
    if len(found) > 1:
        raise InputError(
            f"{name} is there twice", found=", ".join(map(str, found)), do="keep one in source.path"
        )
    return found[0] if found else None


def nothing(settings: Source, name: str, expected: str) -> InputError:
    """The refusal of folders that lack a file."""
    there = sorted(path.name for folder in settings.path for path in folder.iterdir())[:PLACES]
    return InputError(
        f"no {name}", file=", ".join(map(str, settings.path)),
        found=", ".join(there) or "an empty folder", expected=expected, do="check source.path",
    )  # fmt: skip


def header(file: Records) -> list[str]:
    """The fields of the first line. Raises ``InputError`` where there is none."""
    with _readable(file):
        _refuse_binary(file)
        first = Records(file.path, (), file.delimiter)  # its own tally: these records are read again
        with pacsv.open_csv(
            file.path, read_options=_reading(file), parse_options=_parsing(first)
        ) as opened:
            names: list[str] = opened.schema.names
            return names


def stream(file: Records, columns: Sequence[str]) -> pa.RecordBatchReader:
    """The records as text (``columns`` that the file need not have are null) and ``position``."""
    names = list(file.names) or header(file)
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
        _refuse_binary(file)
        read = _reading(file)
        if file.names:
            read.column_names, read.skip_rows = file.names, file.above
        reader = pacsv.open_csv(
            file.path, read_options=read, parse_options=_parsing(file), convert_options=convert
        )
    schema = pa.schema([*((name, pa.string()) for name in columns), ("position", pa.int64())])
    return pa.RecordBatchReader.from_batches(schema, _batches(file, reader, names[-1], schema))


@contextmanager
def watched(file: Records) -> Iterator[None]:
    """What went wrong while DuckDB pulled the file's stream, as its cause rather than as text."""
    try:
        yield
    except duckdb.Error:
        if file.fault is not None:
            raise file.fault from None
        raise


@contextmanager
def _readable(file: Records) -> Iterator[None]:
    """What keeps the file from being read, as the user's matter."""
    try:
        yield
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        file.fault = _unreadable(file, error)
        raise file.fault from error
    except InputError as error:
        file.fault = error
        raise


def _refuse_binary(file: Records) -> None:
    """Text has no NUL; UTF-16, archives and Parquet do at their start."""
    with file.path.open("rb") as opened:
        if file.path.suffix != ".gz" and b"\0" in opened.read(HEAD_BYTES):
            raise InputError("not a text file", file=file.path, expected="UTF-8 text, unpacked")


def _reading(file: Records) -> pacsv.ReadOptions:
    # threads would lose the records' numbers
    return pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, encoding=file.encoding)


def _parsing(file: Records) -> pacsv.ParseOptions:
    def malformed(record: pacsv.InvalidRow) -> str:
        position = record.number - 1 - file.above  # counts lines from 1
        file.malformed.append(position)
        if "\n" in record.text.rstrip("\r\n"):
            file.unclosed = position
        return "skip"

    quoted = file.delimiter != "\t"
    return pacsv.ParseOptions(
        delimiter=file.delimiter,
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
        invalid_row_handler=malformed,
    )


def _batches(
    file: Records, reader: pacsv.CSVStreamingReader, last: str, schema: pa.Schema
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


def _refuse_unclosed_quote(file: Records, batch: pa.RecordBatch, last: str) -> None:
    """An open quote swallows the rows after it: they end up in a malformed record or the last field."""
    swallowed = last in batch.schema.names and pc.any(pc.match_substring(batch[last], "\n")).as_py()
    if swallowed or file.unclosed is not None:
        raise InputError(
            "a quote is not closed, or a record spans lines", file=file.path,
            place=None if file.unclosed is None else f"record {file.unclosed}", do="mend the record",
        )  # fmt: skip


def _unreadable(file: Records, error: Exception) -> InputError:
    text = str(error)
    if "invalid UTF8" in text or isinstance(error, UnicodeDecodeError):
        return InputError("not UTF-8", file=file.path, found=text, do="convert it, e.g. with iconv")
    if "compressed" in text or "inflate" in text:
        return InputError("cut off or not gzip", file=file.path, found=text, do="download it again")
    return InputError("not readable as CSV", file=file.path, found=text, do="mend or download it again")
