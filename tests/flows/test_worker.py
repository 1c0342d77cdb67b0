"""Flows as a worker runs them: called with the form's values, without the command line around them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

import pytest
from prefect.exceptions import ParameterTypeError

from tests.flows.conftest import Place, artifacts, latest, logs


def test_prefects_log_has_a_line_per_step_with_its_seconds_and_memory(
    place: Callable[..., Place], caplog: pytest.LogCaptureFixture
) -> None:
    from flows.gc import gc

    with (  # nobody has turned our own logger on, and Prefect's is as Prefect has it
        caplog.at_level(logging.NOTSET, logger="encore"),
        caplog.at_level(logging.INFO, logger="prefect.task_runs"),
    ):
        gc(place("demo").loaded)
    run, _ = latest("gc")
    told = re.compile(r"sweep +\d+\.\d s +[\d.]+ [MG]B")
    for _ in range(100):  # lines are sent now and then
        if any(told.fullmatch(line) for line in logs(run)):
            return
        time.sleep(0.1)
    pytest.fail(f"no line for the step in {logs(run)}")


def test_values_that_do_not_go_together_are_the_persons_to_mend(prefect: None) -> None:
    from flows.retrain import retrain

    with pytest.raises(ParameterTypeError):
        retrain({"source": {"kind": "spotify_export"}})
    told = artifacts(latest("retrain")[0])["failure"]
    assert "the input or a setting is at fault" in told
    assert "a folder, file or .zip, for source.kind=spotify_export" in told
    assert "a fault of Encore's" not in told
