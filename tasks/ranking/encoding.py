"""Feature columns as numbers: which categories there are is learned from training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tasks.ranking.protocol import Column


@dataclass(frozen=True)
class Encoding:
    """Numeric columns, and for each category column its levels, most frequent first.

    A level's code is its place; rarer and unseen levels share the next code; null stays null.
    """

    numbers: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]

    @property
    def names(self) -> list[str]:
        """All columns, in the order of ``apply``."""
        return [*self.numbers, *self.levels]

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Float32 columns, categories as codes."""
        return frame.select(
            *(pl.col(name).cast(pl.Float32) for name in self.numbers),
            *(_coded(name, levels) for name, levels in self.levels.items()),
        )

    def among(self, names: Sequence[str]) -> Encoding:
        """The part of it that reads columns among ``names``."""
        levels = {name: levels for name, levels in self.levels.items() if name in names}
        return Encoding(tuple(name for name in self.numbers if name in names), levels)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"numbers": list(self.numbers), "levels": {k: list(v) for k, v in self.levels.items()}}

    @staticmethod
    def from_json(saved: dict[str, Any]) -> Encoding:
        """From ``to_json``."""
        return Encoding(tuple(saved["numbers"]), {k: tuple(v) for k, v in saved["levels"].items()})


def _coded(name: str, levels: Sequence[str]) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    codes = text.replace_strict(
        list(levels), list(range(len(levels))), default=len(levels), return_dtype=pl.Float32
    )
    return pl.when(text.is_not_null()).then(codes).alias(name)


def learn(train: pl.DataFrame, columns: Sequence[Column], min_share: float) -> Encoding:
    """Levels with at least ``min_share`` of the rows; columns that never vary are left out."""
    numbers = [column.name for column in columns if not column.category]
    varied = (
        train.select(
            pl.col(numbers).min().name.prefix("min "), pl.col(numbers).max().name.prefix("max ")
        ).row(0, named=True)
        if numbers
        else {}
    )
    nulls = train.select(pl.col(numbers).null_count()).row(0, named=True) if numbers else {}
    kept = [
        name
        for name in numbers
        if varied[f"min {name}"] is not None
        and (varied[f"min {name}"] < varied[f"max {name}"] or nulls[name] > 0)
    ]
    levels = {}
    for column in columns:
        if not column.category:
            continue
        counted = (
            train.select(level=pl.col(column.name).cast(pl.String))
            .drop_nulls()
            .group_by("level")
            .len()
            .sort("len", "level", descending=[True, False])
        )
        frequent = counted.filter(pl.col("len") >= min_share * train.height)["level"].to_list()
        if counted.height > 1 or (counted.height == 1 and counted["len"][0] < train.height):
            levels[column.name] = tuple(frequent)
    return Encoding(tuple(kept), levels)
