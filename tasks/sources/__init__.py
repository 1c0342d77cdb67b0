"""Raw formats: one file each, all answering to ``Reader``.

A reader only renames, casts and points back to the raw record. What happens next is the same for
all of them (``tasks/ingest.py``): rows are validated, refused rows go to quarantine, overlapping
packages are merged and plays are put in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from schemas.config import Source
from tasks.sources import hetrec, kkbox, lastfm_1k, scrobbles, spotify_export
from tasks.sources.earlier import Earlier
from tasks.warehouse import Warehouse


class Reader(Protocol):
    """What a raw format's module offers."""

    def files(self, settings: Source) -> list[Path]:
        """Raw files (or .zip archives) that ``stage`` would read, sorted.

        Raises ``InputError`` when there is nothing to read, without opening every file.
        """
        ...

    def stage(
        self, settings: Source, scratch: Path, warehouse: Warehouse, earlier: Earlier, /
    ) -> Mapping[str, Any]:
        """Make the relations ``raw_plays``, ``raw_tracks``, ``raw_users`` and ``raw_errors``.

        Each has exactly the columns of its model in ``schemas.tables``, in order. A value that
        cannot be read is null, its row stays: validation refuses it and says where it was. In
        ``raw_plays``, a timed source gives ``started_at = ended_at - ms_played`` and ``seq`` 0
        (both are settled when plays are put in order), and one that measures no lengths
        ``started_at = ended_at``; a source without a clock gives the row's number. ``scratch``
        may hold intermediate files; it is removed afterwards. Returns facts for the report: what
        was read, set apart, seen and not used. A source that dates its listeners' tags makes
        ``raw_tags`` too, and says so by the fact ``tags``, their number.

        A reader that leaves something in ``scratch/kept`` is given it when the source has changed,
        as ``earlier``. Then ``raw_plays`` and ``raw_errors`` have the new records alone, and all
        else is of old and new ones together, as if everything had been read. Raises
        ``ChangedError`` where that cannot be: where earlier records went or became others.
        """
        ...


READERS: Mapping[str, Reader] = {
    "spotify_export": spotify_export,
    "kkbox": kkbox,
    "lastfm_hetrec": hetrec,
    "lastfm_1k": lastfm_1k,
    "scrobbles": scrobbles,
}

# The readers that need digests of files' beginnings (see `Earlier`) tell up to where, before any file is
# hashed: of the settings and the earlier reading they make a function of the file.
BEGINNINGS: Mapping[str, Callable[[Source, Earlier], Callable[[Path], Iterable[int]]]] = {
    "spotify_export": spotify_export.beginnings,
}
