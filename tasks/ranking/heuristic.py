"""The rule of thumb: .65 of the track's and .35 of the artist's rate so far, smoothed.

For ``completed`` this is 1 − (.65 track + .35 artist skip rate). The rates are features, so they
are as of each play; nothing is fitted but the rate that stands in where neither is known.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tasks.ranking.protocol import Probabilities, Ranker, Task

TRACK_SHARE = 0.65


@dataclass(frozen=True)
class Heuristic:
    """Names of the two rate features (None where a source has none) and the fallback rate."""

    track: str | None
    artist: str | None
    fallback: float

    def score(self, frame: pl.DataFrame) -> Probabilities:
        """The weighted rate; where one is unknown the other stands in."""
        rates = [
            pl.col(name).cast(pl.Float64) if name else pl.lit(None, dtype=pl.Float64)
            for name in (self.track, self.artist)
        ]
        fallback = pl.lit(self.fallback)
        track = pl.coalesce(rates[0], rates[1], fallback)
        artist = pl.coalesce(rates[1], rates[0], fallback)
        score = (TRACK_SHARE * track + (1 - TRACK_SHARE) * artist).clip(0.0, 1.0)
        marked = frame.with_columns(heuristic_score=score)
        return marked["heuristic_score"].to_numpy()

    def save(self, folder: Path) -> None:
        """Write ``model.json``."""
        (folder / "model.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """The features used."""
        return asdict(self)


def fit(task: Task) -> Ranker:
    """Find the rate features of the target; the fallback is the training rate."""
    names = {column.name for column in task.columns}
    track, artist = (
        next(
            (f"{key}_{kind}_rate" for kind in ("repeat", "completion") if f"{key}_{kind}_rate" in names),
            None,
        )
        for key in ("track", "artist")
    )
    return Heuristic(track, artist, float(task.train["target"].mean()))  # type: ignore[arg-type]


def load(folder: Path) -> Ranker:
    """The saved rule."""
    return Heuristic(**json.loads((folder / "model.json").read_text(encoding="utf-8")))
