"""What an earlier ingest has read of a source, for a reader that need not read it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT = "kept"  # a reader's folder in its scratch: what it finds there is given to it the next time


class ChangedError(Exception):
    """Earlier records are no longer what they were: everything has to be read again."""


@dataclass(frozen=True)
class Earlier:
    """``unchanged``: raw files and archives with the same bytes as then, as ``Reader.files`` names them.

    ``kept`` is the folder that the reader left then, ``facts`` what it told; both empty for a first
    reading.
    """

    unchanged: frozenset[Path]
    kept: Path | None
    facts: Mapping[str, Any]


NOTHING = Earlier(frozenset(), None, {})
