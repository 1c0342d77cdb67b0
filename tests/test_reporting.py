"""From finished steps to the files in output.dir: all of them, whole, and no other command's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load
from schemas.tables import Plays, Tracks
from tasks import other_reports, reporting
from tasks.metrics.binary import METRICS
from tasks.promotion import Decision
from tasks.report.content import from_json
from tasks.store import Entry, Table
from tests.made import constant
from tests.report.conftest import table

START = datetime(2024, 5, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ROWS = 120
TICK = int(START.timestamp() * 1000)
PLAIN = {
    "RESULTS.md", "model_metrics.json", "model_comparison.csv", "model_comparison.json",
    "feature_importance.csv", "top_resume_playlist.csv", "scored_samples.csv",
    "resume_project_summary.md", "visualization_summary.md", "figures/dashboard.html",
}  # fmt: skip
PERSONAL = {"scored_samples.csv", "top_resume_playlist.csv", "submission.csv"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(
        None,
        [
            f"output.dir={tmp_path / 'out'}", f"store.path={tmp_path / 'store'}",
            "models.rankers=[base_rate]", "models.champion_candidate=base_rate",
        ],
    )  # fmt: skip


def entry(path: Path, facts: Mapping[str, Any], **frames: pl.DataFrame) -> Entry:
    """A finished step, as the store would give it."""
    path.mkdir(parents=True, exist_ok=True)
    tables = {}
    for name, frame in frames.items():
        frame.write_parquet(path / f"{name}.parquet")
        tables[name] = Table(name, path / f"{name}.parquet", frame.height, f"digest of {name}")
    return Entry(path.name, f"key of {path.name}", path, tables, dict(facts), 1.5, reused=False)


@pytest.fixture
def steps(tmp_path: Path) -> dict[str, Entry]:
    """120 plays by two users, one every hour, of which three in four are completed."""
    started = [START + timedelta(hours=row) for row in range(ROWS)]
    target = [row % 4 != 0 for row in range(ROWS)]
    plays = table(
        Plays,
        {
            "user_id": [f"listener {row % 2}" for row in range(ROWS)],
            "seq": [row // 2 for row in range(ROWS)], "track_id": ["t"] * ROWS,
            "started_at": started, "ended_at": [at + timedelta(minutes=3) for at in started],
            "resolution": ["second"] * ROWS, "file": ["f"] * ROWS, "position": list(range(ROWS)),
        },
    )  # fmt: skip
    scored = plays.select("started_at", "user_id", "seq", "track_id").with_columns(
        target=pl.Series(target), base_rate=pl.lit(0.75), predicted_probability=pl.lit(0.75)
    )
    reader = {"unused_files": {"userdata": 1, "ignored: .zip inside of a .zip": 2}}
    files = [f"{place:064x} 0/export/{place}.json" for place in range(7)]
    numbers = dict.fromkeys(METRICS, (0.6, 0.5, 0.7))
    size = {"rows": ROWS, "users": 2, "positives": 0.75}
    edges = {"start": TICK, "validation": TICK + 1, "cutoff": TICK + 2, "end": TICK + 3}
    folder = tmp_path / "steps"
    return {
        "ingest": entry(
            folder / "ingest",
            {
                "clock": "time", "rows": {"plays": ROWS}, "refused": [], "files": files,
                "reader": reader,
            },
            plays=plays,
            tracks=table(Tracks, {"track_id": ["t"], "name": ["T"], "artist": ["A"]}),
        ),
        "labels": entry(folder / "labels", {"completed": {"known": ROWS, "rows": ROWS + 5}}),
        "features": entry(
            folder / "features",
            {
                "clock": "time", "windows": edges,
                "sizes": dict.fromkeys(("training", "validation", "holdout"), size),
            },
        ),
        "audit": entry(folder / "audit", {"plays": 3, "features": 60, "mismatches": 0}),
        "evaluate": entry(
            folder / "evaluate",
            {
                "metrics": {"base_rate": numbers}, "differences": {"base_rate": {}},
                "unit": "user-day", "units": 10, "users_with_history": 2,
            },
            scored=scored,
        ),
    }  # fmt: skip


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Entry]:
    made = entry(constant(tmp_path / "steps/fit-base_rate", 0.75), {"threshold": 0.5, "seconds": 0.1})
    return {"base_rate": made}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are named and not drawn, which takes seconds; tests/report draws them."""
    monkeypatch.setattr("tasks.report.charts.svg", lambda name, chart: f"<svg id='{name}'></svg>")


