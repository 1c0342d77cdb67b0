"""Content-addressed results: work is named by a key, done once, and appears whole or not at all.

``key`` names the work (input digests, the source of its code and SQL, the settings it reads,
engine versions). ``digest`` names the content of a table, whatever the order of its rows;
downstream keys use digests, so that work whose input came out the same is not done again.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from tasks import parts

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("duckdb", "polars", "pyarrow", "numpy", "numba", "lightgbm", "scikit-learn", "pandera")
_PARSING = threading.Lock()  # Python 3.11 cannot make syntax trees in two threads (cpython#106905)


@dataclass(frozen=True)
class Table:
    """Handle of a table (see ``tasks.parts``): what travels between steps in place of a frame."""

    name: str
    path: Path
    rows: int
    digest: str


@dataclass(frozen=True)
class Entry:
    """The result of one piece of work: a folder with tables, other files and JSON facts."""

    step: str
    key: str
    path: Path
    tables: dict[str, Table]
    facts: dict[str, Any]
    seconds: float
    reused: bool

    @property
    def rows(self) -> int:
        """Rows over all tables."""
        return sum(table.rows for table in self.tables.values())


class Store:
    """Entries under ``root/<step>/<key>``; written beside, then renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def once(self, step: str, key: str, work: Callable[[Path], Mapping[str, Any]]) -> Entry:
        """The entry of ``key``; ``work(folder)`` makes it if it is not there.

        ``work`` writes ``*.parquet`` (and whatever else) into ``folder`` and returns JSON facts.
        A crash leaves only a temporary folder that ``sweep`` removes.
        """
        found = self.find(step, key)
        if found is not None:
            return found
        parent = self.root / step
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=parent))
        except OSError as error:
            raise InputError(
                "cannot write to the store", file=self.root, found=error.strerror,
                do="choose another store.path or free the disk",
            ) from error  # fmt: skip
        try:
            started = time.perf_counter()
            facts = work(folder)
            seconds = round(time.perf_counter() - started, 3)
            known = self._sums(step)
            written = {
                path.stem: parts.contents(path, known) for path in sorted(folder.glob("*.parquet"))
            }
            entry = {
                "facts": facts,
                "seconds": seconds,
                "tables": {
                    name: {"rows": of.rows, "digest": of.digest, "sums": of.sums}
                    for name, of in written.items()
                },
                "sizes": {
                    str(path.relative_to(folder)): path.stat().st_size
                    for path in sorted(folder.rglob("*"))
                    if path.is_file()
                },
            }
            write_durably(folder / "entry.json", json.dumps(entry, indent=1, sort_keys=True))
            final = parent / key
            with alone(parent):
                if self.find(step, key) is None:  # else another run came first, and is being read
                    if final.exists():  # broken
                        parts.remove(final)
                    folder.rename(final)
        except Exception as error:
            if _full(error):
                raise InputError(
                    "the disk of the store is full", file=self.root, found=error,
                    do="free it or choose another store.path; what is finished is kept",
                ) from error  # fmt: skip
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        made = self.find(step, key)
        assert made is not None, f"{final} vanished"
        return replace(made, reused=False)

    def find(self, step: str, key: str) -> Entry | None:
        """The entry of ``key`` if it is there with every file at its size, else None.

        Contents are not read again: every flow asks for every entry, and hashing gigabytes to find
        them unchanged would cost more than much of the work that reuse saves. A size catches what
        kills and full disks leave; entries are renamed into place whole and never written again.
        """
        folder = self.root / step / key
        found = _entry(folder)
        if found is not None:
            try:
                os.utime(folder, (_run(), _run()))  # `gc` keeps what the last runs used
            except OSError:
                return None
        return found

    def peek(self, step: str, key: str) -> Entry | None:
        """The entry of ``key`` as ``find`` tells it; to look at it is not to use it."""
        return _entry(self.root / step / key)

    def entries(self, step: str) -> Iterator[Entry]:
        """The step's whole entries, the last used one first; to look at them is not to use them."""
        used = []
        for folder in (self.root / step).glob("[!.]*"):
            with suppress(FileNotFoundError):  # removed meanwhile
                used.append((folder.stat().st_mtime, folder))
        for _, folder in sorted(used, reverse=True):
            found = _entry(folder)
            if found is not None:
                yield found

    def _sums(self, step: str) -> dict[parts.Identity, parts.Sums]:
        """Sums of the files of the step's tables that have other names."""
        known: dict[parts.Identity, parts.Sums] = {}
        for told in (self.root / step).glob("[!.]*/entry.json"):
            with suppress(OSError, ValueError, KeyError):  # another version's, or removed meanwhile
                for name, table in json.loads(told.read_text(encoding="utf-8"))["tables"].items():
                    paths = parts.files(told.parent / f"{name}.parquet")
                    for path, sums in zip(paths, table["sums"], strict=True):
                        if of := parts.identity(path):
                            known[of] = parts.Sums(*sums)
        return known

    def sweep(self, keep: int) -> tuple[int, int]:
        """Remove what the ``keep`` newest runs of each step did not use, and what dead runs left.

        A run may use several entries of a step (a window each): they stay or go together. Returns
        the number of entries removed and the bytes freed.
        """
        removed = freed = 0
        doomed: list[Path] = []
        for step in [path for path in self.root.glob("*") if path.is_dir()]:
            if step.name.startswith(".duckdb-"):
                doomed += [step] if not in_use(step) else []
                continue
            folders = [path for path in step.iterdir() if path.is_dir()]
            used = {path: path.stat().st_mtime for path in folders if not path.name.startswith(".")}
            newest = sorted(set(used.values()), reverse=True)[:keep]
            doomed += [path for path, run in used.items() if run not in newest]
            doomed += [path for path in folders if path.name.startswith(".") and not in_use(path)]
        for folder in doomed:
            freed += parts.size(folder)
            parts.remove(folder)
            removed += 1
        return removed, freed


