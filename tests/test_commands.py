"""What Encore tells people to run sends no telemetry, and is the same wherever it is told."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from flows.__main__ import ENVIRONMENT, _show
from schemas.loading import load
from tasks import commands
from tasks.promotion import Decision
from tasks.registry import Version

ROOT = Path(__file__).resolve().parents[1]
SERVER = re.compile(r"(mlflow|prefect) (server|db upgrade)")


def test_every_command_opts_out_of_all_that_encore_itself_does() -> None:
    telling = {
        "mlflow": (commands.mlflow_server("sqlite:///x"), commands.mlflow_upgrade("sqlite:///x")),
        "prefect": (commands.prefect_server("some where"),),
    }
    assert set(telling) == set(commands.OPT_OUT)
    for tool, lines in telling.items():
        for name, value in commands.OPT_OUT[tool].items():
            assert ENVIRONMENT[name] == value
            assert all(f"{name}={value} " in line.partition(f" {tool} ")[0] + " " for line in lines)
    assert {"MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"} <= {
        name for settings in commands.OPT_OUT.values() for name in settings
    }


def test_no_other_module_words_such_a_command_itself() -> None:
    found = [
        str(path.relative_to(ROOT))
        for folder in ("flows", "tasks", "schemas")
        for path in (ROOT / folder).rglob("*.py")
        if SERVER.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite:///a@b/mlflow.db", "sqlite:///a@b/mlflow.db"),
        ("postgresql://me:pass%40word@host:5432/db", "postgresql://***@host:5432/db"),
        ("https://me:p@ss@host/path", "https://***@host/path"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str, shown: str) -> None:
    assert commands.without_credentials(uri) == shown
    assert "pass" not in commands.mlflow_server(uri)
    assert "p@ss" not in commands.mlflow_upgrade(uri)


def test_odd_places_are_quoted() -> None:
    assert commands.mlflow_server("sqlite:///my data/m.db").endswith("'sqlite:///my data/m.db'")
    assert "PREFECT_HOME='some where' " in commands.prefect_server("some where")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sqlite:///other.db", commands.mlflow_server("sqlite:///other.db")),
        ("http://tracker:5000", "MLflow:    http://tracker:5000\n"),
    ],
)
def test_the_end_of_a_run_tells_how_to_look_at_it(
    uri: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PREFECT_HOME", ENVIRONMENT["PREFECT_HOME"])
    result = {
        "verdict": "Better.", "columns": ["model", "log_loss"], "table": [["base rate", ".5"]],
        "decision": "the first model", "folder": "outputs/x",
    }  # fmt: skip
    _show("retrain", load(None, [f"tracking.uri={uri}"]), result)
    shown = capsys.readouterr().out
    assert told in shown
    assert commands.prefect_server() in shown
    assert "outputs/x/RESULTS.md" in shown


@pytest.mark.parametrize(
    ("flow", "result", "lines"),
    [
        ("gc", {"entries_removed": 3, "bytes_freed": 10}, ["entries_removed: 3", "bytes_freed: 10"]),
        ("explore", "out/x", ["report: out/x/explore.html"]),
        ("visualize", "out/x", ["report: out/x/figures/dashboard.html"]),
        (
            "ingest",
            {"tables": "data/t", "reader": {"unused_files": {"other": 2}}, "files": 7, "refused": []},
            ["tables: data/t", "reader › unused files › other: 2", "files: 7", "refused: none"],
        ),
        (
            "train",
            Version("encore-demo-completed", 4, "abc", {"recipe": "{}"}),
            ["challenger: encore-demo-completed", "version: 4", "MLflow run: abc"],
        ),
        (
            "promote",
            Decision(True, "better", 4, 2, {"log_loss": -0.02}, 0.002),
            [
                "promoted: True", "reason: better", "challenger's version: 4",
                "champion's version before: 2", "challenger minus champion › log loss: -0.02",
                "margin: 0.002",
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_command_did_is_told_in_plain_lines(
    flow: str, result: Any, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _show(flow, load(None, []), result)
    assert capsys.readouterr().out.splitlines() == lines
