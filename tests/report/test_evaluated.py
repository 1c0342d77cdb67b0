"""The report of a registered model: whole, the verdict first, and never over another command's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from schemas.config import Store
from tasks.metrics.binary import METRICS, Interval
from tasks.report import FIGURES
from tasks.report.content import Evaluated, Lineage, Window
from tasks.report.evaluated import write
from tasks.report.files import room
from tasks.report.redraw import redraw
from tasks.report.tables import write_scored
from tasks.report.verdict import against_base_rate
from tests.report.conftest import ROWS, START

DRAWN = {
    "roc", "precision_recall", "calibration", "score_distribution", "confusion", "over_time",
    "target_by_hour",
}  # fmt: skip
FILES = {
    "EVALUATION.md", "evaluation.json", "scored_samples.csv", "visualization_summary.md",
    "figures/dashboard.html", *(f"figures/{name}.svg" for name in DRAWN),
}  # fmt: skip
WINDOW = Window(START, START + timedelta(days=30), ROWS, 4, 2 / 3)


def interval(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


@pytest.fixture
def told() -> Evaluated:
    metrics = {metric: interval(0.6) for metric in METRICS}
    return Evaluated(
        verdict="Version 3 predicts it better than the base rate.",
        model="encore-demo-completed",
        version=3,
        asked_for="champion",
        refit=4,
        run="abc123",
        dataset="demo",
        target="completed",
        target_sentence="a play is heard to its end",
        timezone="Europe/Berlin",
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        window=WINDOW,
        share_true=2 / 3,
        threshold=0.55,
        resampling_unit="user-day",
        resampling_units=118,
        metrics=metrics | {"auc": interval(0.87)},
        base_rate=metrics | {"auc": Interval(0.5, 0.5, 0.5)},
        difference={metric: interval(-0.05) for metric in METRICS},
        lineage=Lineage(
            {f"{place}.json": f"{place:064}" for place in range(8)}, {"plays": "cd" * 16}
        ),
    )  # fmt: skip


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are named and not drawn, which takes seconds."""
    monkeypatch.setattr("tasks.report.charts.svg", lambda name, chart: f"<svg id='{name}'></svg>")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("undrawn")
