"""Looks at JSON files before and after DuckDB reads them: what they hold, and what is wrong.

DuckDB takes a truncated list for a whole one and its messages may quote a record, so both ends of
each file are looked at first and a fault is looked up and told in words of our own.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
from pathlib import Path

from schemas.errors import InputError
from tasks.sources.packages import RawFile

HEAD = TAIL = 1 << 16  # bytes looked at in front and at the end; a record has about 700
BLOCK = 1 << 20
AGAIN = "remove it or download the export again"


def first_record(raw: RawFile) -> set[str]:
    """The keys of the first record of a list; none if the file is something else.

    Raises ``InputError`` when it cannot be read.
    """
    head = _head(raw)
    text = head.decode(_encoding(head), errors="replace")
    start = re.match(r"\ufeff?\s*\[\s*(?=\{)", text)
    if start is None:
        return set()
    try:
        record, _ = json.JSONDecoder().raw_decode(text, start.end())
    except (ValueError, RecursionError):
        return set()
    return set(record)


def whole(raw: RawFile, bracket: str, scratch: Path) -> RawFile:
    """The file, if it starts with the bracket and does not end early; UTF-16 is recoded in scratch.

    ``bracket``: ``[`` for a list of records, ``{`` for an object. Raises ``InputError`` otherwise.
    """
    head = _head(raw)
    if _encoding(head) != "utf-8":
        raw = _recoded(raw, _encoding(head), scratch)
        head = _head(raw)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if not start:
        raise InputError("empty file", file=raw.file, expected="JSON", do=AGAIN)
    if start != bracket.encode():
        found = {b"[": "a JSON list", b"{": "a JSON object"}.get(start, "no JSON text")
        expected = "a JSON list of records" if bracket == "[" else "a JSON object"
        raise InputError("wrong kind of file", file=raw.file, found=found, expected=expected, do=AGAIN)
    if bracket == "{" or not _ends_in_record(raw):
        wrong = fault(raw)
        if wrong is not None:
            raise wrong
    return raw


def extent(path: Path) -> int:
    """Bytes of a whole list up to the end of its last record: what stays when records are added."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = file.seek(max(0, size - TAIL))
        text = file.read().rstrip()
    return end + len(text.removesuffix(b"]").rstrip())


def rest(raw: RawFile, end: int, target: Path) -> RawFile | None:
    """A whole list's records after its first ``end`` bytes, as a list of their own in ``target``.

    These are another list up to its last record (see ``extent``). None where what follows them is
    neither another record nor the list's end.
    """
    with raw.path.open("rb") as source, target.open("wb") as sink:
        source.seek(end - 1)
        before = source.read(1)
        text = source.read(BLOCK).lstrip()
        if before == b"[" or text.startswith(b"]"):  # it was empty, or is no longer
            sink.write(b"[" + text)
        elif text.startswith(b","):
            sink.write(b"[" + text[1:])
        else:
            return None
        shutil.copyfileobj(source, sink)
    return raw.rewritten(target)


def fault(raw: RawFile) -> InputError | None:
    """What is wrong with a file and where; None if it is a list of records or an object.

    Reads the whole file. The message never quotes it.
    """
    try:
        text = raw.path.read_bytes().decode("utf-8-sig")
        parsed = json.loads(text)
    except UnicodeDecodeError as error:
        return InputError(
            "not UTF-8 text", file=raw.file, place=f"byte {error.start}", found=error.reason,
            expected="UTF-8, as Spotify writes it", do="save it as UTF-8 or download the export again",
        )  # fmt: skip
    except json.JSONDecodeError as error:
        cut = not text.rstrip().endswith("]" if text.lstrip().startswith("[") else "}")
        return InputError(
            "truncated file" if cut else "not valid JSON", file=raw.file,
            place=f"line {error.lineno}, column {error.colno}", found=error.msg, do=AGAIN,
        )  # fmt: skip
    except RecursionError:
        return InputError("not valid JSON", file=raw.file, found="endless lists in lists", do=AGAIN)
    if isinstance(parsed, dict):
        return None
    odd = next((at for at, record in enumerate(parsed) if not isinstance(record, dict | None)), None)
    if odd is None:
        return None
    return InputError(
        "not a list of records", file=raw.file, place=f"record {odd} (the first is 0)",
        found=type(parsed[odd]).__name__, expected="a JSON object", do=AGAIN,
    )  # fmt: skip


def _ends_in_record(raw: RawFile) -> bool:
    """Whether the list's last bytes are a record and the closing bracket; False may be wrong.

    A bracket alone proves nothing: a file may end inside of a title that has one. Text that parses
    as a record does, for inside of a string its quotes would be escaped.
    """
    with raw.path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        text = file.read().decode("utf-8", errors="replace").rstrip()
    if not text.endswith("]"):
        return False
    text = text[:-1]
    start = text.rfind("{")
    while start >= 0:
        try:
            if json.loads(text[start:]):
                return True
        except ValueError:
            pass
        start = text.rfind("{", 0, start)
    return False


def _head(raw: RawFile) -> bytes:
    try:
        with raw.path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise InputError("cannot read a file", file=raw.file, found=error.strerror) from error


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith((b"[\x00", b"{\x00")):
        return "utf-16-le"
    return "utf-16-be" if head.startswith((b"\x00[", b"\x00{")) else "utf-8"


def _recoded(raw: RawFile, encoding: str, scratch: Path) -> RawFile:
    target = scratch / f"recoded-{len(list(scratch.glob('recoded-*')))}.json"
    try:
        with (
            raw.path.open(encoding=encoding, newline="") as source,
            target.open("w", encoding="utf-8", newline="") as sink,
        ):
            while block := source.read(BLOCK):
                sink.write(block)
    except UnicodeError as error:
        raise InputError("not whole UTF-16 text", file=raw.file, expected="UTF-8", do=AGAIN) from error
    return raw.rewritten(target)
