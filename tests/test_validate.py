"""Borders: who is refused, why, and what is our own fault."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from schemas import tables
from tasks.validate import check, refuse, split_valid

START = datetime(2020, 1, 1, tzinfo=UTC)


def plays(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Valid plays but for what each row says."""
    whole = {
        "user_id": "ann", "seq": 0, "track_id": "t", "started_at": START, "ended_at": START,
        "resolution": "second", "ms_played": 0, "file": "f.json",
    }  # fmt: skip
    schema = tables.columns(tables.Plays)
    return pl.DataFrame(
        [
            dict.fromkeys(schema) | whole | {"position": 10 * place} | row
            for place, row in enumerate(rows)
        ],
        schema=schema,
    )


def test_good_rows_pass_untouched() -> None:
    frame = plays([{}, {"ms_played": 86_400_000}, {"ms_played": None}])
    good, refused = split_valid(tables.Plays, frame)
    assert good.equals(frame)
    assert refused.is_empty()
    assert refused.schema == pl.Schema(tables.columns(tables.Quarantine))


@pytest.mark.parametrize(
    ("fault", "column", "reason"),
    [
        ({"track_id": None}, "track_id", "track_id: missing"),
        ({"ms_played": -1}, "ms_played", "ms_played: not in 0..86400000"),
        ({"ms_played": 10**12}, "ms_played", "ms_played: not in 0..86400000"),
        ({"ended_at": datetime(2004, 12, 31, tzinfo=UTC)}, "ended_at", "ended_at: before 2005-01-01"),
        ({"resolution": "week"}, "resolution", "resolution: not one of second, minute, day, order"),
        # a row is blamed once: on its first column, and not on what follows from another
        ({"track_id": None, "ms_played": -1}, "track_id", "track_id: missing"),
        (
            {"started_at": datetime(1990, 1, 1, tzinfo=UTC), "ms_played": 10**12},
            "ms_played",
            "ms_played: not in 0..86400000",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_place_and_reason(
    fault: dict[str, Any], column: str, reason: str
) -> None:
    frame = plays([{"ms_played": None}, fault, {}])
    good, refused = split_valid(tables.Plays, frame)
    assert good["position"].to_list() == [0, 20]
    assert refused.rows() == [("plays", "f.json", 10, column, reason)]
    tables.Quarantine.validate(refused)


def test_tables_without_a_file_are_located_by_row() -> None:
    schema = tables.columns(tables.Tracks)
    ids = ["a", None, "b", "c", "c"]
    frame = pl.DataFrame([dict.fromkeys(schema) | {"track_id": each} for each in ids], schema=schema)
    good, refused = split_valid(tables.Tracks, frame)
    assert good["track_id"].to_list() == ["a", "b"]
    assert refused.select("table", "file", "position", "reason").rows() == [
        ("tracks", "tracks", 1, "track_id: missing"),
        ("tracks", "tracks", 3, "track_id: not unique"),
        ("tracks", "tracks", 4, "track_id: not unique"),
    ]


def test_an_open_range_is_told_in_words() -> None:
    schema = tables.columns(tables.Users)
    rows = [{"user_id": "a", "age": 75}, {"user_id": "b", "age": 74, "registered_at": date(2020, 1, 1)}]
    frame = pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)
    good, refused = split_valid(tables.Users, frame)
    assert good["user_id"].to_list() == ["b"]
    assert refused["reason"].to_list() == ["age: not below 75"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.drop("platform"),
        lambda frame: frame.with_columns(extra=1),
        lambda frame: frame.with_columns(pl.col("ms_played").cast(pl.Int32)),
        lambda frame: frame.with_columns(pl.col("ended_at").dt.cast_time_unit("us")),
    ],
)
def test_a_frame_of_the_wrong_shape_is_our_own_fault(spoil: Any) -> None:
    with pytest.raises(ValueError, match="columns or types"):
        split_valid(tables.Plays, spoil(plays([{}, {"track_id": None}])))


def test_a_rule_beside_the_model() -> None:
    frame = plays([{}, {"ms_played": 5}, {"ms_played": None}])
    good, refused = refuse(tables.Plays, frame, "ms_played", "too long", pl.col("ms_played") > 4)
    assert good["position"].to_list() == [0, 20]
    assert refused.rows() == [("plays", "f.json", 10, "ms_played", "ms_played: too long")]


def test_check_stops_without_telling_values() -> None:
    assert check(tables.Plays, plays([{}])).height == 1
    with pytest.raises(ValueError, match=r"plays: 1 faults.*resolution") as caught:
        check(tables.Plays, plays([{}, {"resolution": "a secret"}]))
    assert "a secret" not in str(caught.value)
