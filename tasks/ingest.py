"""Raw exports to canonical tables: read, validate, merge packages, order plays, check.

Rows stream through in batches; for all plays at once only numbers are held, and texts as codes. Where
an earlier ingest read most of it, only what is new is read, and the same tables come out.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from schemas import tables
from schemas.config import Config, Source
from schemas.errors import InputError
from tasks import catalogue, growth, ordering, parts
from tasks.admitted import Tally, in_parts, parquet, valid
from tasks.forgetting import tombstones
from tasks.growth import Base
from tasks.sources import BEGINNINGS, READERS
from tasks.sources.catalogue import files
from tasks.sources.earlier import KEPT, Beginnings, ChangedError, Earlier
from tasks.store import digest_files
from tasks.validate import refuse
from tasks.warehouse import Warehouse

CHECKS = (
    "checks/plays_key",
    "checks/plays_tracks",
    "checks/plays_users",
    "checks/errors_users",
    "checks/tracks_key",
    "checks/users_key",
)


def resolve(config: Config, world: Path | None) -> Source:
    """The source as it is to be read: of a simulated one, the export in ``world`` and its format.

    ``world`` is the folder that ``tasks.simulation.write`` was given; None for real data. The
    other functions here take a config whose ``source`` is the resolved one.
    """
    if config.source.kind != "simulated":
        return config.source
    if world is None:
        raise ValueError("a simulated source needs the folder of its world")
    return config.source.model_copy(
        update={"kind": config.simulation.format, "path": (world / "export",)}
    )


def raw_files(config: Config) -> list[Path]:
    """The source's raw files. Raises ``InputError`` when there is nothing to read."""
    return READERS[config.source.kind].files(config.source)


def named(config: Config) -> dict[str, Path]:
    """Each raw file and each of the catalogue's by a name that does not tell where it lies.

    It starts with the place and the name of its ``source.path``: readers name accounts, packages and
    raw records by them. Names of the catalogue's files start with its own before that.
    """
    return {
        **_named(raw_files(config), config.source.path, ""),
        **_named(files(config.catalogue), config.catalogue.path, growth.CATALOGUE),
    }


def _named(paths: list[Path], roots: Sequence[Path], prefix: str) -> dict[str, Path]:
    told = {}
    places = [
        (root.parts, root.anchor, f"{prefix}{number}/{root.resolve().name}")
        for number, root in enumerate(roots)
    ]
    for path in paths:
        below = path.parts
        root, place = next(
            (root, place)
            for root, at, place in places
            if at == path.anchor and below[: len(root)] == root
        )
        told["/".join((place, *(below[len(root) :] or ".")))] = path
    return told


def inputs(
    config: Config, named: Mapping[str, Path], earlier: Earlier
) -> tuple[dict[str, Path], Beginnings]:
    """The files by ``<SHA-256> <name>``, sorted, for the store's key; and digests of their beginnings.

    Those that the reader will ask for when it is given ``earlier``: each file is hashed once.
    """
    asked = BEGINNINGS.get(config.source.kind)
    ends = asked(config.source, earlier) if asked else lambda _: ()
    own = dict.fromkeys(path for name, path in named.items() if not name.startswith(growth.CATALOGUE))
    digests = digest_files(own, ends)
    digests |= digest_files(path for path in named.values() if path not in own)
    found = sorted((f"{digests[path][0]} {name}", path) for name, path in named.items())
    return dict(found), {path: told for path, (_, told) in digests.items()}


def ingest(
    config: Config,
    now: datetime,
    folder: Path,
    base: Base | None = None,
    beginnings: Beginnings = MappingProxyType({}),
) -> dict[str, Any]:
    """Write plays, tracks, users, errors and quarantine as Parquet into ``folder``; return facts.

    Where the source dates tags, also those. With a catalogue also audio; then tracks are those of the
    source, completed, and the catalogue's. ``base`` is an earlier ingest in the same way (see
    ``growth.base``): what it read of the source is not read again where that makes no difference.
    ``beginnings`` are what ``inputs`` told: the reader need not hash these.

    ``now`` (aware) only serves to refuse plays of the future. Facts: ``reader`` (what the reader
    tells), ``clock`` ("time" or "order"), ``read`` and ``rows`` (rows by table, before and after),
    ``refused`` (rows by table, column and reason), ``merged_duplicates`` (plays that several
    packages hold), ``added`` (tracks and users that only plays or errors name), ``data_start`` and
    ``data_end`` (first start and last end in ISO format; first and last ``seq`` without a clock),
    ``catalogue`` (what its files hold, its tracks and how many of them were never played; or None).

    Listeners with a tombstone in the store are left out of every table, and so are tracks that only
    they played, unless the catalogue has them; ``forgotten`` counts the rows by table. It is there
    only if the store has tombstones.

    Raises ``InputError`` for raw data that is bad as a whole, without a valid play, or with more
    refused plays, or rows of the catalogue, than ``source.max_refused_share``.
    """
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=folder) as name:
        if base is not None:
            try:
                return _ingest(config, now, folder, base, beginnings, Path(name) / "new")
            except (ChangedError, InputError, FileNotFoundError):
                # a refusal is told of the whole source; the earlier entry may be removed by `gc`
                for path in {Path(name) / "new", *folder.iterdir()} - {Path(name)}:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        nothing = growth.nothing(Path(name))
        return _ingest(config, now, folder, nothing, beginnings, Path(name) / "all")


