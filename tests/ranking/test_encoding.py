"""Encoding: levels are learned from training rows alone, the rest shares a code, null stays null."""

from __future__ import annotations

import json

import polars as pl

from tasks.ranking.encoding import Encoding, learn
from tasks.ranking.protocol import Column

TRAIN = pl.DataFrame(
    {
        "varies": [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
        "constant": [5.0] * 10,
        "sometimes": [None, 5.0] * 5,
        "never": [None] * 10,
        "kind": ["b", "b", "b", "a", "a", "a", "c", "c", "rare", None],
        "one": ["x"] * 10,
        "one_or_none": ["x", None] * 5,
        "none": [None] * 10,
    },
    schema_overrides={"never": pl.Float32, "none": pl.String},
)
COLUMNS = [Column(name, TRAIN.schema[name] == pl.String) for name in TRAIN.columns]


def test_levels_are_in_order_of_frequency_and_rare_ones_pooled() -> None:
    """a and b tie and come by name; columns that never vary are left out, varying absence counts."""
    encoding = learn(TRAIN, COLUMNS, min_share=0.2)
    assert encoding.numbers == ("varies", "sometimes")
    assert encoding.levels == {"kind": ("a", "b", "c"), "one_or_none": ("x",)}
    assert encoding.names == ["varies", "sometimes", "kind", "one_or_none"]


def test_codes_are_places_the_rest_shares_the_next() -> None:
    encoding = Encoding(("n",), {"kind": ("a", "b")})
    frame = pl.DataFrame({"kind": ["b", "a", "rare", "unseen", None], "n": [1, 2, None, 4, 5], "z": 0})
    coded = encoding.apply(frame)
    assert coded.columns == ["n", "kind"]
    assert set(coded.dtypes) == {pl.Float32}
    assert coded["kind"].to_list() == [1, 0, 2, 2, None]
    assert coded["n"].to_list() == [1, 2, None, 4, 5]


def test_categoricals_and_strings_are_coded_alike() -> None:
    """Whatever the category's own physical code is."""
    encoding = learn(TRAIN, COLUMNS, min_share=0.2)
    turned = TRAIN.reverse().with_columns(pl.col("kind").cast(pl.Categorical))
    assert encoding.apply(turned)["kind"].to_list() == encoding.apply(TRAIN)["kind"].to_list()[::-1]


def test_a_column_of_only_rare_levels_still_tells_known_from_null() -> None:
    frame = pl.DataFrame({"kind": ["a", "b", "c", None]})
    encoding = learn(frame, [Column("kind", True)], min_share=0.9)
    assert encoding.levels == {"kind": ()}
    assert encoding.apply(frame)["kind"].to_list() == [0, 0, 0, None]


def test_no_columns_of_a_kind() -> None:
    assert learn(TRAIN, COLUMNS[:1], 0.1) == Encoding(("varies",), {})
    assert learn(TRAIN, COLUMNS[4:5], 0.2) == Encoding((), {"kind": ("a", "b", "c")})


def test_json_keeps_an_encoding() -> None:
    encoding = learn(TRAIN, COLUMNS, min_share=0.1)
    again = Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
    assert again == encoding
    assert again.apply(TRAIN).equals(encoding.apply(TRAIN))
