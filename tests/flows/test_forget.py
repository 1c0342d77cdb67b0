"""`forget` from the command line: said once, seen nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.flows.conftest import Place, artifacts, latest


def test_forget_from_the_command_line(
    place: Callable[..., Place], capsys: pytest.CaptureFixture[str]
) -> None:
    made = place("demo")
    assert made.run("ingest") == 0
    user = "listener-00002"
    capsys.readouterr()
    assert made.run("forget", f"forget.user={user}") == 0
    told = capsys.readouterr()
    assert user not in told.out + told.err
    assert "listener: forgotten\n" in told.out
    assert "raw files" in told.out
    run, _ = latest("forget")
    assert user not in run.model_dump_json()
    assert user not in json.dumps(artifacts(run), default=str)

    assert made.run("ingest") == 0
    facts = made.facts("ingest")
    assert facts["rows"]["users"] == 3
    assert facts["forgotten"]["plays"] > 100
    capsys.readouterr()
    assert made.run("forget", f"forget.user={user}") == 0
    assert "was forgotten before" in capsys.readouterr().out

    assert made.run("forget", "forget.user=nobody-of-this-name") == 2
    refused = capsys.readouterr().err
    assert refused.startswith("error: no such listener")
    assert refused.count("\n") == 1
    assert "nobody-of-this-name" not in refused


def test_what_a_form_was_given_does_not_stay_in_prefect(place: Callable[..., Place]) -> None:
    """A worker starts a run with the values as they were typed."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.forget import forget

    made = place("demo")
    assert made.run("ingest") == 0
    values = made.loaded.model_dump(mode="json") | {"forget": {"user": "listener-00003"}}
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(forget, parameters={"config": values})
        assert client.read_flow_run(run.id).parameters["config"]["forget"]["user"] == "listener-00003"
        run_flow(forget, flow_run=run)
        after = client.read_flow_run(run.id)
    assert after.state is not None
    assert after.state.is_completed()
    assert "listener-00003" not in after.model_dump_json()
    assert (made.store / "forgotten.json").exists()
