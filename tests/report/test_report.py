"""The report's files: all there, with the numbers that went in, safe to open, never half-written."""

from __future__ import annotations

import csv
import json
import math
import re
import resource
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from schemas.config import Store
from schemas.errors import InputError
from tasks.metrics.binary import Interval
from tasks.report import FIGURES, write
from tasks.report.content import Report, from_json, to_json
from tasks.warehouse import Warehouse
from tests.report.conftest import NASTY, ROWS

FILES = {
    "model_metrics.json", "model_comparison.csv", "model_comparison.json", "feature_importance.csv",
    "top_resume_playlist.csv", "scored_samples.csv", "resume_project_summary.md", "RESULTS.md",
    "visualization_summary.md", "figures/dashboard.html", *(f"figures/{name}.svg" for name in FIGURES),
}  # fmt: skip


@pytest.fixture(scope="module")
def written(report: Report, world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    store = Store(path=folder / "store")
    paths = write(report, world["scored"], world["plays"], world["tracks"], folder / "out", store)
    assert {str(path.relative_to(folder / "out")) for path in paths} == FILES
    return folder / "out"


def test_every_file_is_there_and_nothing_else(written: Path) -> None:
    assert {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()} == FILES
    assert all((written / name).stat().st_size > 0 for name in FILES)


def test_the_same_report_gives_the_same_bytes(
    written: Path, report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    write(report, world["scored"], world["plays"], world["tracks"], tmp_path / "again", store)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes(), name


def test_metrics_json_is_the_whole_report(written: Path, report: Report) -> None:
    read = from_json((written / "model_metrics.json").read_text(encoding="utf-8"))
    assert to_json(read) == to_json(report)
    assert replace(read, models=()) == replace(report, models=())  # NaN bounds differ from themselves
    assert read.models[2].differences["heuristic"]["log_loss"] == Interval(-0.021, -0.024, -0.018)


def test_a_report_without_a_clock_survives_json(report: Report) -> None:
    rows = replace(report.windows["holdout"], start=100, end=340)
    timeless = replace(
        report, clock=False, windows={"holdout": rows}, models=(), audit=None, promotion=None
    )
    assert from_json(to_json(timeless)) == timeless


def test_comparison_has_a_row_per_model(written: Path) -> None:
    frame = pl.read_csv(written / "model_comparison.csv")
    assert frame["model"].to_list() == ["base_rate", "heuristic", "lightgbm"]
    assert frame["registered"].to_list() == [False, False, True]
    assert frame["log_loss"].to_list() == [0.64, 0.61, 0.59]
    assert frame["log_loss_minus_heuristic_high"].to_list() == [None, None, -0.018]
    told = json.loads((written / "model_comparison.json").read_text(encoding="utf-8"))
    assert told["verdict"].startswith("LightGBM predicts")
    assert [row["log_loss_minus_base_rate"] for row in told["models"]] == [None, -0.03, -0.05]
    assert told["models"][2]["ece_low"] is None  # not NaN, which is no JSON


def test_importance_is_ranked_by_gain(written: Path) -> None:
    rows = list(csv.reader((written / "feature_importance.csv").open(encoding="utf-8")))
    assert rows == [
        ["rank", "feature", "gain", "split", "needs"],
        ["1", "early", "9.0", "5", "user"],
        ["2", "late", "1.0", "3", "track"],
    ]


def test_scored_samples_hold_every_play_exactly(written: Path, world: dict[str, Path]) -> None:
    scored = pl.read_parquet(world["scored"])
    with (written / "scored_samples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ROWS
    assert list(rows[0]) == ["started_at", "user_id", "track_id", "target", "predicted_probability"]
    assert rows[0]["user_id"] == NASTY
    assert rows[0]["started_at"] == "2024-05-01T00:00:00.000Z"
    assert [row["track_id"] for row in rows] == scored["track_id"].to_list()
    assert [row["target"] == "1" for row in rows] == scored["target"].to_list()
    assert [float(row["predicted_probability"]) for row in rows] == scored[
        "predicted_probability"
    ].to_list()


def test_results_open_with_the_verdict_and_name_what_matters(written: Path) -> None:
    text = (written / "RESULTS.md").read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith(
        "**LightGBM predicts whether a play is heard to its end better than"
    )
    assert "| LightGBM ★ | .590 (.580 to .600) | .700 (.650 to .750) | .040 |" in text
    assert "| LightGBM − heuristic | −.021 (−.024 to −.018) | – | – |" in text
    assert (
        "60 plays rebuilt with every later record removed; 1,800 features compared; 0 mismatches" in text
    )
    assert "| LightGBM | 87% (85% to 89%) |" in text
    assert "Promoted: no champion yet" in text
    assert "12 more cannot have one" in text
    assert "| rows › plays | 1,140 |" in text
    assert "calibrated \\| isotonic" in text
    assert "header only: no tracks were ranked" in text
    assert "| holdout | 2024-05-01 00:00 | 2024-05-31 00:00 | 240 | 4 | 3 | 66.7% |" in text


def test_too_little_data_is_said_first(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    poor = replace(report, resampling_units=3)
    write(poor, world["scored"], world["plays"], world["tracks"], tmp_path / "out", store)
    for name in ("RESULTS.md", "resume_project_summary.md", "figures/dashboard.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "Too little data to say whether LightGBM beats the baselines" in text


def test_the_dashboard_fetches_nothing(written: Path) -> None:
    text = (written / "figures/dashboard.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b", text)
    assert not re.search(r"""\b(src|href|srcset|action|data)\s*=""", text)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert not re.search(r"https?://", text)
    assert text.count("<figure>") == len(FIGURES)
    assert text.count("<h1>") == 1
    assert text.count("<h2>") >= 5


def test_ids_within_the_dashboard_are_unique(written: Path) -> None:
    ids = re.findall(r'\bid="([^"]+)"', (written / "figures/dashboard.html").read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids))


def test_names_cannot_become_markup(written: Path) -> None:
    for path in [written / "figures/dashboard.html", *written.glob("figures/*.svg")]:
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<b>" not in text
    artists = (written / "figures/target_by_artist.svg").read_text(encoding="utf-8")
    assert "&lt;b&gt;track 1&lt;/b&gt; &amp; co" in artists
    assert "<b>" not in (written / "visualization_summary.md").read_text(encoding="utf-8")


def test_figures_are_xml_with_text_as_text_and_no_user(written: Path) -> None:
    for path in written.glob("figures/*.svg"):
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "<text" in text
        assert "user 1" not in text


def test_slices_are_those_counted_by_hand(tmp_path: Path, store: Store) -> None:
    """Four plays: two on New Year's Eve UTC, which is already the new year in Tokyo."""
    eve = datetime(2023, 12, 31, 20, tzinfo=UTC)
    scored = pl.DataFrame(
        {
            "started_at": [eve, eve, eve + timedelta(hours=12), eve + timedelta(days=40)],
            "user_id": ["u"] * 4, "seq": [0, 1, 2, 3], "target": [True, False, True, True],
            "predicted_probability": [0.5, 0.5, 0.25, 1.0],
        }
    )  # fmt: skip
    with Warehouse(store) as warehouse:
        warehouse.relation("scored", scored)
        hours = warehouse.frame("reports/target_by_hour", timezone="Asia/Tokyo").rows()
        assert hours == [(5, 3, 2), (17, 1, 1)]
        months = warehouse.frame(
            "reports/target_over_time", period="month", timezone="Asia/Tokyo"
        ).rows()
        assert [row[:3] for row in months] == [
            (datetime(2024, 1, 1), 3, 2), (datetime(2024, 2, 1), 1, 1)
        ]  # fmt: skip
        assert months[0][3:] == pytest.approx((1.25 / 3, math.log(16) / 3))  # ln 2 + ln 2 + ln 4
        assert months[1][3:] == pytest.approx((1.0, 0.0), abs=1e-12)
        blocks = warehouse.frame("reports/target_by_block", blocks=2).rows()
        assert [row[:3] for row in blocks] == [(1, 2, 1), (2, 2, 2)]


def test_a_playlist_is_written_as_ranked(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    playlist = pl.DataFrame(
        {
            "reason": ["often heard, rarely skipped", 'the "one"'], "rank": [1, 2],
            "user_id": ["ann", "ann"], "uri": ["spotify:track:1", None], "name": [NASTY, "b"],
            "artist": ["x, y", "z"], "probability": [0.9, 0.8],
        }
    )  # fmt: skip
    write(report, world["scored"], None, None, tmp_path / "out", store, playlist)
    with (tmp_path / "out/top_resume_playlist.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["user_id", "rank", "uri", "name", "artist", "probability", "reason"]
    assert rows[1] == [
        "ann",
        "1",
        "spotify:track:1",
        NASTY,
        "x, y",
        "0.9",
        "often heard, rarely skipped",
    ]
    assert rows[2][2] == ""
    assert "(2 tracks)" in (tmp_path / "out/RESULTS.md").read_text(encoding="utf-8")
    summary = (tmp_path / "out/visualization_summary.md").read_text(encoding="utf-8")
    assert "target_by_artist: needs the tracks table" in summary
    assert "platform_mix: needs the plays table" in summary


def test_a_figure_that_is_no_longer_true_goes(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    out = tmp_path / "out"
    write(report, world["scored"], world["plays"], world["tracks"], out, store)
    write(report, world["scored"], None, None, out, store)
    assert not (out / "figures/target_by_artist.svg").exists()
    assert (out / "figures/roc.svg").exists()


def test_one_class_draws_what_it_can(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    single = tmp_path / "single.parquet"
    pl.read_parquet(world["scored"]).filter(pl.col("target")).write_parquet(single)
    write(report, single, world["plays"], world["tracks"], tmp_path / "out", store)
    assert not (tmp_path / "out/figures/roc.svg").exists()
    assert (tmp_path / "out/figures/score_distribution.svg").exists()
    assert "roc: needs both outcomes" in (tmp_path / "out/RESULTS.md").read_text(encoding="utf-8")


def test_without_a_clock_row_blocks_stand_for_time(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    timeless = tmp_path / "timeless.parquet"
    frame = pl.read_parquet(world["scored"])
    frame.with_columns(
        started_at=pl.lit(None, dtype=frame.schema["started_at"]), seq=pl.int_range(pl.len())
    ).write_parquet(timeless)
    write(replace(report, clock=False), timeless, None, None, tmp_path / "out", store)
    assert "row block" in (tmp_path / "out/figures/over_time.svg").read_text(encoding="utf-8")
    assert not (tmp_path / "out/figures/target_by_hour.svg").exists()
    first = (tmp_path / "out/scored_samples.csv").read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith(',"a ""quoted"')


def test_a_folder_that_cannot_be_written_is_named(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(InputError, match="cannot write the report") as refusal:
            write(report, world["scored"], None, None, folder, store)
        assert str(folder) in str(refusal.value)


def test_a_full_disk_leaves_the_last_report_whole(
    report: Report, world: dict[str, Path], tmp_path: Path, store: Store
) -> None:
    out = tmp_path / "out"
    write(report, world["scored"], None, None, out, store)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))  # a file's write fails, as on a full disk
    try:
        with pytest.raises(InputError, match="cannot write the report"):
            write(replace(report, dataset="other"), world["scored"], None, None, out, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert list(out.glob(".*")) == []
