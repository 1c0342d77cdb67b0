"""Tombstones: listeners who were forgotten stay so, though the raw exports still hold them.

``forgotten.json`` lies beside the store's entries and holds no id: a salted hash of each, and the
digests of the tables that held the listener. Who can read it and has a guess can test the guess, as
ingest does; nothing less would keep a listener out.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from schemas.errors import InputError
from tasks.store import alone, write_durably

FILE = "forgotten.json"
INSTEAD = "forgotten"  # stands where a name of theirs stood


@dataclass(frozen=True)
class Tombstone:
    """One forgotten listener: ``at``, when the store held them last; digests of its tables then.

    ``held`` are digests of tables with the listener in them, ``free`` of those without.
    """

    at: datetime
    held: frozenset[str]
    free: frozenset[str]


@dataclass(frozen=True)
class Tombstones:
    """All tombstones of a store, by the hash of the listener's id."""

    salt: str
    listeners: Mapping[str, Tombstone]

    def __bool__(self) -> bool:
        return bool(self.listeners)

    def hashed(self, user_id: str) -> str:
        """SHA-256 of the salt and the id in Unicode's form NFC, as readers name accounts."""
        plain = unicodedata.normalize("NFC", user_id).encode("utf-8", "surrogatepass")
        return hashlib.sha256(self.salt.encode() + b"\0" + plain).hexdigest()

    def of(self, user_id: str) -> Tombstone | None:
        """The listener's tombstone, if there is one."""
        return self.listeners.get(self.hashed(user_id))

    def among(self, ids: pl.Series) -> pl.Series:
        """Those of the ids that were forgotten."""
        distinct = ids.drop_nulls().unique()
        return distinct.filter(
            pl.Series([self.hashed(each) in self.listeners for each in distinct], dtype=pl.Boolean)
        )

    def masked(self, told: Any) -> Any:
        """JSON without forgotten ids among the parts of paths, with or without an ending."""
        if isinstance(told, Mapping):
            return {self.masked(name): self.masked(value) for name, value in told.items()}
        if isinstance(told, list | tuple):
            return [self.masked(each) for each in told]
        if not isinstance(told, str) or not self:
            return told
        return "/".join(self._masked(part) for part in told.split("/"))

    def _masked(self, part: str) -> str:
        name, ending = part, ""
        while name:
            if self.hashed(name) in self.listeners:
                return INSTEAD + ending
            suffix = PurePosixPath(name).suffix
            if not suffix:
                break
            name, ending = name.removesuffix(suffix), suffix + ending
        return part


NOBODY = Tombstones("", {})


def read(store: Path) -> Tombstones:
    """The tombstones of the store in this folder; none where it has no such file.

    Raises ``InputError`` for a file that cannot be read: without it, ingest would bring them back.
    """
    path = store / FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        listeners = {
            hashed: Tombstone(
                datetime.fromisoformat(each["at"]), frozenset(each["held"]), frozenset(each["free"])
            )
            for hashed, each in told["listeners"].items()
        }
        return Tombstones(told["salt"], listeners)
    except FileNotFoundError:
        return NOBODY
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "the tombstones of forgotten listeners cannot be read", file=path,
            do="restore the file from a backup; without it they would come back",
        ) from error  # fmt: skip


def bury(store: Path, user_id: str, held: Iterable[str], free: Iterable[str], at: datetime) -> Tombstone:
    """Write the listener's tombstone, or add to it, so that it survives a crash; returns it.

    ``at`` replaces the time noted before; digests are added to those noted before. Raises
    ``InputError`` where the store cannot be written.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        with alone(store):
            known = read(store)
            known = known if known.salt else Tombstones(secrets.token_hex(32), {})
            before = known.of(user_id) or Tombstone(at, frozenset(), frozenset())
            made = Tombstone(at, before.held | frozenset(held), before.free | frozenset(free))
            known = Tombstones(known.salt, {**known.listeners, known.hashed(user_id): made})
            _write(store / FILE, known)
    except OSError as error:
        raise InputError(
            "cannot write to the store", file=store, found=error.strerror,
            do="free the disk or mend its permissions; nothing has been forgotten yet",
        ) from error  # fmt: skip
    return made


def _write(path: Path, known: Tombstones) -> None:
    told = {
        "salt": known.salt,
        "listeners": {
            hashed: {"at": each.at.isoformat(), "held": sorted(each.held), "free": sorted(each.free)}
            for hashed, each in sorted(known.listeners.items())
        },
    }
    beside = path.with_name(f".{path.name}.new")
    write_durably(beside, json.dumps(told, indent=1))
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # the rename itself must survive a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
