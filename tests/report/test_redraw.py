"""Figures from a scored_samples.csv alone are those of the same scored plays; bad files are refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Store
from schemas.errors import InputError
from tasks.report import figures
from tasks.report.redraw import THRESHOLD, read, redraw
from tasks.report.tables import write_scored
from tasks.report.words import UNNAMED

HEADER = "started_at,user_id,track_id,target,predicted_probability\n"


@pytest.fixture
def scored_csv(world: dict[str, Path], tmp_path: Path) -> Path:
    write_scored(world["scored"], tmp_path / "scored_samples.csv")
    return tmp_path / "scored_samples.csv"


def test_redrawn_figures_are_those_of_the_scored_plays(
    scored_csv: Path, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    name = "predicted_probability"
    holdout = figures.Holdout(world["scored"], {name: name}, name, THRESHOLD, UNNAMED, "Europe/Berlin")
    drawn = {each.name: each.svg for each in figures.draw(holdout, store)}
    redraw(scored_csv, tmp_path / "out", store, "Europe/Berlin")
    found = {
        path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "out/figures").glob("*.svg")
    }
    assert found == drawn
    assert set(found) == {
        "roc", "precision_recall", "calibration", "score_distribution", "confusion", "over_time",
        "target_by_hour",
    }  # fmt: skip


def test_the_page_and_summary_name_what_is_missing(
    scored_csv: Path, tmp_path: Path, store: Store
) -> None:
    paths = redraw(scored_csv, tmp_path / "out", store)
    assert tmp_path / "out/figures/dashboard.html" in paths
    page = (tmp_path / "out/figures/dashboard.html").read_text(encoding="utf-8")
    assert "240" in page
    assert "feature_importance: needs a model" in page
    assert "http" not in page
    assert "<script" not in page
    assert "target_by_artist" in (tmp_path / "out/visualization_summary.md").read_text(encoding="utf-8")


def test_only_the_scored_columns_are_needed_in_any_order(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "some.csv"
    path.write_text(
        "target,other,track_id,predicted_probability,user_id,started_at\n"
        "true,x,t,1,u,2024-05-01T12:00:00Z\nFALSE,x,t,0.25,u,\n",
        encoding="utf-8",
    )
    frame = read(path)
    assert frame["target"].to_list() == [True, False]
    assert frame["predicted_probability"].to_list() == [1.0, 0.25]
    assert frame["started_at"].null_count() == 1
    assert redraw(path, tmp_path / "out", store)


def test_a_single_class_draws_what_can_be_drawn(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "one.csv"
    path.write_text(HEADER + ",u,t,1,0.5\n" * 3, encoding="utf-8")
    names = {each.stem for each in redraw(path, tmp_path / "out", store) if each.suffix == ".svg"}
    assert names == {"calibration", "score_distribution", "confusion", "over_time"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a CSV of scored plays"),
        (HEADER, "no scored plays"),
        ("started_at,user_id,target,predicted_probability\n,u,1,.5\n", "add track_id"),
        (HEADER + ",u,t,1,0.5\n,u,t,2,0.5\n", "line 3, target | found: 2"),
        (HEADER + ",u,t,1,\n", "line 2, predicted_probability | found: nothing"),
        (HEADER + ",u,t,1,1.5\n", "line 2, predicted_probability | found: 1.5"),
        (HEADER + ",u,t,1,nan\n", "line 2, predicted_probability | found: nan"),
        (HEADER + ',"u\nv",t,1,0.5\n,u,t,1,x\n', "line 4, predicted_probability | found: x"),
        (HEADER + "yesterday,u,t,1,0.5\n", "line 2, started_at | found: yesterday"),
        (HEADER + ",,t,1,0.5\n", "line 2, user_id | found: nothing"),
        (HEADER + ",u,t,1,0.5,6,7\n", "not a CSV of scored plays"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(
    text: str, told: str, tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        redraw(path, tmp_path / "out", store)
    assert told in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InputError, match="cannot read the scored plays"):
        redraw(tmp_path / "none.csv", tmp_path / "out", store)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00started_at\x00\x80\n" * 9)
    with pytest.raises(InputError):
        redraw(tmp_path / "binary.csv", tmp_path / "out", store)


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1),
        min_size=1, max_size=8,
    ),
    share=st.floats(0, 1),
)  # fmt: skip
def test_any_id_and_probability_survive_the_csv(
    ids: list[str], share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    frame = pl.DataFrame(
        {
            "started_at": pl.Series([None] * len(ids), dtype=pl.Datetime("ms", "UTC")), "user_id": ids,
            "seq": range(len(ids)), "track_id": ids[::-1], "target": [True] * len(ids),
            "predicted_probability": [share] * len(ids),
        }
    )  # fmt: skip
    frame.write_parquet(folder / "scored.parquet")
    write_scored(folder / "scored.parquet", folder / "scored.csv")
    back = read(folder / "scored.csv")
    assert back.select(frame.columns).equals(frame.cast({"seq": back.schema["seq"]}))
