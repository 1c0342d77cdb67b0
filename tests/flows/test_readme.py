"""The README holds: every command in it runs, every setting in it is there, every file too."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pydantic import BaseModel

from flows.__main__ import FLOWS, main
from schemas.config import Config
from schemas.loading import load
from tests.flows.conftest import ROOT, Place

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
FLOW = [line for line in COMMANDS if line.startswith("python -m flows ")]
MAKE = [line for line in COMMANDS if line.startswith("make ")]
OTHER = {". .venv/bin/activate": ".venv/bin/activate", "pre-commit install": ".venv/bin/pre-commit"}


def setting_rows() -> list[str]:
    """The README's rows on settings, as ``schemas/config.py`` has them."""
    rows = []

    def walk(model: type[BaseModel], path: str) -> None:
        plain, groups = [], {}
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                groups[f"{path}.{name}".strip(".")] = field.annotation
            else:
                default = field.get_default(call_default_factory=True)
                text = ", ".join(default) if isinstance(default, tuple) else str(default)
                plain.append(f"`{name}`" if default in (None, ()) else f"`{name}={text}`")
        about = (model.__doc__ or "").splitlines()[0].replace("; ", ": ").rstrip(".")
        rows.append(f"| {f'`{path}`' if path else '(top)'} | {about} | {', '.join(plain)} |")
        for name, group in groups.items():
            walk(group, name)

    walk(Config, "")
    return rows


def test_every_command_is_of_a_kind_that_is_checked_here() -> None:
    assert len(set(COMMANDS)) == len(COMMANDS)
    assert set(COMMANDS) == {*FLOW, *MAKE, *OTHER}
    assert {"make run", "make test"} <= set(MAKE)


def test_every_flow_has_a_row_and_an_example() -> None:
    examples = {shlex.split(line)[3] for line in FLOW}
    assert examples == set(FLOWS)
    for name in FLOWS:
        assert f"\n| `{name}` |" in README


def test_the_settings_are_those_of_the_schema() -> None:
    found = re.search(r"^## Settings\n.*?\n\| --- .*?\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    expected = setting_rows()
    assert found[1].splitlines() == expected, "README's settings should be:\n" + "\n".join(expected)


def test_settings_named_in_the_text_exist() -> None:
    groups = "|".join(Config.model_fields)
    named = set(re.findall(rf"(?:`|--set \"?)((?:{groups})\.(?!(?:py|json|html)\b)[a-z_.]+)", README))
    assert len(named) > 5
    for setting in named:
        model: type[BaseModel] = Config
        for part in setting.split("."):
            assert part in model.model_fields, setting
            inner = model.model_fields[part].annotation
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else BaseModel


def test_every_folder_of_the_tree_has_a_line_and_every_line_is_there() -> None:
    layout = README.split("## Where things are")[1].split("\n## ")[0]
    named = {path for row in layout.splitlines()[4:] for path in re.findall(r"`([\w./]+)`", row)}
    made = {"data/", "outputs/", "mlflow.db"}
    for path in named - made:
        assert (ROOT / path).exists() or (ROOT / "tasks" / path).exists(), path
    ignored = {".venv", *(path.strip("/") for path in made)}
    for path in ROOT.iterdir():
        tool = path.name.startswith(".") and path.name != ".ci"
        if path.is_dir() and not tool and path.name not in ignored | {"__pycache__"}:
            assert f"{path.name}/" in named, path.name


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_the_target(command: str) -> None:
    told = subprocess.run(
        ["make", "--dry-run", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    if command == "make run":
        assert "-m flows retrain --config configs/demo.yaml" in told.stdout
    if command == "make test":
        assert "-m pytest" in told.stdout


@pytest.mark.parametrize("command", OTHER)
def test_what_a_shell_is_told_to_use_is_installed(command: str) -> None:
    assert (ROOT / OTHER[command]).is_file()


@pytest.fixture(scope="module")
def shell(
    simulated: Place, simulated_kkbox: Place, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], int]:
    """Runs a line of the README on a small world, with every output in a place of its own."""
    home = tmp_path_factory.mktemp("readme")
    # what `make run` would have done is done
    shutil.copytree(simulated.store, home / "store")
    shutil.copy(simulated.folder / "mlflow.db", home)
    here = replace(simulated, folder=home)
    tracks = pl.read_parquet(simulated.entry("ingest") / "tracks.parquet")
    unheard = tracks.select(name=pl.col("name") + " again", artist="artist", energy=0.5)
    (home / "catalogue").mkdir()
    unheard.write_csv(home / "catalogue" / "tracks.csv")
    # in place of a person's own data; a .zip for a .zip
    export = simulated.entry("world") / "export"
    own = {
        Path("my_spotify_data.zip"): shutil.make_archive(str(home / "spotify"), "zip", export),
        Path("kkbox"): simulated_kkbox.entry("world") / "export",
        Path("catalogue"): home / "catalogue",
        Path("hetrec"): hetrec(simulated.entry("ingest") / "plays.parquet", home / "hetrec"),
    }

    def run(line: str) -> int:
        words = shlex.split(line)[3:]
        if "--help" in words:
            return main(words)
        asked = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        config = ROOT / words[words.index("--config") + 1] if "--config" in words else None
        told = load(config, asked)
        moved = [*here.overrides, "split.min_rows=50", f"output.dir={home / told.output.dir}"]
        moved += ["lists.training_windows=1", "lists.horizon_days=28"]
        moved += [f"source.path={own[path]}" for path in told.source.path]
        moved += [f"catalogue.path={own[path]}" for path in told.catalogue.path]
        if told.visualize.scored_samples:
            moved.append(f"visualize.scored_samples={home / told.visualize.scored_samples}")
        return main([*words, *(word for setting in moved for word in ("--set", setting))])

    return run


def hetrec(plays: Path, folder: Path) -> Path:
    """A folder in HetRec's format: a small world's plays as tag events of artists."""
    folder.mkdir()
    tagged = pl.read_parquet(plays).select(
        userID=pl.col("user_id").rank("dense"),
        artistID=pl.col("track_id").rank("dense"),
        tagID=pl.lit(1),
        day=pl.lit(1),
        month=pl.col("started_at").dt.month(),
        year=pl.col("started_at").dt.year(),
    )
    tagged.write_csv(folder / "user_taggedartists.dat", separator="\t")
    return folder


# One test: the lines build on each other, as they do for a reader.
def test_every_flow_command_runs(
    shell: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    demo = "python -m flows retrain --config configs/demo.yaml"
    for line in [demo, *(line for line in FLOW if line != demo and "--help" not in line)]:
        assert shell(line) == 0, f"{line}\n{capsys.readouterr().err}"
    for line in FLOW:
        if "--help" in line:
            with pytest.raises(SystemExit) as done:
                shell(line)
            assert done.value.code == 0
            told = capsys.readouterr().out
            assert all(f"  {name} = " in told for name in ("source.path", "models.lightgbm.max_trees"))
