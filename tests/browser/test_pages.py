"""Prefect's and MLflow's pages as a person uses them, in Chromium, on services started for it.

In the order in which a person would go about it: tests further down build on the runs of those above.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Seen, Served
from tests.flows.test_services_real import deployment, ended, eventually, runs_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    Keep = Callable[[Page, str], None]
    Opened = Callable[[], Page]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
MODEL = "encore-demo-completed"
TRAINING = "?workflowType=machine_learning"
PATIENCE = 20.0  # seconds for an answer to Submit
FIRST, SECOND = 15, 63  # leaves of a tree; 31 unless set
BEFORE = "2"  # the version that the first run published; it registers the evaluated one before


@dataclass(frozen=True)
class Submitted:
    """A run that was started from the form, and what the form said of a value before."""

    run: dict[str, Any]
    refusal: str
    seconds: float  # from Submit to the first step


def form(page: Page, served: Served, name: str) -> None:
    """From the list of deployments to the form of one."""
    page.goto(f"{served.prefect}/deployments")
    page.get_by_placeholder("Search deployments").fill(name)
    page.get_by_role("link", name=name, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("link", name="Custom run").click()


def box(page: Page, label: str) -> Locator:
    """The box below a label of the form."""
    after = "following::*[self::input or self::textarea][1]"
    return page.locator(f'xpath=//label[starts-with(normalize-space(.),"{label}")]/{after}')


def submit(page: Page) -> str:
    """Press the button a moment after the last key, as a person does; returns what the form says.

    Prefect on SQLite refuses a write now and then while others write: then the button is pressed again.
    """
    page.wait_for_timeout(1_000)
    said = page.get_by_text("Error creating flow run").first
    for _ in range(10):
        page.get_by_role("button", name="Submit").click()
        ends = time.monotonic() + PATIENCE
        while "/run?" in page.url and not said.is_visible() and time.monotonic() < ends:
            page.wait_for_timeout(100)
        if "/run?" not in page.url:
            return ""
        if not said.is_visible():
            continue  # the page was still busy with the last key
        told = said.inner_text()
        if "Unavailable" not in told:
            return told
        print(f"\nSubmit: {told}")
        said.wait_for(state="hidden")
    raise AssertionError("the form cannot be submitted")


def first_step(served: Served, run: str) -> datetime | None:
    steps = served.ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    begun = [each["start_time"] for each in steps if each["start_time"]]
    return min(map(datetime.fromisoformat, begun)) if begun else None


def newest(served: Served, name: str, known: int) -> dict[str, Any]:
    """The run that was started beyond those known."""

    def found() -> Any:
        return each if len(each := runs_of(served.ask, name)) > known else None

    made = eventually(found)
    return max(made, key=lambda each: str(each["created"]))


@pytest.fixture(scope="module")
def first(served: Served, opened: Opened, keep: Keep) -> Submitted:
    """`retrain` from the form: one value that is refused, then one that is not."""
    page = opened()
    form(page, served, "retrain-demo")
    leaves = box(page, "Num leaves")
    leaves.fill("0")
    keep(page, "form")
    refusal = submit(page)
    keep(page, "form-refused")
    assert not runs_of(served.ask, "retrain-demo")
    page.get_by_text("Error creating flow run").first.wait_for(state="hidden")  # it lies on the button
    leaves.fill(str(FIRST))
    assert not submit(page)
    run = newest(served, "retrain-demo", 0)
    page.goto(f"{served.prefect}/runs/flow-run/{run['id']}")
    state = page.get_by_text(re.compile("^(Running|Completed)$")).first
    state.wait_for(timeout=240_000)
    page.wait_for_timeout(3_000)  # its first steps are drawn
    keep(page, "run-running")
    page.get_by_text("Completed", exact=True).first.wait_for(timeout=240_000)
    keep(page, "run-completed")
    page.context.close()
    begun = eventually(lambda: first_step(served, run["id"]))  # Prefect writes steps down later
    seconds = (begun - datetime.fromisoformat(run["created"])).total_seconds()
    return Submitted(ended(served.ask, run["id"]), refusal, seconds)


@pytest.fixture(scope="module")
def second(served: Served, first: Submitted) -> dict[str, Any]:
    """The same with another value, begun and not waited for."""
    deployed = deployment(served.ask, "retrain-demo")
    values = first.run["parameters"]["config"]
    models = values["models"] | {"lightgbm": values["models"]["lightgbm"] | {"num_leaves": SECOND}}
    asked = {"parameters": {"config": values | {"models": models}}}
    made: dict[str, Any] = served.ask("POST", f"/deployments/{deployed['id']}/create_flow_run", asked)
    return made


def trainings(served: Served) -> dict[str, Any]:
    """MLflow's runs of whole trainings by their number of leaves."""
    (experiment,) = (
        each["experiment_id"]
        for each in served.ask_mlflow("POST", "experiments/search", max_results=10)["experiments"]
        if each["name"] == "encore"
    )
    found = served.ask_mlflow("POST", "runs/search", experiment_ids=[experiment])["runs"]
    told = {each["info"]["run_id"]: each for each in found}
    parents = {
        run: each
        for run, each in told.items()
        if not any(tag["key"] == "mlflow.parentRunId" for tag in each["data"]["tags"])
    }
    return {
        next(
            each["value"] for each in run["data"]["params"] if each["key"] == "settings.num_leaves"
        ): run
        for run in parents.values()
    }


