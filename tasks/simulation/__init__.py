"""A seeded world of listeners that writes raw exports in the real formats, at any scale."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.config import Simulation
from schemas.errors import InputError


def write(settings: Simulation, folder: Path) -> Mapping[str, Any]:
    """Write the world's raw exports to ``folder/export`` and its truth to ``folder/truth.parquet``.

    The export is in ``settings.format``: an account folder per listener with all three of Spotify's
    packages, or the five KKBox files. The truth of Spotify accounts has a row per play of a track:
    user_id (the account folder's name), ended_at (Datetime ms, UTC, whole seconds), ms_played (Int64),
    track_name, artist_name, probability (Float64: that the play is heard to its end, given all that is
    settled before this is drawn). The truth of KKBox has the targets of test.csv: id, target (Int64).

    Both appear whole or not at all, and replace an earlier world in the same folder; the same settings
    give the same bytes. Returns counts for the report. Raises ``InputError`` when the plays do not fit
    into the days, or when ``folder/export`` is there but no world of ours.
    """
    # compiled and heavy: not before someone wants a world
    from tasks.simulation import kkbox, spotify
    from tasks.simulation.world import simulate

    export, truth, writing = folder / "export", folder / "truth.parquet", folder / ".writing"
    if export.exists() and not truth.exists():
        raise InputError(
            "will not replace a folder that is no simulated world",
            file=export,
            expected="truth.parquet beside it, or no such folder",
            do="choose another simulation.path",
        )
    world = simulate(settings)
    writer = {"spotify_export": spotify, "kkbox": kkbox}[settings.format]
    if writing.exists():  # of a run that was killed
        shutil.rmtree(writing)
    (writing / "export").mkdir(parents=True)
    facts: Mapping[str, Any] = writer.write(world, writing / "export")
    writer.truth(world, writing / "truth.parquet")
    # the truth first: without it, an export is not taken for ours
    (writing / "truth.parquet").replace(truth)
    if export.exists():
        shutil.rmtree(export)
    (writing / "export").rename(export)
    writing.rmdir()
    return facts
