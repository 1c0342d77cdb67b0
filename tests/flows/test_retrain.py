"""The main job, from raw exports to a champion and its report, over every source."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import polars as pl
import pytest

from schemas.config import Config
from tasks.commands import mlflow_server
from tasks.report import FIGURES
from tasks.report.content import MODEL_NAMES
from tests.flows.conftest import Place, artifacts, latest, logs

RANKERS = ("base_rate", "heuristic", "logistic", "lightgbm")
FILES = {
    "model_metrics.json", "model_comparison.csv", "model_comparison.json", "feature_importance.csv",
    "top_resume_playlist.csv", "scored_samples.csv", "resume_project_summary.md", "RESULTS.md",
    "visualization_summary.md", "figures/dashboard.html",
}  # fmt: skip
SVG = {f"figures/{name}.svg" for name in FIGURES}
PLATFORM = "figures/platform_mix.svg"  # account data has no platform
HOUR = "figures/target_by_hour.svg"  # KKBox has no clock
EXPECTED = {
    "simulated": FILES | SVG,
    "real_spotify": FILES | SVG - {PLATFORM},
    "real_kkbox": FILES | SVG - {HOUR},
    "simulated_kkbox": FILES | SVG - {HOUR} | {"submission.csv"},
}
STEPS = {"world", "ingest", "label", "featurize", "audit", "evaluate", "playlist", "report"} | {
    f"fit {name}" for name in RANKERS
}


@pytest.fixture(params=sorted(EXPECTED))
def done(request: pytest.FixtureRequest) -> tuple[str, Place]:
    """Each source's finished run."""
    return request.param, request.getfixturevalue(request.param)


def metrics(place: Place) -> dict[str, dict[str, float]]:
    """Model → metric and its bounds, of the holdout."""
    told: dict[str, dict[str, float]] = {}
    with (place.output / "model_comparison.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            told[row["model"]] = {
                name: float(row[name])
                for metric in ("log_loss", "auc", "pr_auc", "brier", "ece", "f1", "accuracy")
                for name in (metric, f"{metric}_low", f"{metric}_high")
            }
    return told


def test_every_file_of_the_report_is_there_and_nothing_else(done: tuple[str, Place]) -> None:
    name, place = done
    found = {
        path.relative_to(place.output).as_posix() for path in place.output.rglob("*") if path.is_file()
    }
    assert found == EXPECTED[name]
    assert all((place.output / path).stat().st_size > 0 for path in found)
    assert not list(place.folder.rglob("*.pkl"))
    assert not list(place.folder.rglob("*.pickle"))


def test_scored_samples_has_a_row_for_every_holdout_play(done: tuple[str, Place]) -> None:
    place = done[1]
    scored = place.scored()
    assert scored.columns == ["started_at", "user_id", "track_id", "target", "predicted_probability"]
    assert scored["predicted_probability"].is_between(0, 1).all()
    assert set(scored["target"]) == {0, 1}
    # the holdout by its definition, from the tables and not from what was scored
    told = place.facts("features")
    windows, order = told["windows"], told["clock"] == "order"
    stream = "repeated" if place.loaded.labels.target == "repeat" else "completed"
    labels = pl.read_parquet(place.entry("labels") / f"{stream}.parquet").filter(
        pl.col("target").is_not_null()
    )
    plays = pl.read_parquet(place.entry("ingest") / "plays.parquet").with_row_index("play")
    grain = pl.when(pl.col("resolution") == "minute").then(60_000).otherwise(1_000)
    start = pl.col("started_at").dt.epoch("ms") // grain * grain
    holdout = (
        labels.select("target", "matures_at", pl.col("play").cast(pl.UInt32))
        .join(plays.with_columns(tick=pl.col("seq") if order else start), on="play")
        .filter(pl.col("tick") >= windows["cutoff"])
        .filter(order or pl.col("matures_at") <= windows["end"])
    )
    assert scored.height == holdout.height == told["sizes"]["holdout"]["rows"]
    assert Counter(scored.select("user_id", "track_id", "target").rows()) == Counter(
        holdout.select("user_id", "track_id", pl.col("target").cast(pl.Int64)).rows()
    )
    # of all labelled plays only those that are still running at a border, one a listener, are left out
    if stream == "completed" or order:
        used = sum(size["rows"] for size in told["sizes"].values())
        assert labels.height - 2 * plays["user_id"].n_unique() <= used <= labels.height
        assert used == labels.height or not order