def test_a_value_out_of_range_is_refused_and_the_form_says_why(first: Submitted) -> None:
    assert "config.models.lightgbm.num_leaves" in first.refusal
    assert "0 is less than the minimum of 2" in first.refusal


def test_a_run_from_the_form_has_the_value_that_was_typed_in(
    first: Submitted, second: dict[str, Any], served: Served
) -> None:
    print(f"\nfrom Submit to the first step: {first.seconds:.1f} s")
    assert first.run["state_type"] == "COMPLETED"
    assert first.run["name"] == "retrain demo, target completed"
    assert first.run["parameters"]["config"]["models"]["lightgbm"]["num_leaves"] == FIRST
    assert str(FIRST) in trainings(served)


def test_the_runs_artifacts_are_tables_and_links(
    first: Submitted, second: dict[str, Any], served: Served, page: Page, keep: Keep
) -> None:
    page.goto(f"{served.prefect}/runs/flow-run/{first.run['id']}")
    page.get_by_text("Artifacts", exact=True).click()
    for name in ("model-comparison", "tables", "audit", "promotion", "verdict", "report", "mlflow-run"):
        page.get_by_text(name, exact=True).first.wait_for()
    keep(page, "artifacts")
    for name, shown in {
        "model-comparison": "LightGBM",
        "promotion": "the first model of this name",
        "verdict": "Promotion: the first model of this name",
    }.items():
        page.goto(f"{served.prefect}/runs/flow-run/{first.run['id']}")
        page.get_by_text("Artifacts", exact=True).click()
        page.get_by_text(name, exact=True).first.click()
        page.get_by_text(shown).first.wait_for()
        keep(page, f"artifact-{name}")


def test_the_dashboard_is_drawn_and_asks_nobody(
    first: Submitted, second: dict[str, Any], served: Served, opened: Opened, keep: Keep, seen: Seen
) -> None:
    before = len(seen.outward), len(seen.errors)
    page = opened()
    page.goto((served.folder / "output" / "figures" / "dashboard.html").as_uri())
    page.wait_for_load_state("networkidle")
    drawn = page.locator("svg:visible, canvas:visible, img:visible")
    assert drawn.count() >= 8
    marks = page.evaluate("document.querySelectorAll('svg path, svg rect, svg circle, canvas').length")
    assert marks > 100, "figures are empty"
    assert "LightGBM predicts" in page.inner_text("body")
    keep(page, "dashboard")
    page.context.close()

    page = opened()  # the way that the run's artifact shows
    page.goto(f"{served.prefect}/runs/flow-run/{first.run['id']}")
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_text("report", exact=True).first.click()
    link = page.get_by_role("link", name="the dashboard in MLflow")
    link.wait_for()
    keep(page, "artifact-report")
    page.goto(str(link.get_attribute("href")))
    inside = page.frame_locator("iframe").first
    inside.get_by_text("LightGBM predicts").first.wait_for()
    keep(page, "mlflow-dashboard")
    page.context.close()
    assert (len(seen.outward), len(seen.errors)) == before, (seen.outward, seen.errors)


