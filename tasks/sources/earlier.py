"""What an earlier ingest has read of a source, for a reader that need not read it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEPT = "kept"  # a reader's folder in its scratch: what it finds there is given to it the next time

Beginnings = Mapping[Path, Mapping[int, str]]  # SHA-256 of files' first bytes, by path and their number


class ChangedError(Exception):
    """Earlier records are no longer what they were: everything has to be read again."""


@dataclass(frozen=True)
class Earlier:
    """``unchanged``: raw files and archives with the same bytes as then, as ``Reader.files`` names them.

    ``kept`` is the folder that the reader left then, ``facts`` what it told; both empty for a first
    reading. ``beginnings`` are of raw files as they are now, also for a first reading: what was hashed
    with the whole of them need not be hashed again.
    """

    unchanged: frozenset[Path]
    kept: Path | None
    facts: Mapping[str, Any]
    beginnings: Beginnings = field(default_factory=dict)


NOTHING = Earlier(frozenset(), None, {})
