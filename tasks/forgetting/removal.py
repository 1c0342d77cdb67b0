"""Forgetting a listener: from the store, what was published and the registry, for good.

The order makes a killed run harmless: the tombstone comes first, so that no later ingest brings them
back, and the store, by which the same command finds them again, comes last.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from schemas.config import Config
from schemas.errors import InputError
from tasks import parts
from tasks.forgetting import published, registered, tombstones
from tasks.registry import Registry
from tasks.sources.earlier import KEPT
from tasks.store import in_use
from tasks.tracking_store import using

RAW = "world"  # what a simulated world wrote: raw files, which are never touched
STAYS = (
    "raw files under source.path: move or delete their records there yourself",
    "registered models trained with them, until you retrain and delete those versions",
    "metrics and figures of MLflow runs, which count them among others",
    "output.dir and stores of other configurations: run it with each of them",
    "backups, and copies that somebody has made",
)


@dataclass(frozen=True)
class Held:
    """What the store's ingested tables say: digests of those with the listener, and of the others."""

    with_them: frozenset[str]
    without: frozenset[str]


def forget(config: Config, now: datetime) -> dict[str, Any]:
    """Remove ``forget.user`` wherever Encore has put them; returns what was done, without the id.

    Raises ``InputError`` where no user is given, nothing knows them, or a run is at work in the
    store. Of a listener who was forgotten before, whatever is found again is removed.
    """
    ids = _ids(config)
    _refuse_while_busy(config.store.path)
    with using(config.tracking):
        return _forget(config, ids, Registry(config.tracking), now)


def _forget(config: Config, ids: tuple[str, ...], registry: Registry, now: datetime) -> dict[str, Any]:
    store, folder = config.store.path, config.output.dir
    held = search(store, ids)
    before = tombstones.read(store).of(ids[0])
    recommenders = registered.holding(registry, ids)
    if before is None and not (held.with_them or recommenders or published.holds(folder, ids)):
        raise InputError(
            "no such listener in the tables, in what was published or in a served recommender",
            place="forget.user", expected="an id as the tables have it; 007 in quotes",
            do="check the id, store.path and output.dir; ingest first if they were never ingested",
        )  # fmt: skip
    at = before.at if before and not held.with_them else now
    tomb = tombstones.bury(store, ids[0], held.with_them, held.without, at)
    out = published.clean(folder, ids, tomb.at)
    deleted = registered.delete(registry, recommenders)
    masked = registered.mask(registry, ids)
    models = registered.trained(registry, tomb)
    removed, freed = clear(store, tomb.at)
    return {
        "listener": "forgotten" if before is None else "was forgotten before; what was left is removed",
        "results removed from the store": removed,
        "bytes freed": freed,
        "published tables without them": _line(out.rewritten),
        "published files removed": _line(out.removed),
        "your own files that name them, left alone": _line(out.left),
        "served recommenders deleted": _line(deleted),
        "MLflow files in which their name was masked": masked,
        "models trained with them": _line(models.with_them),
        "models of which that is not known": _line(models.unknown),
        "next": "retrain, recommend and package make new ones without them",
        "stays": _line(STAYS, "; "),
    }


def _line(told: Sequence[str], between: str = ", ") -> str:
    """All of them, for none may be left out."""
    return between.join(told) or "none"


def search(store: Path, ids: tuple[str, ...]) -> Held:
    """Digests of the ingested tables in the store, by whether a listener of these names is in them."""
    with_them: set[str] = set()
    without: set[str] = set()
    for folder in (store / "ingest").glob("[!.]*/"):
        try:
            told = json.loads((folder / "entry.json").read_text(encoding="utf-8"))["tables"]
        except (OSError, ValueError, KeyError):  # what a killed run has left
            continue
        for name, table in told.items():
            path = folder / f"{name}.parquet"
            (with_them if holds(path, ids) else without).add(str(table["digest"]))
        if any(holds(path, ids) for path in (folder / KEPT).glob("*.parquet")):
            with_them.add(folder.name)  # no table, and so no model, need have them: only a file was seen
    return Held(frozenset(with_them), frozenset(without))


def holds(path: Path, ids: tuple[str, ...]) -> bool:
    """Whether a Parquet file has a column ``user_id`` or ``user`` of texts with one of these ids."""
    try:
        schema = pl.read_parquet_schema(path)
    except (OSError, pl.exceptions.PolarsError):  # vanished, or cut off by a kill
        return False
    columns = [name for name in published.LISTENER if schema.get(name) == pl.String]
    if not columns:
        return False
    wanted = pl.Series(ids, dtype=pl.String).implode()
    found = pl.scan_parquet(path).select(pl.any_horizontal(pl.col(columns).is_in(wanted).any()))
    return bool(found.collect(engine="streaming").item())


def clear(store: Path, at: datetime) -> tuple[int, int]:
    """Remove every result made before ``at``, whoever it is about; returns their number and bytes.

    Results do not say what they were made of, and one made with a listener need not name them
    (features, candidates by number, a fit): only all of them are surely all of theirs. They are
    computed again when they are next needed. What a simulated world wrote stays, as raw files do.
    """
    removed = freed = 0
    for folder in _results(store):
        made = folder / "entry.json"
        if made.exists() and made.stat().st_mtime >= at.timestamp():
            continue  # without them, as the tombstone was there
        freed += parts.size(folder)
        # first the file without which it is no result, so that a kill leaves no half one
        made.unlink(missing_ok=True)
        parts.remove(folder)
        removed += 1
    return removed, freed


def _results(store: Path) -> Iterator[Path]:
    for step in sorted(path for path in store.glob("*") if path.is_dir()):
        if step.name.startswith(".duckdb-"):
            yield step
        elif step.name == RAW:
            yield from (path for path in step.glob(".*") if path.is_dir())
        else:
            yield from sorted(path for path in step.iterdir() if path.is_dir())


def _ids(config: Config) -> tuple[str, ...]:
    """The id as it was given, and as readers of folders would spell it."""
    if config.forget.user is None or not config.forget.user.get_secret_value():
        raise InputError(
            "nobody to forget", place="forget.user", found="nothing", do="--set forget.user=ID"
        )
    given = config.forget.user.get_secret_value()
    return tuple(dict.fromkeys((given, unicodedata.normalize("NFC", given))))


def _refuse_while_busy(store: Path) -> None:
    """Another run would go on with what it has read, and publish it."""
    own = f"-{os.getpid()}-"
    for folder in (*store.glob(".duckdb-*"), *store.glob("*/.*")):
        if own not in folder.name.replace(".", "-") and in_use(folder):
            raise InputError(
                "a run is at work in this store", file=store, found=f"process {_process(folder)}",
                do="wait until it has ended, then forget; until then nothing is removed",
            )  # fmt: skip


def _process(folder: Path) -> str:
    return next(part for part in folder.name.replace(".", "-").split("-") if part.isdigit())