def test_metrics_are_finite_and_within_their_intervals(done: tuple[str, Place]) -> None:
    found = metrics(done[1])
    assert set(found) == set(RANKERS)
    for model, told in found.items():
        for metric in ("log_loss", "auc", "brier", "accuracy"):
            low, value, high = (told[f"{metric}{end}"] for end in ("_low", "", "_high"))
            assert math.isfinite(value), (model, metric)
            assert low <= value + 1e-9, (model, metric)
            assert value <= high + 1e-9, (model, metric)
    assert found["lightgbm"]["log_loss"] < found["base_rate"]["log_loss"]


def test_the_metrics_are_those_of_the_scored_samples(done: tuple[str, Place]) -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    scored = done[1].scored()
    told = metrics(done[1])["lightgbm"]
    target, probability = scored["target"].to_numpy(), scored["predicted_probability"].to_numpy()
    assert told["auc"] == pytest.approx(roc_auc_score(target, probability), abs=1e-6)
    assert told["log_loss"] == pytest.approx(log_loss(target, probability), abs=1e-6)


def test_results_begin_with_a_plain_verdict(done: tuple[str, Place]) -> None:
    lines = [line for line in (done[1].output / "RESULTS.md").read_text().splitlines() if line.strip()]
    assert lines[0].startswith("# ")
    verdict = re.sub(r"[*_>]", "", lines[1]).strip()
    assert re.match(r"(LightGBM|Too little data|None of|No )", verdict), verdict