def _entry(folder: Path) -> Entry | None:
    """The entry in ``root/<step>/<key>`` if it is there with every file at its size, else None."""
    try:
        entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        if any((folder / name).stat().st_size != size for name, size in entry["sizes"].items()):
            return None
        tables = {
            name: Table(name, folder / f"{name}.parquet", table["rows"], table["digest"])
            for name, table in entry["tables"].items()
        }
    except (OSError, ValueError, KeyError):
        return None
    step, key = folder.parent.name, folder.name
    return Entry(step, key, folder, tables, entry["facts"], entry["seconds"], reused=True)


@functools.cache
def _run() -> float:
    """When this process first used a store: what all entries that it uses are marked with."""
    return time.time()


def key(work: Callable[..., Any], inputs: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Name of a piece of work: 32 hex digits.

    ``inputs`` are digests; ``settings`` only those that the work reads. The source of every Encore
    module that the work's module imports, directly or not, and every SQL file these name count.
    """
    with _PARSING:
        code = _code(work.__module__)
    named = {
        "inputs": sorted(inputs),
        "settings": settings,
        "code": code,
        "work": work.__qualname__,
        "engines": {name: version(name) for name in ENGINES},
    }
    text = json.dumps(named, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest_files(
    paths: Iterable[Path], ends: Callable[[Path], Iterable[int]] = lambda _: ()
) -> dict[Path, tuple[str, dict[int, str]]]:
    """What ``digest_file`` tells of each, by path; two at a time (hashing releases the GIL)."""
    names = list(paths)
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda path: digest_file(path, ends(path)), names)
        return dict(zip(names, told, strict=True))


def digest_file(path: Path, ends: Iterable[int]) -> tuple[str, dict[int, str]]:
    """SHA-256 of a file's bytes; and of its first bytes up to each of the ``ends`` that it reaches."""
    digest, at = hashlib.sha256(), 0
    told: dict[int, str] = {}
    block = memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as file:
        for end in sorted(ends):
            while count := file.readinto(block[: end - at]):
                digest.update(block[:count])
                at += count
            if at == end:
                told[end] = digest.hexdigest()
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest(), told


def write_durably(path: Path, text: str) -> None:
    """Write a file so that it survives a power cut."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one process at a time works in ``folder``; the lock ends with the process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _full(error: Exception) -> bool:
    """Whether a write found no room; each engine has an exception of its own for that."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    told = str(error)
    causes = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    return any(
        cause in told for cause in (*causes, "Cannot write binary data")
    )  # the last is LightGBM's


def in_use(folder: Path) -> bool:
    """Whether the run that named the folder (``.<pid>-…``, ``.duckdb-<pid>-…`` …) is alive."""
    match = re.match(r"\.(?:duckdb-|encore-)?(\d+)-", folder.name)
    return match is not None and lives(int(match.group(1)))


def lives(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@functools.cache
def _code(module: str) -> str:
    """Hash of the source of a module, of what it imports from Encore, and of the SQL they name."""
    seen: set[Path] = set()
    texts: dict[str, str] = {}
    waiting = _files(module)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            source, imported, queries = _read(path)
            texts |= {str(path.relative_to(ROOT)): source} | queries
            waiting += imported
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _read(path: Path) -> tuple[str, list[Path], dict[str, str]]:
    """A source file's text, the files that it imports from Encore, and by name the SQL that it names."""
    source = path.read_text(encoding="utf-8")
    imported: list[Path] = []
    queries: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported += _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                imported += _files(name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"tasks(\.[a-z0-9_]+)+", node.value):  # imported by its name
                imported += _files(node.value)
            sql = ROOT / "sql" / f"{node.value}.sql"
            if re.fullmatch(r"[a-z_]+/[a-z0-9_]+", node.value) and sql.is_file():
                queries[str(sql.relative_to(ROOT))] = sql.read_text(encoding="utf-8")
    return source, imported, queries


def _files(module: str) -> list[Path]:
    """Source files of an Encore module; none for a module from elsewhere."""
    if module.split(".")[0] not in ("tasks", "schemas"):
        return []
    path = ROOT.joinpath(*module.split("."))
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
