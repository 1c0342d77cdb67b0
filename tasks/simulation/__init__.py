"""A seeded world of listeners that writes raw exports in the real formats, at any scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.config import Simulation


def write(settings: Simulation, folder: Path) -> Mapping[str, Any]:
    """Write the world's raw exports to ``folder/export`` and its truth to ``folder/truth.parquet``.

    The export is in ``settings.format``: an account folder per listener with all three of Spotify's
    packages, or the five KKBox files. The truth of Spotify accounts has a row per play of a track:
    user_id (the account folder's name), ended_at (Datetime ms, UTC, whole seconds), ms_played (Int64),
    track_name, artist_name, probability (Float64: that the play is heard to its end, given all that is
    settled before this is drawn). The truth of KKBox has the targets of test.csv: id, target (Int64).

    The same settings give the same bytes. Returns counts for the report. Raises ``InputError`` when the
    plays do not fit into the days.
    """
    # compiled and heavy: not before someone wants a world
    from tasks.simulation import kkbox, spotify
    from tasks.simulation.world import simulate

    world = simulate(settings)
    writer = {"spotify_export": spotify, "kkbox": kkbox}[settings.format]
    (folder / "export").mkdir(parents=True)
    facts: Mapping[str, Any] = writer.write(world, folder / "export")
    writer.truth(world, folder / "truth.parquet")
    return facts
