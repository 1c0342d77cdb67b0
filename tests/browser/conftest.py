"""What `make up` starts, in a place of its own, and a browser that lets nothing leave the machine."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows import processes
from tests.flows.conftest import ROOT
from tests.flows.test_services_real import deployment, quick, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
HERE = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:|file:|about:")
# Said by a browser of every page without a favicon, and of Prefect's pages when opened by address.
MISSING = "the server responded with a status of 404"


@dataclass
class Seen:
    """What pages tried: addresses outside of this machine, and errors in their consoles."""

    outward: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def request(self, request: Request) -> None:
        if not HERE.match(request.url):
            self.outward.append(request.url)

    def console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and MISSING not in message.text:
            self.errors.append(message.text)


@dataclass(frozen=True)
class Served:
    """Services that run: where they are, where they write, how Prefect's server is asked."""

    folder: Path
    prefect: str
    mlflow: str
    ask: Callable[..., Any]
    scheduled: dict[str, Any]  # the deployment that is to run by itself

    def ask_mlflow(self, method: str, path: str, **told: Any) -> Any:
        connection = HTTPConnection(self.mlflow.partition("://")[2], timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request(method, f"/api/2.0/mlflow/{path}", dumps(told), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return loads(text)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's browser; playwright brings none here."""
    pytest.importorskip("playwright.sync_api", reason="no playwright here: make setup")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        told = "no Chromium here to try the pages of Prefect and MLflow: apt-get install chromium"
        if os.environ.get("CI") == "true":  # a skip alone shows as a number
            warnings.warn(told, stacklevel=1)
        pytest.skip(told)
    return found


@pytest.fixture(scope="module")
def served(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """What a person has who has said `make up` and made the demo's world small."""
    folder = tmp_path_factory.mktemp("served")
    with started(folder) as ask:
        running = processes.told(folder / "logs")
        assert running is not None
        for name in ("retrain-demo", "promote"):
            deployed = deployment(ask, name)
            values = deployed["parameters"]["config"] | quick(folder)
            ask("PATCH", f"/deployments/{deployed['id']}", {"parameters": {"config": values}})
        scheduled = deployment(ask, "gc")
        cron = {"cron": "* * * * *", "timezone": "UTC"}
        told = [{"schedule": cron, "active": True, "slug": "often"}]
        ask("POST", f"/deployments/{scheduled['id']}/schedules", told)
        found = running.addresses
        yield Served(folder, found["Prefect"], found["MLflow"], ask, scheduled)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def seen() -> Seen:
    """What the pages of all tests of a file tried."""
    return Seen()


@pytest.fixture(scope="module")
def opened(browser: Browser, seen: Seen) -> Callable[[], Page]:
    """Opens a page; what it asks of others than this machine is noted, and gets no answer."""

    def local(route: Route) -> None:
        if HERE.match(route.request.url):
            route.continue_()
        else:
            route.abort()

    def make() -> Page:
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.set_default_timeout(60_000)
        context.route("**/*", local)
        page = context.new_page()
        page.on("request", seen.request)
        page.on("console", seen.console)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        return page

    return make


@pytest.fixture
def page(opened: Callable[[], Page]) -> Iterator[Page]:
    made = opened()
    yield made
    made.context.close()


@pytest.fixture(scope="session")
def keep() -> Callable[[Page, str], None]:
    """Keeps what a page shows as a picture, to be looked at."""
    folder = Path(os.environ.get("ENCORE_SCREENSHOTS", ROOT / "tests" / "browser" / ".screenshots"))
    folder.mkdir(parents=True, exist_ok=True)

    def picture(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    return picture
