"""Fixtures for all tests: where the real data lies, and settings that touch nothing of the user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
