"""The log: a line a step, as text or JSON, at the level that was set, and nothing personal in it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import logs
from schemas.logs import Logs
from tests.flows.conftest import ROOT, Place

SMALL = ("simulation.users=3", "simulation.plays=900", "simulation.tracks=120", "simulation.days=90")
STEP = {"time", "level", "dataset", "flow", "step", "rows", "seconds", "peak_mb", "reused"}
TOLD = {"step": "fit", "rows": 3}


@pytest.fixture
def ours() -> Iterator[None]:
    """What the command line sets is as before afterwards."""
    root, level = logging.getLogger(), logs.LOG.level
    before = root.level
    yield
    logs.LOG.setLevel(level)
    root.setLevel(before)
    logging.captureWarnings(False)


def finished(place: Place, flow: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    from prefect.settings import PREFECT_API_URL

    command = [sys.executable, "-m", "flows", *place.arguments(flow, *settings)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    told = {"PREFECT_API_URL": str(PREFECT_API_URL.value()), "PREFECT_HOME": str(place.folder / "home")}
    return subprocess.run(
        command, cwd=ROOT, env=kept | told, capture_output=True, text=True, check=False
    )


def names(place: Place) -> set[str]:
    """All that names a listener or what they listen to, as the tables have it."""
    tables = {
        name: pl.read_parquet(place.entry("ingest") / f"{name}.parquet") for name in ("plays", "tracks")
    }
    found = tables["tracks"].select("track_id", "artist", "name").unpivot()["value"].drop_nulls()
    return {*tables["plays"]["user_id"].unique(), *found.unique()}


def test_with_json_each_line_is_an_object_and_names_nobody(place: Callable[..., Place]) -> None:
    made = place("demo", *SMALL)
    run = finished(made, "ingest", "logs.format=json", "logs.level=debug")
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert {line["level"] for line in lines} == {"debug", "info"}
    assert all((line["dataset"], line["flow"]) == ("demo", "ingest") for line in lines)
    ended = [line for line in lines if "peak_mb" in line]
    assert [line["step"] for line in ended] == ["world", "ingest", "label"]
    for line in ended:
        assert set(line) == STEP
        assert abs(datetime.now(UTC) - datetime.fromisoformat(line["time"])).total_seconds() < 600
        assert line["rows"] > 0
        assert 0 <= line["seconds"] < 60
        assert 50 < line["peak_mb"] < 5_000
        assert line["reused"] is False
    last = lines[-1]
    assert last["message"] == "orchestration"
    assert last["seconds"] <= last["of_seconds"]
    assert sum(line["seconds"] for line in ended) + last["seconds"] == pytest.approx(
        last["of_seconds"], abs=0.01
    )
    named = names(made)
    assert {"listener-00001", "listener-00002"} <= named
    assert len(named) > 200
    assert [name for name in named if name in run.stderr] == []


def test_lines_for_people_at_the_level_that_was_set(
    place: Callable[..., Place], ours: None, caplog: pytest.LogCaptureFixture
) -> None:
    made = place("demo", *SMALL)
    line = re.compile(r"(\w+) +(?:([\d,]+) rows)? +(\d+\.\d) s +([\d.]+ [MG]B)(  reused)?")

    def told(level: str) -> list[str]:
        caplog.clear()
        assert made.run("ingest", f"logs.level={level}") == 0
        return [record.getMessage() for record in caplog.records if record.name == "encore"]

    assert told("warning") == []
    *steps, last = told("info")
    assert [found and found[1] for found in map(line.fullmatch, steps)] == ["world", "ingest", "label"]
    assert all(shown.endswith("  reused") for shown in steps)
    assert len({shown.index(" s ") for shown in steps}) == 1  # aligned
    assert re.fullmatch(r"orchestration \d+\.\d s of \d+\.\d s \(\d+ %\)", last)
    begun = [shown.split() for shown in told("debug") if shown.endswith("begins")]
    assert begun == [["world", "begins"], ["ingest", "begins"], ["label", "begins"]]


def test_a_worker_logs_objects_to_prefect_when_asked(
    place: Callable[..., Place], caplog: pytest.LogCaptureFixture
) -> None:
    from flows.gc import gc

    def told(*settings: str) -> list[str]:
        caplog.clear()
        gc(replace(made, settings=settings).loaded)
        mine = ("prefect.task_runs", "prefect.flow_runs")
        return [each.getMessage() for each in caplog.records if each.name in mine]

    made = place("demo")
    with (
        caplog.at_level(logging.NOTSET, logger="encore"),
        caplog.at_level(logging.INFO, logger="prefect.task_runs"),
        caplog.at_level(logging.INFO, logger="prefect.flow_runs"),
    ):
        objects = [json.loads(line) for line in told("logs.format=json") if line.startswith("{")]
        assert [each.get("step", each.get("message")) for each in objects] == ["sweep", "orchestration"]
        assert {"flow": "gc", "rows": None}.items() <= objects[0].items()
        assert not [
            line for line in told("logs.level=error") if re.search("sweep +[0-9]|orchestr", line)
        ]


def test_a_refusal_is_an_object_too(
    place: Callable[..., Place], ours: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = place("demo", "source.kind=scrobbles", f"source.path={tmp_path / 'none.csv'}")
    assert made.run("ingest", "logs.format=json", "logs.level=error") == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("{")]
    told = json.loads(line)
    assert told["level"] == "error"
    assert "none.csv" in told["message"]
    assert not told["message"].startswith("error")


def test_a_fault_of_ours_is_told_with_where_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        print(1 / 0)
    except ZeroDivisionError as error:
        for kind in ("text", "json"):
            logs.broken(Logs(format=kind), error)
    *text, line = capsys.readouterr().err.splitlines()
    assert text[0].startswith("Traceback")
    assert text[-1] == "ZeroDivisionError: division by zero"
    told: dict[str, Any] = json.loads(line)
    assert told["message"] == text[-1]
    assert told["traceback"].splitlines() == text


def test_what_libraries_tell_becomes_one_line() -> None:
    lines, here = logs.Lines(), ("f", 1, "two\nlines %s", ("of",), None)
    told = json.loads(lines.format(logging.LogRecord("urllib3", logging.WARNING, *here)))
    assert (told["level"], told["logger"], told["message"]) == ("warning", "urllib3", "two\nlines of")
    mine = logs.line("info", TOLD)
    assert lines.format(logging.LogRecord("encore", logging.INFO, "f", 1, "%s", (mine,), None)) == mine
