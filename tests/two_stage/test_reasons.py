"""Reasons: true of the listener, and told in the order of what counted for the ranker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from schemas.config import Store
from tasks.features import declared
from tasks.featurize import History
from tasks.two_stage import reasons
from tasks.warehouse import Warehouse

KINDS = ("own", "artist", "near", "sound", "others")


def told(weights: dict[str, float], **sentences: str | None) -> str:
    """The reason of one row."""
    given = dict.fromkeys(KINDS, None) | sentences
    frame = pl.DataFrame(given, dict.fromkeys(KINDS, pl.String))
    return str(reasons.told(frame, pl.DataFrame(weights | {"rest": 9.0})).item())


def test_the_kind_that_added_most_is_told_first() -> None:
    weights = {"again_score": 0.2, "pair_plays": 0.1, "covisit_rank": 0.5, "popular_score": -1.0}
    assert told(weights, own="OWN", near="NEAR", others="OTHERS") == "NEAR; OWN"
    # columns of a kind count together
    assert told(weights | {"heard": 0.3}, own="OWN", near="NEAR", others="OTHERS") == "OWN; NEAR"
    # what is not true is not told, and what took away is not added
    assert told(weights, own="OWN", others="OTHERS") == "OWN"
    # something is, even so
    assert told(weights, others="OTHERS") == "OTHERS"


def test_without_a_weight_the_most_telling_comes_first() -> None:
    assert told({"user_plays": 3.0}, artist="ARTIST", near="NEAR", others="OTHERS") == "ARTIST"
    negative = {"user_artist_plays": -2.0, "als_score": -1.0}
    assert told(negative, artist="ARTIST", near="NEAR") == "ARTIST"


def test_columns_of_pairs_and_tracks_speak_of_one_kind_at_most() -> None:
    """Whatever the source: a new feature must be given a kind, or be the user's own alone."""
    for clock in ("time", "order"):
        for feature in declared(clock):
            kinds = [k for k, starts in reasons.SPEAKS.items() if feature.name.startswith(starts)]
            assert len(kinds) <= 1, feature.name


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(Store(path=tmp_path / "store")) as door:
        yield door


def test_every_sentence_is_true(tmp_path: Path, warehouse: Warehouse) -> None:
    """u played a1 four times (three known to have been finished, of three), a2 once and b1 twice."""
    played = ["a1", "a1", "a1", "a1", "a2", "b1", "b1"]
    plays = pl.DataFrame(
        {
            "user_id": ["u"] * len(played) + ["v", "w", "v"],
            "track_id": [*played, "c1", "c1", "c2"],
            "seq": [*range(len(played)), 0, 0, 1],
        }
    )
    tracks = pl.DataFrame(
        {
            "track_id": ["a1", "a2", "a3", "b1", "b2", "c1", "c2", "d1", "e1"],
            "name": ["A1", "A2", "A3", "B1", "B2", "C1", "C2", None, "E1"],
            "artist": ["Ann", "Ann", "Ann", "Bob", "Bob", "Cy", "Cy", None, "Eve"],
        }
    )
    labels = plays.select("user_id", "seq", target=pl.Series([True] * 3 + [None] + [False] * 6))
    near = pl.DataFrame(
        {"track_id": ["c1", "c1"], "other_id": ["a3", "b1"], "rank": [1, 2], "score": [2.0, 1.0]}
    )
    for name, frame in (("plays", plays), ("tracks", tracks), ("labels", labels), ("near", near)):
        frame.write_parquet(tmp_path / f"{name}.parquet")
    nothing = tmp_path / "none.parquet"
    history = History(
        tmp_path / "plays.parquet", tmp_path / "tracks.parquet", nothing, nothing,
        {"completed": tmp_path / "labels.parquet"}, "time", "UTC",
    )  # fmt: skip
    sounds = pl.DataFrame(
        {
            "track_id": ["a1", "b1", "d1", "e1"],
            "sound": [[0.0, 0.0], [2.0, 2.0], [2.5, 2.0], [9.0, 9.0]],
        },
        schema_overrides={"sound": pl.List(pl.Float32)},
    )
    listed = tracks.select(user_id=pl.lit("u"), track_id="track_id", artist="artist")
    weights = {"pair_plays": 3.0, "user_artist_plays": 2.0, "covisit_score": 1.0, "rest": 0.0}
    contributions = pl.DataFrame(weights)[[0] * listed.height]
    found = reasons.given(
        listed, contributions, tmp_path / "near.parquet", "covisit", sounds, history, warehouse
    )
    assert dict(zip(listed["track_id"], found, strict=True)) == {
        "a1": "you finished 3 of 3 plays; you finished 3 of 4 by Ann",
        "a2": "you played it once; you finished 3 of 4 by Ann",
        "a3": "you finished 3 of 4 by Ann",
        "b1": "you played it 2 times",
        "b2": "you played Bob 2 times",
        "c1": "often played in one session with B1 by Bob, which you played 2 times",
        "c2": "played by one listener",
        "d1": "sounds like B1 by Bob, which you played 2 times",  # half a unit apart
        "e1": "played by nobody yet, found by what it is",
    }
