"""The house rules that no linter knows: imports that do nothing, the lock, words that stay out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("altair", "lightgbm", "mlflow", "numba", "optuna", "prefect", "scipy", "sklearn", "vl_convert")
# What may load them when imported, and is itself imported only by those who are about to use it.
LOADING = re.compile(
    r"flows(?!\.__main__$)(\..+)?|tasks\.asof|tasks\.two_stage\.served|tasks\.metrics\.kernels|tasks\.ranking\.(forest_kernels|served)"
    r"|tasks\.simulation\.(kernel|kkbox|schedule|spotify|world)"
    r"|tasks\.retrieval\.(kernels|topk|topk_kernels|als|linear)|tasks\.(other_reports|reporting|two_stage\.(promotion|reports))|tasks\.report\.(?!(content|text|verdict|words)$).+"
)
LOCKED = re.compile(r"([a-z0-9][a-z0-9.-]*)==[^ ;]+( ; [^\\]+)? \\")
WATCHED = ("os.mkdir", "socket.connect", "sqlite3.connect", "subprocess.Popen")
PROBE = """
import importlib, json, os, sys, threading
root, names, heavy, watched = json.loads(sys.argv[1])
sys.path.insert(0, root)
sys.dont_write_bytecode = True
done, environment = [], dict(os.environ)
sys.addaudithook(lambda event, given: event in watched and done.append(f"{event} {given[:1]}"))
loaded = {}
for name in names:
    importlib.import_module(name)
    loaded |= {each: name for each in heavy if each in sys.modules and each not in loaded}
changed = [key for key in os.environ if os.environ[key] != environment.get(key)]
told = {"did": done, "loaded": loaded, "changed": changed, "threads": threading.active_count()}
print(json.dumps(told))
"""


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    return tmp_path / "here"


def modules() -> list[str]:
    paths = [path for folder in ("schemas", "tasks", "flows") for path in (ROOT / folder).rglob("*.py")]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names)


def imported(names: list[str], folder: Path) -> dict[str, Any]:
    """What importing modules in a fresh process, with an empty home and folder, brings about."""
    asked = json.dumps([str(ROOT), names, HEAVY, WATCHED])
    settings = ("PREFECT_", "MLFLOW_", "DO_NOT_TRACK")
    home = folder.with_name("home")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(settings)}
    environment |= {"HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, asked], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir())
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told["changed"] = [key for key in told["changed"] if key.startswith(settings)]
    return told


def ours() -> list[Path]:
    """Files that git has or would take up."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in told.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_importing_light_modules_loads_nothing_heavy_and_does_nothing(empty: Path) -> None:
    light = [name for name in modules() if not LOADING.fullmatch(name)]
    assert {"schemas.config", "tasks.store", "tasks.warehouse", "flows.__main__"} <= set(light)
    assert imported(light, empty) == {"did": [], "loaded": {}, "changed": [], "threads": 1}


def test_importing_everything_leaves_no_trace(empty: Path) -> None:
    told = imported(modules(), empty)
    # Prefect, when it is imported, makes its folder in the person's home: nothing of ours
    assert not [event for event in told["did"] if "connect" in event]
    assert not told["changed"]


def test_import_contracts() -> None:
    asked = [ROOT / ".venv" / "bin" / "lint-imports", "--no-logo", "--no-cache"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout
    assert re.search(r"Contracts: \d+ kept, 0 broken", told.stdout)


def test_the_lock_pins_everything_with_hashes_and_names_no_registry() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")
    assert "--find-links" not in text
    wanted = None
    hashes: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("    --hash=sha256:"):
            assert wanted is not None
            hashes[wanted] += 1
        elif not line.lstrip().startswith("#"):
            found = LOCKED.fullmatch(line)
            assert found is not None, line
            wanted = found[1] + (found[2] or "")
            hashes[wanted] = 0
    assert all(hashes.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    direct = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    locked = {name.split(" ")[0] for name in hashes}
    assert {re.split(r"[<>=\[]", each)[0].lower() for each in direct} <= locked


def test_every_direct_dependency_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    starts = [lines.index("dependencies = ["), lines.index("dev = [")]
    for start in starts:
        listed = lines[start + 1 : lines.index("]", start)]
        assert len(listed) > 5
        for line in listed:
            assert re.fullmatch(r'  "[^"]+", *# \S.{4,}', line), line


def test_nothing_of_a_build_machine_or_another_place_is_in_a_file() -> None:
    # put together here, or this file would be found
    words = {
        "a path of a machine": re.compile("|".join(["/" + "work/", "/" + "root/", "/home" + "/[a-z]"])),
        "a place beside the project": re.compile(r"\.\./" + "shared"),
        "a registry": re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "conda-" + "forge"])),
        "a secret": re.compile("|".join(["AKIA" + "[0-9A-Z]{12}", "BEGIN " + "[A-Z ]*PRIVATE KEY"])),
    }
    found = []
    for path in ours():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}: {told}" for told, word in words.items() if word.search(text)
        ]
    assert not found


def test_what_runs_make_is_ignored_by_git() -> None:
    for made in ("data/store/x", "outputs/demo/RESULTS.md", "mlflow.db", "mlflow.db-wal", ".venv/x"):
        told = subprocess.run(["git", "check-ignore", "--quiet", made], cwd=ROOT)
        assert told.returncode == 0, made
    inside = ("tests/fixtures/data/x", "tasks/data.py")
    for kept in inside:
        assert subprocess.run(["git", "check-ignore", "--quiet", kept], cwd=ROOT).returncode == 1, kept


def test_files_can_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("flows", "tasks", "schemas")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 360
    }
    assert not long, "past about 300 lines, look for the seam"


@pytest.mark.parametrize("path", sorted((ROOT / "sql").rglob("*.sql")), ids=lambda path: path.stem)
def test_a_query_says_its_grain_first_and_ends_in_a_select(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").strip().splitlines()
    assert re.match(r"-- \S", lines[0])
    assert re.fullmatch(r"select \* from \w+", lines[-1])