class Kept:
    """In place of MLflow: what a run was given to keep."""

    given: dict[str, bytes]

    def __init__(self, settings: Any) -> None:
        pass

    def attach(self, run_id: str, folder: Path, place: str) -> None:
        Kept.given = files(folder)
        assert (run_id, place) == ("run 1", "report")


@pytest.fixture
def publishing(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    monkeypatch.setattr(reporting, "Registry", Kept)
    return Kept


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def written(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], created: datetime = NOW
) -> Entry:
    decision = Decision(True, "the first model of this name", 1, None)
    return reporting.written(config, steps, models, decision, "run 1", created)


def plain(folder: Path) -> set[str]:
    """Files that are no figures: which of these can be drawn is for others to test."""
    return {name for name in files(folder) if not name.endswith(".svg")}


def test_all_files_are_written_and_say_what_the_steps_said(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], publishing: type[Kept]
) -> None:
    made = written(config, steps, models)
    assert reporting.published(config, made, "run 1") == config.output.dir
    assert plain(config.output.dir) == PLAIN
    assert any(name.endswith("calibration.svg") for name in files(config.output.dir))
    told = from_json((config.output.dir / "model_metrics.json").read_text(encoding="utf-8"))
    assert told.created == NOW
    assert told.labels_unknown == 5
    assert told.windows["holdout"].users_with_history == 2
    assert told.windows["training"].start == START
    assert told.lineage.keys["evaluate"] == "key of evaluate"
    assert told.lineage.tables["plays"] == "digest of plays"
    assert told.lineage.files["0/export/3.json"] == f"{3:064x}"
    assert told.promotion is not None
    assert told.promotion.reason == "the first model of this name"
    assert made.facts["verdict"].startswith("Too little data to say")
    assert made.facts["columns"][0] == "model"
    # plays of listeners stay here
    assert set(publishing.given) == set(files(config.output.dir)) - PERSONAL
    assert not any(b"listener 1" in content for content in publishing.given.values())


def test_results_list_few_raw_files_and_what_was_ignored(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry]
) -> None:
    text = (written(config, steps, models).path / "report/RESULTS.md").read_text(encoding="utf-8")
    assert text.count("| raw file ") == 5
    assert "| raw files | and 2 more (all in model_metrics.json) |" in text
    data = text.split("## Data")[1].split("\n## ")[0]
    assert "| reader › unused files › ignored: .zip inside of a .zip | 2 |" in data


def test_the_same_is_written_once_and_another_content_anew(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry]
) -> None:
    first = written(config, steps, models)
    later = written(config, steps, models, NOW + timedelta(days=1))
    assert later.reused
    assert later.key == first.key
    audit = steps["audit"]
    other = steps | {"audit": replace(audit, facts=audit.facts | {"plays": 4})}
    assert written(config, other, models).key != first.key


def test_a_submission_goes_with_the_report_but_not_to_mlflow(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], publishing: type[Kept],
    tmp_path: Path,
) -> None:  # fmt: skip
    answer = entry(tmp_path / "steps/answer", {"answers": 1})
    (answer.path / "submission.csv").write_text("id,target\n0,0.5\n")
    reporting.published(config, written(config, steps | {"answer": answer}, models), "run 1")
    assert (config.output.dir / "submission.csv").read_text() == "id,target\n0,0.5\n"
    assert "submission.csv" not in publishing.given


@pytest.mark.parametrize(
    "where", ["figures.draw", "dashboard.dashboard", "results.summary", "tables.write_scored"]
)
def test_when_drawing_fails_midway_nothing_is_left_half_written(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry],
    monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    def broken(*given: Any, **named: Any) -> Any:
        raise ZeroDivisionError("midway")

    with monkeypatch.context() as patch:
        patch.setattr(f"tasks.report.{where}", broken)
        with pytest.raises(ZeroDivisionError):
            written(config, steps, models)
    assert list((config.store.path / "report").iterdir()) == []
    assert not config.output.dir.exists()
    assert written(config, steps, models).reused is False