def test_every_file_is_there_and_the_same_again(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    paths = write(told, world["scored"], tmp_path / "out", store)
    found = files(tmp_path / "out")
    assert set(found) == FILES == {path.relative_to(tmp_path / "out").as_posix() for path in paths}
    write(told, world["scored"], tmp_path / "again", store)
    assert files(tmp_path / "again") == found


def test_the_scored_plays_are_those_of_retrain_and_drawn_as_by_visualize(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    write(told, world["scored"], tmp_path / "out", store)
    write_scored(world["scored"], tmp_path / "as_retrain.csv")
    scored = tmp_path / "out/scored_samples.csv"
    assert scored.read_bytes() == (tmp_path / "as_retrain.csv").read_bytes()
    redraw(scored, tmp_path / "drawn", store, "Europe/Berlin")
    for name in ("roc", "calibration"):  # the others name the outcomes, which the file alone does not
        drawn = (tmp_path / f"drawn/figures/{name}.svg").read_text(encoding="utf-8")
        mine = (tmp_path / f"out/figures/{name}.svg").read_text(encoding="utf-8")
        assert mine.count("<path") == drawn.count("<path") > 5
    confusion = (tmp_path / "out/figures/confusion.svg").read_text(encoding="utf-8")
    assert "was completed" in confusion
    assert "Decisions at the threshold 0.55" in confusion


def test_the_page_begins_with_the_verdict_and_says_on_what_it_rests(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    write(told, world["scored"], tmp_path / "out", store)
    text = (tmp_path / "out/EVALUATION.md").read_text(encoding="utf-8")
    assert text.splitlines()[2] == f"**{told.verdict}**"
    assert (
        "240 plays of the data set demo by 4 users, from 2024-05-01 00:00 to 2024-05-31 00:00 UTC"
        in text
    )
    assert "“champion”, version 4" in text
    assert "| AUC | .870 (.860 to .880) | .500 (.500 to .500) | −.050 (−.060 to −.040) |" in text
    assert "| raw file 4.json |" in text
    assert "raw file 5.json" not in text
    assert "| raw files | and 3 more (all in evaluation.json) |" in text
    page = (tmp_path / "out/figures/dashboard.html").read_text(encoding="utf-8")
    assert told.verdict in page
    assert "encore-demo-completed version 3" in page
    for shown in (text, page):
        assert "user 1" not in shown


@pytest.mark.usefixtures("undrawn")
def test_the_numbers_are_whole_in_json(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    nothing = {**told.base_rate, "auc": Interval(float("nan"), float("nan"), float("nan"))}
    write(replace(told, base_rate=nothing), world["scored"], tmp_path / "out", store)
    text = (tmp_path / "out/evaluation.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    read = json.loads(text)
    assert (read["model"], read["version"], read["asked_for"]) == (
        "encore-demo-completed",
        3,
        "champion",
    )
    assert read["window"]["start"] == "2024-05-01T00:00:00+00:00"
    assert read["metrics"]["auc"] == {"value": 0.87, "low": 0.86, "high": 0.88}
    assert read["base_rate"]["auc"]["value"] is None
    assert len(read["lineage"]["files"]) == 8
    assert read["lineage"]["tables"] == {"plays": "cd" * 16}


@pytest.mark.usefixtures("undrawn")
def test_without_a_clock_rows_are_named(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    timeless = tmp_path / "timeless.parquet"
    frame = pl.read_parquet(world["scored"])
    frame.with_columns(started_at=pl.lit(None, dtype=frame.schema["started_at"])).write_parquet(timeless)
    rows = replace(WINDOW, start=10_000, end=15_000)
    write(replace(told, window=rows), timeless, tmp_path / "out", store)
    text = (tmp_path / "out/EVALUATION.md").read_text(encoding="utf-8")
    assert "from row 10,000 to row 15,000: all" in text


@pytest.mark.usefixtures("undrawn")
def test_what_fails_midway_leaves_the_old_report(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    write(told, world["scored"], out, store)
    before = files(out)

    def broken(told: Evaluated) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("tasks.report.evaluated.page", broken)
    with pytest.raises(ZeroDivisionError):
        write(replace(told, version=9), world["scored"], out, store)
    assert files(out) == before


@pytest.mark.usefixtures("undrawn")
def test_a_figure_that_is_no_longer_true_goes(
    told: Evaluated, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    single = tmp_path / "single.parquet"
    pl.read_parquet(world["scored"]).filter(pl.col("target")).write_parquet(single)
    write(told, world["scored"], tmp_path / "out", store)
    write(told, single, tmp_path / "out", store)
    assert "roc" in DRAWN
    assert "roc" in FIGURES
    assert not (tmp_path / "out/figures/roc.svg").exists()
    redraw(tmp_path / "out/scored_samples.csv", tmp_path / "drawn", store)
    (tmp_path / "drawn/figures/roc.svg").write_text("of an earlier run")
    redraw(tmp_path / "out/scored_samples.csv", tmp_path / "drawn", store)
    assert not (tmp_path / "drawn/figures/roc.svg").exists()


@pytest.mark.parametrize(
    ("there", "command", "written"),
    [
        ((), "evaluate", "."),
        ((), "visualize", "."),
        (("notes.txt", "EXPLORE.md"), "evaluate", "."),
        (("evaluation.json", "figures/dashboard.html", "scored_samples.csv"), "evaluate", "."),
        (("figures/dashboard.html",), "visualize", "."),
        (("scored_samples.csv",), "visualize", "."),
        (("model_metrics.json", "figures/dashboard.html"), "evaluate", "below"),
        (("model_metrics.json", "figures/dashboard.html"), "visualize", "below"),
        (("model_metrics.json", "evaluation.json"), "evaluate", "below"),
        (("evaluation.json", "figures/dashboard.html"), "visualize", "below"),
        (("figures/dashboard.html",), "evaluate", "below"),
        (("scored_samples.csv",), "evaluate", "below"),  # someone's own
    ],
)
def test_no_report_is_written_over_another_commands(
    tmp_path: Path, there: tuple[str, ...], command: str, written: str
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert room(tmp_path, command, "below") == tmp_path / written


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Interval(-0.05, -0.06, -0.04), "M predicts whether it is better than the base rate: log loss "
         "is lower by .050 (95 % .040 to .060) than the base rate's."),
        (Interval(0.05, 0.04, 0.06), "M predicts whether it is worse than the base rate: log loss is "
         "higher by .050 (95 % .040 to .060) than the base rate's."),
        (Interval(-0.01, -0.03, 0.01), "M is not shown to beat the base rate at predicting whether it "
         "is: log loss is lower by .010 than the base rate's, which may be chance "
         "(95 % −.030 to +.010 includes zero)."),
        (Interval(-0.05, float("nan"), float("nan")), "Too little data to say whether M beats the base "
         "rate: no interval could be computed for the difference in log loss."),
    ],
)  # fmt: skip
def test_the_verdict_on_a_registered_model(difference: Interval, said: str) -> None:
    assert against_base_rate("M", "it is", WINDOW, 118, "user-day", difference) == said


def test_too_little_data_for_a_verdict() -> None:
    lost = Interval(-0.05, -0.06, -0.04)
    few = replace(WINDOW, positive_share=29 / 240)
    said = against_base_rate("M", "it is", few, 118, "user", lost)
    assert said.startswith(
        "Too little data to say whether M beats the base rate: the window has 240 plays"
    )
    assert "only 9 independent units (user)" in against_base_rate("M", "it is", WINDOW, 9, "user", lost)
