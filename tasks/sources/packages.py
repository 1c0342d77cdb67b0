"""Spotify's packages as people keep them: folders and .zip archives, of one account or of several.

Nothing in an archive is trusted: members are unpacked under names of our own, within a bound on
what really comes out. Files about the person, not the listening, are not opened at all.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from schemas.config import Source
from schemas.errors import InputError
from tasks.sources.earlier import NOTHING, Earlier

ME = "me"  # the account of files that lie in no account's folder
# Spotify's own names of a package: such a folder is no account
PACKAGES = (
    "mydata",
    "spotify account data",
    "spotify extended streaming history",
    "spotify technical log information",
)
# What these hold is no listening, and most of it is personal.
UNOPENED = re.compile(
    r"(userdata|useraddress|userprompts|identity|identifiers|inferences|payments|familyplan|follow|"
    r"searchqueries|marquee|carthing|wrapped|yoursoundcapsule|playlist)\d*( ?\(\d+\))?\.json",
    re.IGNORECASE,
)
NESTED = "ignored: .zip inside of a .zip"  # among the files never opened: no archive is unpacked twice
BLOCK = 1 << 20


@dataclass(frozen=True)
class RawFile:
    """A .json file of an export: whose it is, what reports call it, where its bytes are.

    ``file`` starts with the name of ``source.path`` (of its last part) and, for an archive's
    member, goes on below the archive's name. Files of one package share their folder. ``beginnings``
    are digests of its first bytes, by their number, as far as they are known.
    """

    user_id: str
    file: str
    path: Path
    beginnings: Mapping[int, str] = field(default_factory=dict)

    def rewritten(self, path: Path) -> RawFile:
        """The same file where ``path`` holds other bytes of it."""
        return RawFile(self.user_id, self.file, path)


@dataclass(frozen=True)
class _Archive:
    file: str
    path: Path
    user_id: str | None  # None: the archive is source.path itself, accounts are told inside
    known: bool  # read before: its members are only named


def raw_paths(settings: Source) -> list[Path]:
    """Every .json and .zip under ``source.path`` but those never opened, sorted and once each.

    Raises ``InputError`` when a path is not there, cannot be read or is neither folder nor .zip.
    """
    wanted = [given for _, given, _, _ in _found(settings) if _wanted(given.name)]
    return sorted(wanted, key=lambda path: path.parts)


def unpack(
    settings: Source, scratch: Path, earlier: Earlier = NOTHING
) -> tuple[list[RawFile], set[str], Counter[str]]:
    """The export's .json files, those of archives unpacked into ``scratch``, sorted by name.

    Files and archives' members below the paths that are unchanged since ``earlier`` are left where
    they are: only their names are returned, second. Third is how many files of each name are never
    opened, and under ``NESTED`` how many archives lie inside of archives. Raises ``InputError`` for a
    broken, encrypted or unsafe archive, and for one of more than ``source.max_unzipped_mb``.
    """
    found: list[RawFile] = []
    same: set[str] = set()
    archives: list[_Archive] = []
    unopened: Counter[str] = Counter()
    for file, given, path, inner in _found(settings):
        known = given in earlier.unchanged
        if path.suffix.lower() == ".zip":
            archives.append(_Archive(file, path, _account(inner) if inner.parts else None, known))
        elif _wanted(path.name) and known:
            same.add(file)
        elif _wanted(path.name):
            beginnings = earlier.beginnings.get(given, {})
            found.append(RawFile(_account(inner), file, path, beginnings))
        else:
            unopened[_plain(path.name)] += 1
    limit = settings.max_unzipped_mb * 1_000_000
    folders = [scratch / f"archive-{number}" for number in range(len(archives))]
    with ThreadPoolExecutor(2) as pool:  # inflating releases the GIL
        for archive, (members, left) in zip(
            archives,
            pool.map(lambda archive, into: _unzip(archive, into, limit), archives, folders),
            strict=True,
        ):
            if archive.known:
                same |= {raw.file for raw in members}
            else:
                found += members
            unopened += left
    return sorted(found, key=lambda raw: raw.file), same, unopened


def labels(settings: Source) -> Iterator[tuple[Path, str]]:
    """Each part of ``source.path`` and what reports call it: its name, numbered where others have it.

    Raises ``InputError`` when it is not there or is neither folder nor .zip.
    """
    taken: set[str] = set()
    for number, root in enumerate(settings.path, start=1):
        if not root.exists():
            raise InputError("source.path is not there", file=root, do="check source.path")
        if not root.is_dir() and root.suffix.lower() != ".zip":
            raise InputError("source.path is not an export", file=root, expected="a folder or a .zip")
        # two packages of one name stay two
        name = label = root.resolve().name
        while label in taken:
            label, number = f"{name}#{number}", number + 1
        taken.add(label)
        yield root, label


def _found(settings: Source) -> Iterator[tuple[str, Path, Path, PurePosixPath]]:
    """Each file once: what reports call it, its path as given, where that is, its path below the root.

    The last is empty where the root is the file.
    """
    taken: set[Path] = set()
    for root, label in labels(settings):
        for given, path, below in _under(root):
            if path not in taken:
                taken.add(path)
                yield f"{label}/{below}" if below else label, given, path, PurePosixPath(below)


def _under(root: Path) -> Iterator[tuple[Path, Path, str]]:
    """The .json and .zip files below a folder, sorted, links followed once; or the archive itself.

    Of each its path, the same below where the root really is, and the path below the root.
    """
    top = root.resolve()
    if not root.is_dir():
        yield root, top, ""
        return

    def refuse(error: OSError) -> None:
        raise InputError("cannot read a folder", file=error.filename, found=error.strerror) from error

    seen = {top}
    places = {root: (top, "")}  # of folders to come: without links, and below the root
    for folder, inner, names in os.walk(root, onerror=refuse, followlinks=True):
        given = Path(folder)
        real, below = places.pop(given)
        folders = {}
        for path in (given / name for name in sorted(inner) if not _junk(name)):
            # only links are resolved: it takes long
            folders[path] = path.resolve() if path.is_symlink() else real / path.name
        new = {path: place for path, place in folders.items() if place not in seen}
        inner[:] = [path.name for path in new]
        places |= {path: (place, f"{below}{path.name}/") for path, place in new.items()}
        seen.update(new.values())
        there = top / below
        for name in sorted(names):
            if not _junk(name) and name.lower().endswith((".json", ".zip")):
                path = given / name
                if not str(path).isprintable():  # also what is no UTF-8: it cannot be stored
                    raise InputError("unreadable file name", file=ascii(str(path)), do="rename it")
                # a dangling link is told when it is opened; sockets and the like are no files
                if path.is_file() or path.is_symlink():
                    yield path, there / name, below + name


def _junk(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _wanted(name: str) -> bool:
    return UNOPENED.fullmatch(name) is None


def _plain(name: str) -> str:
    match = UNOPENED.fullmatch(name)
    assert match is not None
    return match.group(1).lower()


def _account(inner: PurePosixPath) -> str:
    """The account of a path below ``source.path``: its first folder's or zip's name, else ``me``."""
    first = inner.parts[0]
    if len(inner.parts) == 1:
        if inner.suffix.lower() != ".zip":
            return ME
        first = inner.stem
    return ME if first.lower() in PACKAGES else unicodedata.normalize("NFC", first)


def _unzip(archive: _Archive, into: Path, limit: int) -> tuple[list[RawFile], Counter[str]]:
    """Unpack the .json members of use into a new folder, at most ``limit`` bytes of them.

    Those of an archive that is known are not unpacked, only named.
    """
    found: list[RawFile] = []
    unopened: Counter[str] = Counter()
    left = limit
    try:
        into.mkdir(parents=True)
        with zipfile.ZipFile(archive.path) as unzipped:
            members = _members(archive, unzipped)
            unopened[NESTED] += sum(_nested(info) for info in unzipped.infolist())
            for number, (name, info) in enumerate(members):
                if not _wanted(name.name):
                    unopened[_plain(name.name)] += 1
                    continue
                file = f"{archive.file}/{name}"
                target = into / f"{number}.json"
                found.append(RawFile(archive.user_id or _account(name), file, target))
                if archive.known:
                    continue
                with unzipped.open(info) as source, target.open("wb") as sink:
                    while block := source.read(BLOCK):
                        left -= len(block)
                        if left < 0:
                            raise InputError(
                                "archive holds too much", file=archive.file, place=name,
                                found=f"more than {limit // 1_000_000} MB unpacked",
                                do="if it is a real export, raise source.max_unzipped_mb",
                            )  # fmt: skip
                        sink.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(
            "not a whole .zip archive", file=archive.file, found=error, do="download it again"
        ) from error
    except OSError as error:
        raise InputError(
            "cannot unpack an archive", file=archive.file, found=error.strerror,
            do="check that it can be read and that the disk has room",
        ) from error  # fmt: skip
    return found, unopened


def _nested(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    return not info.is_dir() and path.suffix.lower() == ".zip" and not any(map(_junk, path.parts))


def _members(
    archive: _Archive, unzipped: zipfile.ZipFile
) -> list[tuple[PurePosixPath, zipfile.ZipInfo]]:
    """The .json members sorted by name, after a look at every member's name."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in unzipped.infolist():
        # orig_filename: the module itself cuts names at a NUL
        name = info.orig_filename.replace("\\", "/")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|.*\0", name):
            raise InputError(
                "unsafe archive: a member would land outside of it", file=archive.file, place=name,
                do="do not use this archive; download the export again",
            )  # fmt: skip
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError("unsafe archive: a member is a link", file=archive.file, place=name)
        if info.is_dir() or path.suffix.lower() != ".json" or any(map(_junk, path.parts)):
            continue
        if info.flag_bits & 1:
            raise InputError(
                "encrypted archive", file=archive.file, place=name,
                do="unpack it with its password and give the folder",
            )  # fmt: skip
        if path in members:
            raise InputError("archive has two members of one name", file=archive.file, place=name)
        members[path] = info
    return sorted(members.items())