def test_two_runs_compared_in_mlflow_show_what_was_changed(
    second: dict[str, Any], served: Served, page: Page, keep: Keep
) -> None:
    assert ended(served.ask, second["id"])["state_type"] == "COMPLETED"
    found = trainings(served)
    assert {str(FIRST), str(SECOND)} <= set(found)
    experiment = found[str(FIRST)]["info"]["experiment_id"]
    page.goto(f"{served.mlflow}/#/experiments/{experiment}/runs{TRAINING}")
    page.get_by_role("link", name=re.compile("^train demo")).nth(1).wait_for()
    page.get_by_role("button", name="Close").first.click()  # MLflow's assistant
    keep(page, "mlflow-runs")
    for _ in range(2):
        page.get_by_label(re.compile(r"toggle row selection \(unchecked")).first.check(force=True)
    page.get_by_text("Compare", exact=True).click()
    row = page.locator("tr", has_text="settings.num_leaves").first
    row.wait_for()
    keep(page, "mlflow-compare")
    row.scroll_into_view_if_needed()
    keep(page, "mlflow-compare-parameters")
    assert {str(FIRST), str(SECOND)} <= set(row.inner_text().split())


def test_the_registered_model_says_who_is_champion_and_why(
    second: dict[str, Any], served: Served, page: Page, keep: Keep
) -> None:
    page.goto(f"{served.mlflow}/#/models/{MODEL}")
    page.get_by_text("champion", exact=False).first.wait_for()
    page.get_by_role("button", name="Close").first.click()
    keep(page, "mlflow-model")
    page.goto(f"{served.mlflow}/#/models/{MODEL}/versions/1")
    page.get_by_text("the first model of this name").first.wait_for()
    keep(page, "mlflow-version")


def test_a_rollback_from_the_form_moves_the_champion(
    second: dict[str, Any], served: Served, page: Page, keep: Keep
) -> None:
    assert champion(served) != BEFORE
    form(page, served, "promote")
    label = page.locator('xpath=//label[starts-with(normalize-space(.),"Version")]')
    label.locator("xpath=following::*[normalize-space(.)='int'][1]").click()  # it is None unset
    box(page, "Version").fill(BEFORE)
    keep(page, "form-promote")
    assert not submit(page)
    run = newest(served, "promote", 0)
    assert ended(served.ask, run["id"])["state_type"] == "COMPLETED"
    assert champion(served) == BEFORE
    page.goto(f"{served.mlflow}/#/models/{MODEL}/versions/{BEFORE}")
    page.get_by_text("@ champion").first.wait_for()
    keep(page, "mlflow-rollback")


def champion(served: Served) -> str:
    found = served.ask_mlflow("GET", f"registered-models/alias?name={MODEL}&alias=champion")
    return str(found["model_version"]["version"])


def test_a_schedule_fires_by_itself(served: Served, second: dict[str, Any]) -> None:
    wanted = {"deployments": {"id": {"any_": [served.scheduled["id"]]}}}

    def done() -> Any:
        found = served.ask("POST", "/flow_runs/filter", wanted)
        return [each for each in found if each["auto_scheduled"] and each["state_type"] == "COMPLETED"]

    *_, run = eventually(done, 150)  # the newest is first
    assert run["name"].startswith("gc ")
    late = datetime.fromisoformat(run["start_time"]) - datetime.fromisoformat(run["expected_start_time"])
    print(f"\na scheduled run began {late.total_seconds():.1f} s after its minute")


def test_no_page_asked_anybody_else(seen: Seen, served: Served) -> None:
    assert not seen.outward
    print(f"\nin the consoles of pages: {seen.errors}")