def test_a_report_is_replaced_file_by_file_and_each_is_whole(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], publishing: type[Kept]
) -> None:
    reporting.published(config, written(config, steps, models), "run 1")
    path = config.output.dir / "RESULTS.md"
    before, place = path.read_bytes(), path.stat().st_ino
    audit = steps["audit"]
    changed = steps | {"audit": replace(audit, facts=audit.facts | {"plays": 4})}
    with path.open("rb") as reading:  # someone has the old one open
        assert reading.read(10) == before[:10]
        reporting.published(config, written(config, changed, models), "run 1")
        assert reading.read() == before[10:]
    assert path.stat().st_ino != place
    assert b"4 plays rebuilt" in path.read_bytes()
    assert plain(config.output.dir) == PLAIN


def test_publishing_that_fails_leaves_the_last_report(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], publishing: type[Kept],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = written(config, steps, models)
    reporting.published(config, made, "run 1")
    before = files(config.output.dir)

    def full(source: Path, target: Path, **named: Any) -> None:
        (target / "RESULTS.md").write_bytes((source / "RESULTS.md").read_bytes()[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(InputError, match="cannot write the report"):
        reporting.published(config, made, "run 1")
    assert files(config.output.dir) == before


def test_an_output_that_cannot_be_written_is_refused_at_once(config: Config, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(
        InputError, match=r"cannot write the report .*what to do: choose another output\.dir"
    ):
        reporting.writable(config)
    (tmp_path / "out").unlink()
    reporting.writable(config)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def scoring(steps: dict[str, Entry], tmp_path: Path) -> Entry:
    """What scoring version 2 left."""
    numbers = dict.fromkeys(METRICS, (0.6, 0.5, None))
    facts = {
        "name": "encore-demo-completed", "version": 2, "run": "r", "refit": None, "clock": "time",
        "window": [TICK, TICK + 3_600_000 * ROWS], "features": "digest of features",
        "scored_at": NOW.isoformat(), "plays": ROWS, "users": 2, "share_true": 0.75, "threshold": 0.5,
        "unit": "user-day", "units": 10, "metrics": {"model": numbers, "base_rate": numbers},
        "difference": dict.fromkeys(METRICS, (-0.1, -0.2, -0.05)),
    }  # fmt: skip
    return entry(
        tmp_path / "scoring", facts, scored=pl.read_parquet(steps["evaluate"].tables["scored"].path)
    )


def test_an_evaluation_is_written_beside_a_retrains_report_not_over_it(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], publishing: type[Kept],
    scoring: Entry,
) -> None:  # fmt: skip
    reporting.published(config, written(config, steps, models), "run 1")
    before = files(config.output.dir)
    folder, told = other_reports.evaluated(config, steps["ingest"], scoring)
    assert folder == config.output.dir / "evaluate-v2"
    assert other_reports.evaluated(config, steps["ingest"], scoring)[0] == folder  # its own: replaced
    assert other_reports.redrawn(config) == config.output.dir / "visualize"
    after = files(config.output.dir)
    assert {name: after[name] for name in before} == before
    assert {Path(name).parts[0] for name in set(after) - set(before)} == {"evaluate-v2", "visualize"}
    assert "encore-demo-completed version 2 predicts whether" in told.verdict
    read = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert read["lineage"]["tables"]["plays"] == "digest of plays"
    assert read["lineage"]["tables"]["features"] == "digest of features"
    assert read["window"]["end"] == "2024-05-06T00:00:00+00:00"
    assert read["metrics"]["auc"] == {"value": 0.6, "low": 0.5, "high": None}


def test_a_retrain_replaces_an_evaluation_as_a_whole(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], publishing: type[Kept],
    scoring: Entry,
) -> None:  # fmt: skip
    folder, _ = other_reports.evaluated(config, steps["ingest"], scoring)
    assert folder == config.output.dir
    assert {"EVALUATION.md", "evaluation.json"} < set(files(folder))
    assert other_reports.redrawn(config) == config.output.dir / "visualize"
    shutil.rmtree(config.output.dir / "visualize")
    reporting.published(config, written(config, steps, models), "run 1")
    assert plain(config.output.dir) == PLAIN


def test_visualize_draws_into_a_folder_of_its_own_again(
    config: Config, steps: dict[str, Entry], models: dict[str, Entry], tmp_path: Path
) -> None:
    report = written(config, steps, models).path / "report"
    settings = [f"output.dir={tmp_path / 'mine'}", f"store.path={tmp_path / 'store'}"]
    alone = load(None, [*settings, f"visualize.scored_samples={report / 'scored_samples.csv'}"])
    assert other_reports.redrawn(alone) == tmp_path / "mine"
    assert other_reports.redrawn(alone) == tmp_path / "mine"
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {
        "figures", "visualization_summary.md"
    }  # fmt: skip