def _ingest(
    config: Config, now: datetime, folder: Path, base: Base, beginnings: Beginnings, scratch: Path
) -> dict[str, Any]:
    gone = tombstones.read(config.store.path)
    read = {table: base.facts["read"].get(table, 0) for table in growth.TOLD}
    tally = Tally(gone, read, refused=[base.quarantine()])
    scratch.mkdir()
    order = pl.DataFrame(schema=ordering.ORDER)
    touched = None
    with Warehouse(config.store) as warehouse:
        earlier = replace(base.earlier, beginnings=beginnings)
        told = READERS[config.source.kind].stage(config.source, scratch, warehouse, earlier)
        new = _valid_plays(warehouse, now.astimezone(UTC), scratch, tally)
        _refuse_too_many(tally, config.source)
        added = _write_others(warehouse, new, base, folder, tally)
        others = _write_optional(told, warehouse, folder, tally)
        described = catalogue.add(config, warehouse, scratch, folder, tally)
        clock = ordering.clock(new) or base.facts["clock"]
        if clock == "time":
            touched = growth.touched(base, new, scratch)
            if touched.pieces:
                warehouse.relation("valid_plays", touched.pieces)
                warehouse.relation("plays_before", touched.before)
                order = warehouse.frame("staging/plays")
    if base.earlier.kept and any(tally.forgotten.values()):
        raise ChangedError("what only forgotten listeners played is not known")
    # only now, with the warehouse's memory free again, come the texts of all plays
    standing = touched.standing if touched else 0
    with in_parts(folder / "plays.parquet", tables.Plays, base.plays, standing) as write:
        for batch in ordering.in_order(touched.pieces, order) if touched else ordering.as_read(new):
            write(batch)
    if touched:
        written = parts.rows(folder / "plays.parquet")
        assert written == standing + order.height, f"{written} plays, not {standing + order.height}"
    with parquet(folder / "quarantine.parquet", tables.Quarantine) as write:
        write(tally.quarantine())
    if touched and growth.may_be_kept(scratch / KEPT, tally):
        (scratch / KEPT).rename(folder / KEPT)
        more = ordering.merged(touched.pieces, order)
        growth.keep_merged(touched, more, folder / KEPT / growth.MERGED)
    _run_checks(config, folder, base)
    if described:
        others.append("audio")
    counts = {
        table: parts.rows(folder / f"{table}.parquet")
        for table in (*tables.SOURCE_TABLES, *others, "quarantine")
    }
    start, end = _bounds(folder / "plays.parquet", clock)
    refused = tally.reasons()
    return {
        "reader": gone.masked(told) if gone else dict(told),
        **({"forgotten": tally.forgotten} if gone else {}),
        "clock": clock,
        "read": tally.read,
        "rows": counts,
        "refused": refused.select("table", "column", "reason", "rows").to_dicts(),
        "merged_duplicates": tally.read["plays"] - _refused_plays(tally) - counts["plays"],
        "added": added,
        "data_start": start,
        "data_end": end,
        "catalogue": described,
    }


def _valid_plays(warehouse: Warehouse, now: datetime, scratch: Path, tally: Tally) -> list[Path]:
    """Files of valid plays in the order they were read, with the row's number ``record``.

    None of them is ``settled`` (see sql/staging/plays.sql).
    """
    clocked = pl.col("resolution") != "order"
    # a start that is missing is not to blame: it is made from the other two, or from the end alone
    # by a source that measures no lengths
    unplaced = clocked & pl.col("started_at").is_null()
    rules = [
        ("ended_at", "missing", clocked & pl.col("ended_at").is_null()),
        ("ms_played", "missing", unplaced & pl.col("ms_played").is_null()),
        ("started_at", "missing", unplaced),
        ("ended_at", growth.FUTURE, pl.col("ended_at") > now),
    ]
    pieces: list[Path] = []
    records = 0
    for good in valid(warehouse, "plays", tally):
        for column, reason, faulty in rules:
            good, refused = refuse(tables.Plays, good, column, reason, faulty)
            tally.refused.append(refused)
        if good.is_empty():
            continue
        pieces.append(scratch / f"valid-{len(pieces):06}.parquet")
        numbered = good.with_columns(
            record=pl.int_range(records, records + good.height), settled=pl.lit(value=False)
        )
        numbered.write_parquet(pieces[-1], compression="lz4")
        records += good.height
    return pieces


