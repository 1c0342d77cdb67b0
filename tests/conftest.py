"""Fixtures for all tests: where the real data lies, and settings that touch nothing of the user's."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import settings

from flows.__main__ import ENVIRONMENT

# the same examples each time: a run that passes here passes there
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent

# Prefect and MLflow read their settings when they are imported: before any test module is.
HOME = tempfile.mkdtemp(prefix="encore-prefect-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(ENVIRONMENT | {"PREFECT_HOME": HOME})
# tests run in two processes: LightGBM's threads are not to spin while they wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for _name in ("PREFECT_API_URL", "PREFECT_PROFILE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
    os.environ.pop(_name, None)


class Progress(logging.StreamHandler[TextIO]):
    """Writes to what is stderr just now, which pytest exchanges with every test."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


# as the command line has it before it imports Prefect, which else writes to a stream of its own
_progress = Progress()
_progress.setFormatter(logging.Formatter("%(message)s"))
logging.getLogger().addHandler(_progress)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real exports; missing it fails in CI and skips elsewhere."""
    folder = Path(os.environ.get("ENCORE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"real data not found at {folder}: set ENCORE_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database to copy: making one takes MLflow seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
