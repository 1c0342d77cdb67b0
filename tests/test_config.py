"""Settings: one clear line for what is unknown, ill-typed or contradictory, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flows.__main__ import FLOWS, main
from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load

ROOT = Path(__file__).resolve().parent.parent
GROUPS = (
    "dataset, source, catalogue, simulation, store, labels, split, models, retrieval, lists, backtest, "
    "recommend, similar, evaluation, audit, promotion, monitor, tune, forget, tracking, output, "
    "visualize, services, logs"
)


def refusal(*settings: str, path: Path | None = None) -> str:
    with pytest.raises(InputError) as refused:
        load(path, list(settings))
    told = str(refused.value)
    assert "\n" not in told
    for foreign in ("Input should", "Value error", "pydantic", "Traceback"):
        assert foreign not in told
    return told


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    loaded = load(path, ["source.path=somewhere", "models.lightgbm.max_trees=7"])
    assert loaded.models.lightgbm.max_trees == 7
    assert loaded.source.path == (Path("somewhere"),)


@pytest.mark.parametrize(
    ("setting", "place", "found", "expected"),
    [
        ("nope=1", "nope", "1", f"one of {GROUPS}"),
        ("a.b.c=1", "a", "{'b': {'c': 1}}", f"one of {GROUPS}"),
        ("store.nope=1", "store.nope", "1", "one of path, keep, memory_limit, threads"),
        ("store.keep=abc", "store.keep", "abc", "a whole number"),
        ("store.keep=2.5", "store.keep", "2.5", "a whole number"),
        ("store.keep=", "store.keep", "nothing", "a whole number"),
        ("store.keep.x=1", "store.keep", "{'x': 1}", "a whole number"),
        ("store.keep=0", "store.keep", "0", "at least 1"),
        ("store.keep=true", "store.keep", "True", "a value; no setting is true or false"),
        ("store=3", "store", "3", "settings below it, as in key.path=value"),
        ("models.lightgbm.learning_rate=fast", "models.lightgbm.learning_rate", "fast", "a number"),
        ("models.lightgbm.learning_rate=2", "models.lightgbm.learning_rate", "2", "at most 1.0"),
        ("models.logistic.c=0", "models.logistic.c", "0", "more than 0.0"),
        ("source.max_refused_share=.nan", "source.max_refused_share", "nan", "at most 1.0"),
        ("source.kind=csv", "source.kind", "csv", "one of 'simulated', 'spotify_export', 'kkbox', "),
        ("source.timezone=Mars/X", "source.timezone", "Mars/X", "a time zone name such as Europe"),
        ("source.path=3", "source.path", "3", "a folder, file or .zip, or a list of them"),
        ("source.path=''", "source.path", "", "a folder, file or .zip, or a list of them"),
        ("split.holdout=2", "split.holdout", "2", "a share above 0 and below 1, or a UTC date such as"),
        ("split.holdout=soon", "split.holdout", "soon", "a number or a date such as 2024-01-31"),
        ("split.validation=0", "split.validation", "0", "a share above 0 and below 1"),
        ("models.rankers=[x]", "models.rankers", "x", "one of 'base_rate', 'heuristic', 'logistic' or"),
        ("models.rankers=lightgbm", "models.rankers", "lightgbm", "a list"),
        ("models.rankers=[]", "models.rankers", "[]", "at least 1"),
        ("dataset=My Data", "dataset", "My Data", "text like ^[a-z0-9]"),
        ("dataset=7", "dataset", "7", "text"),
        ("simulation.start=someday", "simulation.start", "someday", "a date such as 2024-01-31"),
        ("output.dir=[a]", "output.dir", "['a']", "a path"),
        ("evaluation.resamples=3", "evaluation.resamples", "3", "at least 100"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named_with_its_value_and_what_is_allowed(
    setting: str, place: str, found: str, expected: str
) -> None:
    told = refusal(setting)
    assert f"place: {place} | found: {found} | expected: {expected}" in told
    assert told.endswith("what to do: see --help")


def test_settings_that_contradict_each_other_name_the_one_to_change() -> None:
    told = refusal("source.kind=kkbox")
    assert (
        "place: source.path | found: nothing | expected: a folder, file or .zip, for source.kind=kkbox"
        in told
    )
    told = refusal("models.rankers=[lightgbm,logistic]", "models.champion_candidate=heuristic")
    assert "place: models.champion_candidate | found: heuristic" in told
    assert "expected: one of models.rankers: lightgbm, logistic" in told
    told = refusal("split.holdout=2020-05-05", "split.validation=2021-01-01")
    assert "place: split.validation | found: 2021-01-01" in told
    assert "expected: a date before split.holdout=2020-05-05" in told


@pytest.mark.parametrize("override", ["store.keep", "=3", "store..keep=3", ".=1", ""])
def test_what_is_no_override_is_refused(override: str) -> None:
    assert "expected: --set key.path=value" in refusal(override)


@pytest.mark.parametrize("value", ["[1", "2022-13-01", "{a: b"])
def test_what_is_no_value_is_refused(value: str) -> None:
    told = refusal(f"simulation.start={value}")
    assert f"not a value | place: simulation.start | found: {value}" in told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"store: [", "not valid YAML"),
        (b"store:\n\tkeep: 3", "not valid YAML"),
        (b"\xff\xfe\x00\x01", "not valid YAML"),
        (b"simulation:\n  start: 2022-13-01", "not valid YAML"),
        (b"- a\n- b", "not a settings file"),
        (b"just words", "not a settings file"),
        (b"store:\n  keep: lots", "bad setting | file: {path} | place: store.keep | found: lots"),
        (b"stores:\n  keep: 3", "unknown setting | file: {path} | place: stores"),
        (b"3: 4", "unknown setting | file: {path} | place: 3"),
        (b"store:\n", "bad setting | file: {path} | place: store | found: nothing"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    told = refusal(path=path)
    assert said.format(path=path) in told
    assert str(path) in told


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    told = refusal(path=tmp_path / "none.yaml")
    assert f"file: {tmp_path / 'none.yaml'} | found: No such file or directory" in told


def test_an_override_is_at_fault_itself_and_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("store:\n  keep: 5\n")
    assert str(path) not in refusal("store.keep=x", path=path)
    assert load(path, ["store.keep=4"]).store.keep == 4
    assert load(path, ["store.threads=1"]).store.keep == 5


def test_an_empty_file_and_an_empty_group_are_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("")
    assert load(path, []) == Config()
    path.write_text("store:\n")
    assert load(path, ["store.keep=4"]).store.keep == 4


def test_values_are_taken_as_meant() -> None:
    loaded = load(None, ["split.holdout=2024-03-01", "split.validation=2024-02-01T12:00:00+02:00"])
    assert loaded.split.holdout == datetime(2024, 3, 1, tzinfo=UTC)
    assert loaded.split.validation == datetime(2024, 2, 1, 10, tzinfo=UTC)
    assert load(None, ["evaluation.model=3"]).evaluation.model == "3"
    assert load(None, ["source.path=[a, b]"]).source.path == (Path("a"), Path("b"))
    assert load(None, ["output.dir=~/report"]).output.dir == Path.home() / "report"
    assert load(None, ["store.keep=1", "store.keep=2"]).store.keep == 2


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        Config().store.keep = 4  # type: ignore[misc]


def settings(model: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, Any]]:
    told: list[tuple[str, Any]] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            told += settings(inner, f"{prefix}{name}.")
        else:
            told.append((f"{prefix}{name}", field))
    return told


@pytest.mark.parametrize("flow", FLOWS)
def test_help_explains_every_setting(flow: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([flow, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    for key, field in settings():
        assert f"  {key} = " in shown
        assert field.description
        assert field.description in shown


@pytest.mark.parametrize("arguments", [[], ["dance"], ["retrain", "--set"], ["retrain", "--nope"]])
def test_a_bad_command_line_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_bad_setting_is_code_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrain", "--set", "store.keep=abc"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "error: bad setting | place: store.keep | found: abc | expected: a whole number"
        " | what to do: see --help\n"
    )


def test_the_unexpected_is_code_1_with_its_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str, config: Config) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("flows.__main__._run", broken)
    assert main(["gc"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert "in broken" in shown
    assert shown.rstrip().endswith("ZeroDivisionError: a fault of ours")


def test_an_interruption_is_code_1_without_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(name: str, config: Config) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.__main__._run", interrupted)
    assert main(["gc"]) == 1
    shown = capsys.readouterr().err
    assert shown == "interrupted; what is finished is kept, the same command goes on from there\n"


def test_retrievers_by_content_wait_for_a_catalogue() -> None:
    """They are left out where there is none; alone they are a contradiction."""
    assert "content" not in load(None, []).retrieval.retrievers
    assert "content" not in load(None, ["retrieval.retrievers=[again, content]"]).retrieval.retrievers
    loaded = load(None, ["catalogue.path=somewhere"])
    assert "content" in loaded.retrieval.retrievers
    assert loaded.catalogue.path == (Path("somewhere"),)
    assert Config.model_validate(loaded.model_dump()) == loaded
    told = refusal("retrieval.retrievers=[content]")
    assert "retrieval.retrievers" in told
    assert "catalogue.path" in told
    assert "catalogue.path" in refusal("catalogue.path=7")
