"""What a person can get wrong: exit code 2, one line that says what to do, and nothing half-written."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import ROOT, Place, artifacts, latest

GOOD = [
    {
        "endTime": f"2020-01-{1 + n // 24:02} {n % 24:02}:00",
        "artistName": f"A{n % 3}",
        "trackName": f"T{n % 5}",
        "msPlayed": 90_000,
    }
    for n in range(120)
]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def empty(folder: Path) -> None:
    folder.mkdir()


def no_export(folder: Path) -> None:
    write(folder / "notes.txt", "hello")
    write(folder / "package.json", {"name": "something else"})


def truncated(folder: Path) -> None:
    write(folder / "MyData" / "StreamingHistory0.json", json.dumps(GOOD)[:-30])


def corrupt_among_good(folder: Path) -> None:
    write(folder / "MyData" / "StreamingHistory0.json", GOOD)
    write(folder / "MyData" / "StreamingHistory1.json", json.dumps(GOOD).replace(":", ";", 4))


def too_few(folder: Path) -> None:
    write(folder / "MyData" / "StreamingHistory0.json", GOOD)


def all_broken(folder: Path) -> None:
    write(folder / "MyData" / "StreamingHistory0.json", [row | {"msPlayed": -1} for row in GOOD])


def nothing(folder: Path) -> None:
    """The folder is not there."""


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (nothing, "export"),
        (empty, "no streaming history found"),
        (no_export, "no streaming history found"),
        (truncated, "StreamingHistory0.json"),
        (corrupt_among_good, "StreamingHistory1.json"),
        (all_broken, "all 120 plays are refused"),
        (too_few, "too few plays to split"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_raw_data_is_one_line_and_leaves_nothing(
    place: Callable[..., Place],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], None],
    said: str,
) -> None:
    source = tmp_path / "export"
    prepare(source)
    made = place("spotify", f"source.path={source}")
    assert made.run("retrain") == 2
    shown = refusal(capsys)
    assert said in shown
    assert "what to do: " in shown
    assert files(made.output) == []
    kept = {path.relative_to(made.store).parts[0] for path in files(made.store)}
    assert kept <= ({"ingest", "labels"} if prepare is too_few else set())
    assert not list(made.store.glob("*/.*"))
    run, _ = latest("retrain")
    assert run.state.is_failed()
    assert said in artifacts(run)["failure"]


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of error; progress lines may come before it."""
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    lines = shown.err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def test_labels_that_are_all_the_same_are_refused(
    place: Callable[..., Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def record(day: int, hour: int) -> dict[str, Any]:
        done = day % 2 == 0 if day < 24 else True
        return {
            "ts": f"2022-01-{day + 1:02}T{hour:02}:00:00Z",
            "platform": "ios",
            "ms_played": 60_000 + hour,
            "master_metadata_track_name": f"T{hour % 7}",
            "master_metadata_album_artist_name": "A",
            "spotify_track_uri": f"spotify:track:{hour % 7:022}",
            "reason_start": "trackdone",
            "reason_end": "trackdone" if done else "fwdbtn",
            "skipped": not done,
        }

    records = [record(day, hour) for day in range(30) for hour in range(24)]
    write(tmp_path / "export" / "endsong_0.json", records)
    made = place("spotify", f"source.path={tmp_path / 'export'}", "split.min_rows=20")
    assert made.run("retrain") == 2
    shown = refusal(capsys)
    assert "all labels of the holdout window are the same" in shown
    assert "split.holdout" in shown
    assert files(made.output) == []
    assert not list(made.store.glob("features/*"))


@pytest.mark.parametrize(
    ("setting", "said", "done"),
    [
        ("output.dir", "cannot write the report", set()),
        ("store.path", "cannot write to the store", set()),
        # opened while the data is read
        ("tracking.uri", "the MLflow store cannot be used", {"world", "ingest", "labels"}),
    ],
)
def test_what_cannot_be_written_is_found_before_the_work(
    place: Callable[..., Place],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    said: str,
    done: set[str],
) -> None:
    (tmp_path / "file").write_text("in the way")
    below = tmp_path / "file" / "below"
    made = place("demo")
    value = f"sqlite:///{below}" if setting == "tracking.uri" else below
    assert made.run("retrain", f"{setting}={value}") == 2
    shown = refusal(capsys)
    assert said in shown
    assert str(tmp_path / "file") in shown
    assert {path.relative_to(made.store).parts[0] for path in files(made.store)} <= done
    assert files(made.output) == []


def test_an_mlflow_store_that_is_none_is_found_before_the_work(
    place: Callable[..., Place], capsys: pytest.CaptureFixture[str]
) -> None:
    made = place("demo")
    (made.folder / "mlflow.db").write_text("this is no database\n" * 50)
    assert made.run("retrain") == 2
    assert "file is not a database" in refusal(capsys)
    assert not (made.store / "features").exists()


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("gone", "size", "step"),
    [
        (("world",), 30_000, "world"),
        (("ingest",), 20_000, "ingest"),
        (("features",), 50_000, "features"),
        (("fit-lightgbm",), 2_000, "fit-lightgbm"),
        (("report",), 20_000, "report"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    simulated: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    gone: tuple[str, ...],
    size: int,
    step: str,
) -> None:
    shutil.copytree(simulated.store, tmp_path / "store")
    for name in gone:
        shutil.rmtree(tmp_path / "store" / name)
    capsys.readouterr()
    with at_most(size):
        code = simulated.run(
            "retrain", f"store.path={tmp_path / 'store'}", f"output.dir={tmp_path / 'output'}"
        )
    assert code == 2
    shown = refusal(capsys)
    assert "the disk of the store is full" in shown
    assert str(tmp_path / "store") in shown
    assert files(tmp_path / "output") == []
    assert list((tmp_path / "store" / step).iterdir()) == []


def test_a_disk_that_is_full_for_the_report_leaves_the_old_one(
    simulated: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    write(output / "RESULTS.md", "# the report of last week\n")
    capsys.readouterr()
    with at_most(20_000):
        assert simulated.run("retrain", f"output.dir={output}") == 2
    assert "cannot write the report" in refusal(capsys)
    assert [path.name for path in output.iterdir()] == ["RESULTS.md"]
    assert (output / "RESULTS.md").read_text() == "# the report of last week\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the scored plays"),
        ("", "not a CSV of scored plays"),
        ("a,b\n1,2\n", "missing column"),
        ("started_at,user_id,track_id,target,predicted_probability\n", "no scored plays"),
        (
            "started_at,user_id,track_id,target,predicted_probability\n"
            "2024-01-01T00:00:00.000Z,u,t,1,0.5\n2024-01-01T00:00:00.000Z,u,t,1,1.5\n",
            "line 3, predicted_probability | found: 1.5",
        ),
        (
            "started_at,user_id,track_id,target,predicted_probability\nyesterday,u,t,1,0.5\n",
            "line 2, started_at | found: yesterday",
        ),
    ],
)
def test_visualize_names_the_fault_of_its_file(
    place: Callable[..., Place],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    said: str,
) -> None:
    path = tmp_path / "scored_samples.csv"
    if content is not None:
        path.write_text(content)
    made = place("demo", f"visualize.scored_samples={path}")
    assert made.run("visualize") == 2
    shown = refusal(capsys)
    assert said in shown
    assert str(path) in shown
    assert files(made.output) == []


def test_visualize_draws_the_figures_again(simulated: Place, tmp_path: Path) -> None:
    scored = simulated.output / "scored_samples.csv"
    output = tmp_path / "again"
    assert simulated.run("visualize", f"visualize.scored_samples={scored}", f"output.dir={output}") == 0
    assert (output / "figures/dashboard.html").stat().st_size > 10_000
    assert (output / "figures/roc.svg").is_file()


def test_visualize_into_the_folder_of_a_fuller_report_loses_nothing(
    simulated: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    shutil.copytree(simulated.output, output)
    before = {path: path.read_bytes() for path in files(output)}
    capsys.readouterr()
    assert simulated.run("visualize", f"output.dir={output}") == 0
    assert capsys.readouterr().out.strip().endswith(f"report: {output}/visualize/figures/dashboard.html")
    assert {path: path.read_bytes() for path in before} == before
    assert {path.relative_to(output).parts[0] for path in set(files(output)) - set(before)} == {
        "visualize"
    }


def test_visualize_names_a_store_that_cannot_be_written(
    simulated: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    scored = simulated.output / "scored_samples.csv"
    settings = (f"visualize.scored_samples={scored}", f"output.dir={tmp_path / 'out'}")
    capsys.readouterr()
    assert simulated.run("visualize", *settings, f"store.path={tmp_path / 'file' / 'below'}") == 2
    shown = refusal(capsys)
    assert "cannot write to the store" in shown
    assert "store.path" in shown


def test_evaluate_needs_a_registered_model(simulated: Place, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert simulated.run("evaluate", "evaluation.model=9") == 2
    assert "no such registered model | place: evaluation.model | found: 9 of encore-demo" in refusal(
        capsys
    )
    assert simulated.run("evaluate", "labels.target=repeat", "split.min_rows=20") == 2
    assert "found: champion of encore-demo-repeat" in refusal(capsys)


def test_promote_needs_a_version_that_is_there(
    simulated: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert simulated.run("promote", "promotion.version=77") == 2
    assert "place: promotion.version | found: 77" in refusal(capsys)


def test_evaluate_refuses_plays_that_the_model_was_fitted_on(
    real_spotify: Place, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plays = json.loads((real_data / "spotify_account" / "StreamingHistory.json").read_text())
    write(tmp_path / "export" / "StreamingHistory.json", plays[: len(plays) // 2])
    settings = (f"source.path={tmp_path / 'export'}", f"store.path={tmp_path / 'store'}")
    capsys.readouterr()
    assert real_spotify.run("evaluate", *settings) == 2
    shown = refusal(capsys)
    assert "was fitted on nearly all of this data" in shown
    assert "evaluation.model=N" in shown


def test_evaluate_gives_the_numbers_of_the_report_on_the_same_plays(
    simulated: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was retrained into ``output``: the evaluation goes below it and leaves the rest as it is."""
    output = tmp_path / "output"
    shutil.copytree(simulated.output, output)
    told = json.loads((simulated.output / "model_metrics.json").read_text())
    (lightgbm,) = [model for model in told["models"] if model["name"] == "lightgbm"]
    capsys.readouterr()
    assert simulated.run("evaluate", f"output.dir={output}") == 0
    shown = capsys.readouterr().out
    below = output / "evaluate-v1"  # of the champion, refitted on all plays, the evaluated version
    for metric in ("log_loss", "auc", "brier", "f1"):
        numbers = lightgbm["metrics"][metric]
        assert (
            f"{metric}: {numbers['value']:.4f} ({numbers['low']:.4f} to {numbers['high']:.4f})" in shown
        )
    assert f"plays: {simulated.scored().height}" in shown
    assert f"report: {below}/EVALUATION.md and {below}/figures/dashboard.html" in shown
    before = {path.relative_to(simulated.output) for path in files(simulated.output)}
    after = {path.relative_to(output) for path in files(output)}
    assert {path.parts[0] for path in after - before} == {"evaluate-v1"}
    for path in before:
        assert (output / path).read_bytes() == (simulated.output / path).read_bytes()
    assert (below / "scored_samples.csv").read_bytes() == (
        simulated.output / "scored_samples.csv"
    ).read_bytes()

    read = json.loads((below / "evaluation.json").read_text())
    assert (read["model"], read["version"]) == ("encore-demo-completed", 1)
    assert (read["asked_for"], read["refit"]) == ("champion", 2)
    assert read["lineage"]["tables"].items() <= told["lineage"]["tables"].items()
    assert read["lineage"]["files"] == told["lineage"]["files"]
    holdout = told["windows"]["holdout"]
    assert holdout["start"] <= read["window"]["start"] < read["window"]["end"] == holdout["end"]
    share = float(simulated.scored()["target"].to_numpy().mean())
    entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert read["base_rate"]["log_loss"]["value"] == pytest.approx(entropy)
    assert read["difference"]["log_loss"]["value"] == pytest.approx(
        lightgbm["metrics"]["log_loss"]["value"] - entropy
    )
    page = (below / "EVALUATION.md").read_text().splitlines()
    assert page[2] == f"**{read['verdict']}**"
    run, _ = latest("evaluate")
    assert read["verdict"] in artifacts(run)["verdict"]
    assert artifacts(run)["progress"] == 100

    again = {path: path.read_bytes() for path in files(below)}
    assert simulated.run("evaluate", f"output.dir={output}") == 0
    assert {path: path.read_bytes() for path in files(below)} == again
    states = {task.name: task.state.name for task in latest("evaluate")[1]}
    assert states["evaluate registered model"] == "Reused"


def test_a_fault_of_ours_is_code_1_with_a_trace_and_says_what_to_do(
    simulated: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("tasks.reporting.content", broken)
    capsys.readouterr()
    assert simulated.run("retrain") == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ZeroDivisionError: a fault of ours" in shown
    run, tasks = latest("retrain")
    assert "ZeroDivisionError: a fault of ours" in artifacts(run)["failure"]
    assert "run the same again" in artifacts(run)["failure"]
    (report,) = [task for task in tasks if task.name == "report"]
    assert report.run_count == 1  # a fault of ours would only come again


def test_a_disk_that_comes_back_is_tried_again(
    simulated: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import reporting

    whole, calls = reporting.content, []

    def flaky(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")
        return whole(*arguments)

    monkeypatch.setattr("tasks.reporting.content", flaky)
    assert simulated.run("retrain") == 0
    assert len(calls) == 2


def alone(*settings: str, url: str) -> subprocess.CompletedProcess[str]:
    """`ingest` in a process of its own, with all that it writes, also while Python ends."""
    command = [sys.executable, "-m", "flows", "ingest"]
    for setting in settings:
        command += ["--set", setting]
    environment = os.environ | {"PREFECT_API_URL": url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_one_line_is_all_that_a_person_sees(prefect: None, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    truncated(tmp_path / "export")
    settings = (
        "source.kind=spotify_export",
        f"source.path={tmp_path / 'export'}",
        f"store.path={tmp_path / 'store'}",
    )
    run = alone(*settings, url=str(PREFECT_API_URL.value()))
    assert run.returncode == 2
    assert run.stdout == ""
    # While Python ends, DuckDB's bindings may tell of leaks, which is not ours to mend
    told = [line for line in run.stderr.splitlines() if not re.match(r"nanobind:| - |See https", line)]
    assert len(told) == 1, run.stderr
    (line,) = told
    assert line.startswith("error: truncated file | file: export/MyData/StreamingHistory0.json | ")


def test_a_prefect_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api"
        run = alone(f"store.path={tmp_path / 'store'}", url=url)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"error: the Prefect server does not answer | file: {url} | ")
    assert "unset PREFECT_API_URL" in line