def _refuse_too_many(tally: Tally, settings: Source) -> None:
    """Raise ``InputError`` when too few plays are left to go on with."""
    read, refused = tally.read["plays"], _refused_plays(tally)
    where = ", ".join(map(str, settings.path))
    if read == 0 and tally.forgotten.get("plays"):
        raise InputError(
            "no plays in it but those of forgotten listeners", file=where, do="add other listeners'"
        )
    if read == 0:
        raise InputError("no plays in it", file=where, do="check source.path and source.kind")
    reasons = tally.told("plays")
    if refused == read:
        raise InputError(f"all {read} plays are refused", file=where, found=reasons, do="mend the files")
    if refused > settings.max_refused_share * read:
        raise InputError(
            f"{refused} of {read} plays are refused", file=where, found=reasons,
            expected=f"at most a share of {settings.max_refused_share}",
            do="mend the files or raise source.max_refused_share",
        )  # fmt: skip


def _refused_plays(tally: Tally) -> int:
    return tally.refusals("plays")


def _write_others(
    warehouse: Warehouse, pieces: list[Path], base: Base, folder: Path, tally: Tally
) -> dict[str, int]:
    """Write errors, tracks and users; return how many of the latter two only other tables name."""
    with parquet(
        folder / "errors.parquet", tables.Errors, base.errors, parts.rows(base.errors)
    ) as write:
        for good in valid(warehouse, "errors", tally):
            write(good)
    named = {"tracks": ("track_id", pieces), "users": ("user_id", [*pieces, folder / "errors.parquet"])}
    added = {}
    for table, (id_, naming) in named.items():
        model = tables.SOURCE_TABLES[table]
        ids = [pl.scan_parquet(path).select(pl.col(id_).unique()) for path in naming]
        ids.append(pl.LazyFrame(schema={id_: pl.String}))
        missing = pl.concat(ids).unique().collect(engine="streaming")
        # the earlier table has all that earlier plays name: they are asked only for what is left of it
        before = pl.read_parquet(base.folder / f"{table}.parquet", columns=[id_])
        unheard = tally.theirs - set(missing[id_]) if table == "tracks" and tally.theirs else set()
        only_theirs = pl.col(id_).is_in(pl.Series(sorted(unheard), dtype=pl.String).implode())
        with parquet(folder / f"{table}.parquet", model) as write:
            for good in valid(warehouse, table, tally):
                missing, before = (each.join(good, on=id_, how="anti") for each in (missing, before))
                write(good.filter(~only_theirs) if unheard else good)
            if not before.is_empty():
                earlier = pl.scan_parquet(base.plays).select(id_).join(before.lazy(), on=id_, how="semi")
                missing = pl.concat([missing, earlier.unique().collect(engine="streaming")]).unique()
            nulls = [
                pl.lit(None, dtype).alias(column)
                for column, dtype in tables.columns(model).items()
                if column != id_
            ]
            write(missing.sort(id_).select(id_, *nulls))
        added[table] = missing.height
    return added


def _write_optional(
    told: Mapping[str, Any], warehouse: Warehouse, folder: Path, tally: Tally
) -> list[str]:
    """Write the tables that only some sources have, where the reader's facts name them."""
    there = [table for table in tables.OTHER_TABLES if table in told]
    for table in there:
        with parquet(folder / f"{table}.parquet", tables.OTHER_TABLES[table]) as write:
            for good in valid(warehouse, table, tally):
                write(good)
    return there


def _run_checks(config: Config, folder: Path, base: Base) -> None:
    """What holds between tables. Raises ``ValueError``: by now nothing may fail.

    That the base's own plays have different keys was found when they were written.
    """
    before = {parts.identity(path) for path in parts.files(base.plays)} - {None}
    plays = parts.files(folder / "plays.parquet")
    standing = [path for path in plays if parts.identity(path) in before]
    with Warehouse(config.store) as warehouse:
        for table in tables.SOURCE_TABLES:
            warehouse.relation(table, folder / f"{table}.parquet")
        warehouse.relation("written_plays", [path for path in plays if path not in standing])
        warehouse.relation(
            "standing_plays", standing or pl.DataFrame(schema=tables.columns(tables.Plays))
        )
        audio = folder / "audio.parquet"
        if audio.exists():
            warehouse.relation("audio", audio)
        for name in (*CHECKS, *(["checks/audio_tracks"] if audio.exists() else [])):
            broken = warehouse.frame(name)
            if not broken.is_empty():
                raise ValueError(f"{name}: {broken.height} rows")


def _bounds(path: Path, clock: str) -> tuple[str, str] | tuple[int, int]:
    scan = pl.scan_parquet(path)
    if clock == "order":
        first, last = scan.select(pl.min("seq"), seq_end=pl.max("seq")).collect().row(0)
        return first, last
    start, end = scan.select(pl.min("started_at"), pl.max("ended_at")).collect().row(0)
    return start.isoformat(), end.isoformat()
