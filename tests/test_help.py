"""``--help``: what each setting may be is said, and is what the settings really take."""

from __future__ import annotations

import re

import pytest

from flows.__main__ import main
from flows.help import COMMANDS, MORE, MOSTLY
from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load

BLOCK = re.compile(r"^  (\S+) = (.*)\n      (.+)\n      allowed: (.+)$", re.MULTILINE)


def shown(flow: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([flow, "--help"])
    return capsys.readouterr().out


def ranges(capsys: pytest.CaptureFixture[str], flow: str = "gc") -> dict[str, str]:
    return {name: allowed for name, _, _, allowed in BLOCK.findall(shown(flow, capsys))}


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("store.keep", "whole number at least 1"),
        ("simulation.format", "spotify_export | kkbox"),
        ("source.max_refused_share", "number at least 0 and at most 1"),
        ("labels.completed_share", "number above 0 and at most 1"),
        ("models.logistic.c", "number above 0"),
        ("split.holdout", "number above 0 and below 1, or UTC date such as 2024-01-31"),
        ("simulation.start", "date such as 2024-01-31"),
        ("store.memory_limit", r"text like ^\d+(MB|GB)$"),
        ("models.rankers", "list (at least 1) of: base_rate | heuristic | logistic | lightgbm"),
        ("promotion.version", "whole number at least 1, or null"),
        ("tracking.experiment", "text, not empty"),
        ("source.path", "path, or list of: path"),
    ],
)
def test_what_a_setting_may_be_is_one_line(
    setting: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ranges(capsys)[setting] == allowed


@pytest.mark.parametrize("flow", COMMANDS)
def test_every_setting_has_its_range_once(flow: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(flow, capsys)
    names = [name for name, *_ in BLOCK.findall(text)]
    assert len(names) == len(set(names)) == len(re.findall(r"^  \S+ = ", text, re.MULTILINE))
    assert "any value" not in text
    assert set(ranges(capsys, flow)) == set(names)


def test_the_bounds_are_those_that_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    """Just inside is taken, just outside is not."""
    tried = 0
    for name, allowed in ranges(capsys).items():
        found = re.fullmatch(r"whole number at least (\d+)", allowed)
        if found is None:
            continue
        least = int(found[1])
        assert isinstance(load(None, [f"{name}={least}"]), Config)
        with pytest.raises(InputError, match=rf"place: {name} .*at least {least}"):
            load(None, [f"{name}={least - 1}"])
        tried += 1
    assert tried > 15


@pytest.mark.parametrize("flow", COMMANDS)
def test_the_settings_a_command_is_mostly_given_come_first(
    flow: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(flow, capsys)
    names = [name for name, *_ in BLOCK.findall(text)]
    assert tuple(names[: len(MOSTLY[flow])]) == MOSTLY[flow]
    told = " ".join(text.split("options:")[0].split())
    assert COMMANDS[flow][1:] in told
    assert MORE[flow] in told
