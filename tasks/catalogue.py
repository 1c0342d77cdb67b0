"""A catalogue beside a source: its tracks among the source's, and what is measured of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow.parquet as pq

from schemas import tables
from schemas.config import Config
from schemas.errors import InputError
from tasks.admitted import BATCH, Tally, parquet, typed, valid
from tasks.sources import catalogue
from tasks.warehouse import Warehouse

_MERGE = {
    "merged": "staging/catalogue_merged",
    "genres": "staging/catalogue_genres",
    "artist_genres": "staging/catalogue_artist_genres",
    "tracks": "staging/catalogue_tracks",
    "audio": "staging/catalogue_audio",
}


def add(
    config: Config, warehouse: Warehouse, scratch: Path, folder: Path, tally: Tally
) -> dict[str, Any] | None:
    """Write audio, and tracks anew with the catalogue's among them; return facts, None without one."""
    if not config.catalogue.path:
        return None
    staged = catalogue.stage(config.catalogue, scratch, warehouse)
    for table, paths in (("catalogue", staged.tracks), ("artists", staged.artists)):
        model = tables.CATALOGUE_TABLES[table]
        nothing = pl.DataFrame(schema=tables.columns(model))
        warehouse.relation(f"raw_{table}", paths or nothing)
        with parquet(scratch / f"{table}.parquet", model) as write:
            for good in valid(warehouse, table, tally):
                write(good)
        _refuse_too_much(tally, table, config)
    warehouse.relation("catalogue", scratch / "catalogue.parquet")
    warehouse.relation("catalogue_of_artists", scratch / "artists.parquet")
    for name in ("merged", "genres", "artist_genres"):  # on disk: the memory is for what comes next
        warehouse.write(_MERGE[name], scratch / f"catalogue_{name}.parquet")
        warehouse.relation(f"catalogue_{name}", scratch / f"catalogue_{name}.parquet")
    own = scratch / "source_tracks.parquet"
    (folder / "tracks.parquet").rename(own)
    warehouse.relation("source_tracks", own)
    for name, model in (("tracks", tables.Tracks), ("audio", tables.Audio)):
        with parquet(folder / f"{name}.parquet", model) as write:
            for batch in warehouse.batches(_MERGE[name], BATCH):
                write(typed(model, cast(pl.DataFrame, pl.from_arrow(batch))))
    source, everything, described = (
        pq.read_metadata(path).num_rows
        for path in (own, folder / "tracks.parquet", folder / "audio.parquet")
    )
    return {"files": staged.facts, "tracks": described, "unheard": everything - source}


def _refuse_too_much(tally: Tally, table: str, config: Config) -> None:
    """Raise ``InputError`` for a catalogue that is mostly of no use."""
    read, refused = tally.read[table], tally.refusals(table)
    if refused > config.source.max_refused_share * read:
        raise InputError(
            f"{refused} of {read} records of the catalogue are refused",
            file=", ".join(map(str, config.catalogue.path)), found=tally.told(table),
            expected=f"at most a share of {config.source.max_refused_share}",
            do="mend the files or raise source.max_refused_share",
        )  # fmt: skip