def test_the_dashboard_asks_nobody_for_anything(done: tuple[str, Place]) -> None:
    page = (done[1].output / "figures/dashboard.html").read_text()
    outside = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?(?!data:|#)([^"'\s>]+)""", page)
    assert [found for found in outside if re.match(r"(https?:)?//", found)] == []
    assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//|fetch\(|XMLHttpRequest", page)


def test_every_id_of_the_kkbox_test_file_is_answered_once(simulated_kkbox: Place) -> None:
    test = pl.read_csv(simulated_kkbox.entry("world") / "export" / "test.csv", infer_schema=False)
    answers = pl.read_csv(
        simulated_kkbox.output / "submission.csv", schema={"id": pl.String, "target": pl.Float64}
    )
    assert answers["id"].to_list() == test["id"].to_list()
    assert answers["id"].n_unique() == answers.height > 0
    assert answers["target"].is_between(0, 1).all()
    assert answers["target"].n_unique() > 10


def test_a_scored_play_leads_back_to_its_raw_record(
    simulated: Place, real_spotify: Place, real_kkbox: Place, real_data: Path
) -> None:
    export = simulated.entry("world") / "export"
    for place, root in (
        (simulated, export),
        (real_spotify, real_data / "spotify_account"),
        (real_kkbox, real_data / "kkbox"),
    ):
        scored = pl.read_parquet(place.entry("evaluate") / "scored.parquet")
        tracks = pl.read_parquet(place.entry("ingest") / "tracks.parquet")
        named = scored.join(tracks.select("track_id", "name", "artist"), on="track_id", how="left")
        for row in named.sample(5, seed=1).iter_rows(named=True):
            path = root.parent / row["file"]
            if row["file"] == "train.csv":
                path = root / row["file"]
                record = list(csv.DictReader(path.open(encoding="utf-8")))[row["position"]]
                assert record["msno"] == row["user_id"]
                assert record["song_id"] == row["track_id"]
                assert int(record["target"]) == row["target"]
                continue
            record = json.loads(path.read_text(encoding="utf-8"))[row["position"]]
            track = record.get("trackName") or record["master_metadata_track_name"]
            artist = record.get("artistName") or record["master_metadata_album_artist_name"]
            assert (track.casefold().strip(), artist.casefold().strip()) == (
                row["name"].casefold().strip(),
                row["artist"].casefold().strip(),
            )


def runs(place: Place) -> tuple[Any, list[Any]]:
    """The training's parent run and its children."""
    registry = place.registry()
    experiment = registry.client.get_experiment_by_name("encore")
    found = registry.client.search_runs([experiment.experiment_id])
    found = [run for run in found if "encore.verdict" not in run.data.tags]  # not those of `monitor`
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert all(
        run.data.tags.get("mlflow.parentRunId") in (None, parents[0].info.run_id) for run in found
    )
    return parents[0], [run for run in found if run is not parents[0]]


def test_mlflow_has_one_run_with_a_child_per_ranker(done: tuple[str, Place]) -> None:
    place = done[1]
    parent, children = runs(place)
    assert parent.info.status == "FINISHED"
    fitted = [run for run in children if "encore.refit" not in run.data.tags]
    refits = [run for run in children if "encore.refit" in run.data.tags]
    assert sorted(run.info.run_name for run in fitted) == sorted(RANKERS)
    assert [run.info.run_name for run in refits] == ["lightgbm on all data"]

    config = place.loaded
    assert parent.data.params["target"] == config.labels.target
    assert parent.data.params["audit_mismatches"] == "0"
    told = {run.info.run_name: run.data.metrics for run in fitted}
    for model, numbers in metrics(place).items():
        assert told[model]["holdout_log_loss"] == pytest.approx(numbers["log_loss"])
        assert told[model]["holdout_auc_low"] == pytest.approx(numbers["auc_low"])
    assert parent.data.metrics["holdout_auc"] == pytest.approx(told["lightgbm"]["holdout_auc"])

    ingested = place.facts("ingest")["tables"]
    found = {each.dataset.name: each.dataset.digest for each in parent.inputs.dataset_inputs}
    assert set(found) == {*ingested, "features"}
    for name, table in ingested.items():
        assert found[name] == table["digest"][:36]


def test_mlflow_has_what_each_step_took(simulated: Place) -> None:
    parent, _ = runs(simulated)
    found = parent.data.metrics
    ran = {step.replace(" ", "_") for step in STEPS | {"record", "promote", "publish"}}
    steps = {name.partition(".")[2]: value for name, value in found.items() if name[:8] == "seconds."}
    flow, between = steps.pop("flow"), steps.pop("orchestration")
    assert set(steps) == ran == {name[8:] for name in found if name[:8] == "peak_mb."}
    for step, stored in {"ingest": "ingest", "featurize": "features"}.items():
        kept = json.loads((simulated.entry(stored) / "entry.json").read_text())
        assert kept["seconds"] - 0.001 <= steps[step] < kept["seconds"] + 5
    assert sum(steps.values()) + between == pytest.approx(flow, abs=0.05)  # one after the other
    assert 0 < between < flow
    assert parent.data.tags["encore.reused"] == ""


def test_mlflow_has_the_configuration_and_the_report_but_no_plays(done: tuple[str, Place]) -> None:
    place = done[1]
    parent, _ = runs(place)
    folder = Path(unquote(urlparse(parent.info.artifact_uri).path))
    kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    personal = {"scored_samples.csv", "top_resume_playlist.csv", "submission.csv"}
    assert {f"report/{name}" for name in EXPECTED[done[0]] - personal} <= kept
    assert not any(Path(name).name in personal for name in kept)
    applied = json.loads((folder / "config.json").read_text())
    assert applied == place.loaded.model_dump(mode="json")
    assert json.loads((folder / "promotion.json").read_text())["promoted"] is True


def test_the_champion_loads_without_pickle_and_gives_the_probabilities_of_the_batch(
    simulated: Place, simulated_kkbox: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from tasks import training

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    for place in (simulated, simulated_kkbox):
        registry, name = place.registry(), place.loaded.model_name
        challenger, champion = (registry.version(name, alias) for alias in ("challenger", "champion"))
        assert champion.tags["evaluated_version"] == str(challenger.number)
        table = pl.read_parquet(place.entry("features") / "features.parquet")
        windows = place.facts("features")["windows"]
        known = pl.col("target").is_not_null()
        rows = table.filter(known, pl.col("tick") >= windows["cutoff"])
        scored = pl.read_parquet(place.entry("evaluate") / "scored.parquet")["predicted_probability"]
        challenged = mlflow.pyfunc.load_model(f"models:/{name}@challenger")
        needed = challenged.metadata.get_input_schema().input_names()
        frame = rows.select(needed).to_pandas()
        for column, kind in challenged.metadata.get_input_schema().input_types_dict().items():
            frame[column] = frame[column].astype("object" if "string" in str(kind) else "float64")
        if scored.len() == rows.height:
            np.testing.assert_allclose(challenged.predict(frame), scored.to_numpy(), atol=1e-12)
        served = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(frame)
        batch = training.load(place.entry("refit")).score(rows)
        np.testing.assert_allclose(served, batch, atol=1e-12)
        assert not np.allclose(served, challenged.predict(frame))  # it has seen more


def test_prefect_shows_what_a_person_looks_for(first: tuple[Place, Any]) -> None:
    run, shown = first[1], artifacts(first[1])
    assert run.name == "retrain demo, target completed"
    assert shown["progress"] == 100
    compared = json.loads(shown["model-comparison"])
    assert set(compared[0]) == {"metric", *(MODEL_NAMES[ranker] for ranker in RANKERS)}
    assert [row["metric"] for row in compared][:2] == ["log loss", "AUC"]
    assert json.loads(shown["audit"])[0]["mismatches"] == 0
    assert json.loads(shown["promotion"])[0]["reason"] == "the first model of this name"
    assert {row["table"] for row in json.loads(shown["tables"])} >= {"plays", "tracks", "users"}
    parent, _ = runs(first[0])
    assert parent.info.run_id in shown["mlflow-run"]
    assert mlflow_server(first[0].loaded.tracking.uri) in shown["mlflow-run"]
    assert "LightGBM" in shown["verdict"]
    assert "Promotion: the first model of this name" in shown["verdict"]
    assert f"{first[0].output}/figures/dashboard.html" in shown["report"]
    assert "failure" not in shown
    assert any("featurize" in line and " rows " in line for line in logs(run))


def test_a_second_run_on_unchanged_input_computes_nothing_again(
    first: tuple[Place, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = first[0]
    entries = {path: path.stat().st_ctime_ns for path in made.store.glob("*/*/entry.json")}
    before = {path.name: path.read_bytes() for path in made.output.rglob("*") if path.is_file()}
    registry, name = made.registry(), made.loaded.model_name
    registered = {version.number: version.run_id for version in registry._versions(name)}
    parent, children = runs(made)
    capsys.readouterr()

    assert made.run("retrain") == 0

    _, tasks = latest("retrain")
    states = {task.name: task.state.name for task in tasks}
    assert {step for step, state in states.items() if state == "Reused"} == STEPS
    assert set(states.values()) == {"Reused", "Completed"}
    assert entries == {path: path.stat().st_ctime_ns for path in made.store.glob("*/*/entry.json")}
    after = {path.name: path.read_bytes() for path in made.output.rglob("*") if path.is_file()}
    assert after == before
    assert {version.number: version.run_id for version in registry._versions(name)} == registered
    again, same = runs(made)
    assert again.info.run_id == parent.info.run_id
    assert again.data.metrics == parent.data.metrics  # of what was done, not of finding it done
    assert len(same) == len(children)
    shown = capsys.readouterr().out
    assert all(ranker in shown for ranker in RANKERS)
    assert "Promotion: the first model of this name" in shown


def test_the_settings_make_a_form() -> None:
    from flows.retrain import retrain

    schema = retrain.parameters.model_dump()
    groups = schema["definitions"]["Config"]["properties"]
    assert set(groups) == set(Config.model_fields)
    for name, group in groups.items():
        if name == "dataset":
            continue
        definition = schema["definitions"][group["$ref"].rsplit("/", 1)[-1]]
        for setting, told in definition["properties"].items():
            assert told.get("description") or "$ref" in told, (name, setting)
