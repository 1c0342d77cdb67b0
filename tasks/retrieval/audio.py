"""Audio features as numbers that can be compared with each other."""

from __future__ import annotations

import polars as pl

from schemas.tables import AUDIO

NOTES = ("key", "mode", "time_signature")  # what is played rather than how it sounds


def standardised(tracks: pl.DataFrame) -> pl.DataFrame:
    """The columns AUDIO of ``tracks`` as Float32, each with mean 0 and deviation 1 over them.

    Null stays null; of a column that is the same throughout, what is known is 0.
    """
    columns = []
    for name in AUDIO:
        value = pl.col(name).cast(pl.Float64)
        scale = value.std(ddof=0)
        apart = value - value.mean()
        columns.append(
            pl.when(scale > 0).then(apart / scale).otherwise(apart * 0).cast(pl.Float32).alias(name)
        )
    return tracks.select(columns)
