"""kill -9 of the worker, a flow's process and both servers, at any moment: what a person finds after it.

The services are those of `up`, in a place of their own; what is killed there, `up` starts again. Five
kills are in the normal tests; more, which print their table, are opt-in (`pytest -m bench -s`).
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import lost, processes
from schemas.config import Config, Tracking
from schemas.loading import load
from tasks import parts, stages
from tasks.two_stage import playlists
from tasks.two_stage.published import FILES
from tests.flows.conftest import ROOT
from tests.flows.test_services_real import deployment, ended, eventually, started

SMALL = (
    "labels.target=played", "simulation.users=4", "simulation.plays=2000", "simulation.tracks=400",
    "simulation.days=200", "evaluation.resamples=100", "lists.training_windows=1",
    "lists.rankers=[logistic]", "lists.champion_candidate=logistic", "lists.pages=0",
    "retrieval.retrievers=[popular,again]",
)  # fmt: skip
SEED, KILLS = 11, 32
VICTIMS = ("flow", "worker", "prefect", "mlflow", "worker and flow")
OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
LINE = re.compile(rb"- (\S[^|]*?) {2,}(?:[\d,]+ rows)? +(\d+\.\d) s ")
NAME = "encore-demo-played"


@dataclass
class Readers:
    """What others see of the published lists, all the time."""

    folder: Path
    seen: list[dict[str, bytes]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @contextmanager
    def reading(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._read, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _read(self, over: threading.Event) -> None:
        while not over.wait(0.1):
            try:
                found = published(self.folder)
                if found not in self.seen:
                    belong_together(found)
                    self.seen.append(found)
            except FileNotFoundError:
                if self.seen:
                    self.broken.append("it was gone")
            except Exception as error:
                self.broken.append(repr(error))


def published(folder: Path) -> dict[str, bytes]:
    """The lists' files, read one after the other, unless another set has taken their place meanwhile."""
    shown = folder / ".recommendations" / "now"
    while True:
        before = shown.readlink()
        paths = [*folder.glob("recommendations.*"), *folder.glob("playlists/*")]
        try:
            found = {path.name: path.read_bytes() for path in paths if path.is_file()}
        except FileNotFoundError:
            assert shown.readlink() != before
            continue
        if shown.readlink() == before:
            return found


def belong_together(found: dict[str, bytes]) -> None:
    """The table, the same as CSV, what tells where it is from, and the playlists of its listeners."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "recommendations.parquet"
        path.write_bytes(found[path.name])
        table, told = pl.read_parquet(path), json.loads(found["recommendations.json"])
        assert told["digest"] == parts.contents(path, {}).digest
    assert found["recommendations.csv"].decode() == table.write_csv()
    left = dict(found)
    for rows in table.drop_nulls("uri").partition_by("user_id", maintain_order=True):
        name = playlists.name(rows["user_id"][0])
        listed = pl.read_csv(left.pop(f"{name}.csv"))["Track URI"]
        assert listed.to_list() == rows["uri"].to_list()
        left.pop(f"{name}.m3u8")
    assert sorted(left) == sorted(FILES)


def old_or_new(readers: Readers, before: dict[str, bytes], folder: Path) -> None:
    """All that was ever seen is the set of before or that of now, each of them whole."""
    now = published(folder)
    assert not readers.broken
    assert now["recommendations.parquet"] != before["recommendations.parquet"]
    assert all(each in (before, now) for each in readers.seen)
    belong_together(now)


@dataclass
class Operated:
    """Services in a folder, as a person has them."""

    folder: Path
    ask: Callable[..., Any]
    steps: list[tuple[str, float]] = field(default_factory=list)

    def config(self, seed: int) -> dict[str, Any]:
        """What the form sends for the world with this seed."""
        words = [*SMALL, f"simulation.seed={seed}", f"output.dir={self.folder / 'output'}"]
        made = load(ROOT / "configs" / "demo.yaml", words)
        told = made.model_dump(mode="json", exclude_defaults=True)
        return deployment(self.ask, "retrain-demo")["parameters"]["config"] | told

    def submit(self, seed: int) -> str:
        """A retrain of the world with this seed; its id. No second try by itself."""
        values = {"parameters": {"config": self.config(seed)}, "job_variables": {"env": {}}}
        deployed = deployment(self.ask, "retrain-demo")
        return str(self.ask("POST", f"/deployments/{deployed['id']}/create_flow_run", values)["id"])

    def pids(self, victim: str) -> list[int]:
        running = processes.told(self.folder / "logs")
        assert running is not None
        pid, start = running.children["worker" if victim == "flow" else victim]
        return (
            [each for each in processes.family({pid: start}) if each != pid]
            if victim == "flow"
            else [pid]
        )

    def kill(self, *victims: str) -> None:
        each = [eventually(functools.partial(self.pids, victim), 60) for victim in victims]
        for pid in itertools.chain(*each):
            os.kill(pid, signal.SIGKILL)

    def log(self) -> bytes:
        return (self.folder / "logs" / "worker.log").read_bytes()

    def done(self, since: int) -> list[tuple[str, float]]:
        """Steps that have ended, with their seconds, in what the worker's log has had since."""
        return [(name.decode(), float(each)) for name, each in LINE.findall(self.log()[since:])]

    def until(self, step: int, share: float, since: int, run: str) -> str:
        """Wait until this step runs, and for a share of what it took when nobody disturbed it.

        Returns the step that runs then; the first one includes the start of the process.
        """
        while len(self.done(since)) < step:
            found = _quietly(lambda: self.ask("GET", f"/flow_runs/{run}"))  # the server may be away
            assert not found or found["state_type"] not in OVER, found["state"]
            time.sleep(0.05)
        time.sleep(share * self.steps[step][1])
        now = len(self.done(since))
        return self.steps[now][0] if now < len(self.steps) else "after the last"

    def answers(self) -> None:
        """Wait until everything is there again, and a new worker as well."""

        def there() -> bool:
            running = processes.told(self.folder / "logs")
            if running is None:
                return False
            pid, start = running.children["worker"]
            told = self.ask("POST", "/work_pools/encore/workers/filter")
            return bool(processes.family({pid: start})) and bool(told)

        eventually(lambda: _quietly(there), 120)

    def state(self, run: str) -> tuple[str, str]:
        """How a run ended, while the server may be away: its state and what it says."""

        def there() -> Any:
            found = _quietly(lambda: self.ask("GET", f"/flow_runs/{run}"))
            return found if found and found["state_type"] in OVER else None

        found = eventually(there, 240)
        return found["state_type"].lower(), str(found["state"]["message"] or "")


def _quietly(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (OSError, HTTPException, AssertionError, ValueError):
        return None


def plays(config: Mapping[str, Any], scratch: Path) -> tuple[int, str]:
    """Rows and digest of the plays as a run that nobody disturbed has them."""
    made = Config.model_validate({**config, "store": {"path": str(scratch)}})
    data = stages.ingested(made, stages.world(made), datetime.now(UTC))
    return data.tables["plays"].rows, data.tables["plays"].digest


def kept_plays(folder: Path, digest: str) -> int:
    """How many times the store has exactly these plays."""
    tables = (folder / "store" / "ingest").glob("[!.]*/plays.parquet")
    return sum(parts.contents(each, {}).digest == digest for each in tables)


def whole_registry(made: Operated, tracking: str, known: set[int]) -> int:
    """Every version loads and scores; one champion; nothing RUNNING; returns how many versions."""
    import mlflow

    from tasks.registry import KEY, Registry

    registry = Registry(Tracking(uri=tracking))
    versions = registry.client.search_model_versions(f"name='{NAME}'")
    for version in versions:
        assert registry.client.get_run(version.run_id).info.status == "FINISHED"
        if int(version.version) not in known:
            model = mlflow.pyfunc.load_model(f"models:/{NAME}/{version.version}")
            assert len(model.predict(model.input_example)) == 1
            known.add(int(version.version))
    # of one training there is one version that was judged, and at most one refit on all data
    whose = {(each.tags[KEY], "evaluated_version" in each.tags) for each in versions}
    assert len(whose) == len(versions)
    champion = registry.version(NAME, "champion")
    assert champion is not None
    assert champion.number in {int(each.version) for each in versions}
    told = registry.client.search_runs([registry._experiment], max_results=1000)
    assert {run.info.status for run in told} == {"FINISHED"}
    runs = {run.info.run_id for run in told}
    for each in registry.client.search_logged_models([registry._experiment], max_results=100):
        assert each.source_run_id in runs
        assert str(each.status).endswith("READY"), each.status
    return len(versions)


def nothing_under_way(made: Operated) -> None:
    """No run, and no step of one, seems to run that does not."""

    def over() -> bool:
        runs = made.ask("POST", "/flow_runs/filter", {"flow_runs": lost.UNDER_WAY})
        return not runs and not made.ask("POST", "/task_runs/filter", lost.LEFT_BEHIND)

    eventually(over, 60)


@contextmanager
def operated(folder: Path) -> Iterator[tuple[Operated, str]]:
    """Services, and what an undisturbed retrain takes."""
    with started(folder) as ask:
        made = Operated(folder, ask)
        (mlflow,) = (
            each["parameters"]["config"]["tracking"]["uri"]
            for each in (deployment(ask, "retrain-demo"),)
        )
        yield made, mlflow


def undisturbed(made: Operated, seed: int) -> None:
    since = len(made.log())
    assert ended(made.ask, made.submit(seed))["state_type"] == "COMPLETED"
    eventually(lambda: made.done(since), 10)
    (first, seconds), *others = made.done(since)
    assert (first, others[-1][0]) == ("world", "publish backtest")
    made.steps = [("start or world", 4.0 + seconds), *others]


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_kills_at_random_moments(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    kills = int(os.environ.get("ENCORE_KILLS", KILLS))
    with operated(tmp_path) as (made, tracking):
        _quiet(made)
        undisturbed(made, 1000)
        moments = list(range(len(made.steps)))
        dice.shuffle(moments)
        known: set[int] = set()
        print(f"\n{'victim':15} {'moment':24} {'killed run':28} {'next':10} versions  seconds")
        for number in range(kills):
            victim = VICTIMS[number % len(VICTIMS)]
            step, share = moments[number % len(moments)], dice.random()
            print(one(made, tracking, victim, step, share, 1001 + number, known), flush=True)


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_of_two_retrainings_one_waits_and_begins_when_the_first_is_killed(tmp_path: Path) -> None:
    with operated(tmp_path) as (made, tracking):
        _quiet(made)
        undisturbed(made, 1000)
        since = len(made.log())
        first = made.submit(1001)
        made.until(3, 0, since, first)
        second = made.submit(1001)
        waiting = eventually(lambda: _named(made, second, "AwaitingConcurrencySlot"), 60)
        assert waiting
        # another flow, and so another limit: it waits in its turn
        deployed = deployment(made.ask, "recommend")
        values = {"parameters": {"config": made.config(1001)}}
        third = made.ask("POST", f"/deployments/{deployed['id']}/create_flow_run", values)["id"]
        eventually(lambda: b"waiting: retrain, process" in made.log()[since:], 60)
        os.kill(int(made.ask("GET", f"/flow_runs/{first}")["infrastructure_pid"]), signal.SIGKILL)
        killed = time.monotonic()
        assert made.state(first)[0] == "crashed"
        assert made.state(third)[0] == "completed"
        assert made.state(second)[0] == "completed"
        print(f"\nboth had completed {time.monotonic() - killed:.0f} s after the first was killed")
        whole_registry(made, tracking, set())
        nothing_under_way(made)


def _named(made: Operated, run: str, name: str) -> bool:
    return bool(made.ask("GET", f"/flow_runs/{run}")["state_name"] == name)


def _quiet(made: Operated) -> None:
    """Nobody is told of the failures that are meant: each would take a process of its own."""
    (tells,) = (
        each for each in made.ask("POST", "/automations/filter") if each["name"] == "failed retraining"
    )
    made.ask("PATCH", f"/automations/{tells['id']}", {"enabled": False})


@pytest.mark.timeout(600)
def test_five_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run dies early, one loses the worker and both servers and ends well, one dies late."""
    dice = random.Random(SEED)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")  # seconds, doubled with each try
    output, readers, known = tmp_path / "output", Readers(tmp_path / "output"), set[int]()
    with operated(tmp_path) as (made, tracking), readers.reading():
        made.steps = [("", 0.0)] * 18
        _quiet(made)

        def killed(victims: str, step: int, since: int, run: str, most: float = 0.5) -> None:
            made.until(step, 0, since, run)
            time.sleep(dice.random() * most)
            made.kill(*victims.split(" and "))

        def submitted(seed: int) -> tuple[int, str]:
            return len(made.log()), made.submit(seed)

        since, run = submitted(1)
        killed("flow", dice.randint(1, 5), since, run)
        assert made.state(run)[0] == "crashed"

        since, run = submitted(1)
        killed("prefect", dice.randint(1, 5), since, run)
        killed("mlflow", 8, since, run, 3.0)  # while it records
        assert made.state(run)[0] == "completed"
        before = published(output)

        since, run = submitted(2)
        killed("worker and flow", dice.randint(8, 14), since, run)
        assert made.state(run)[0] == "crashed"
        assert made.state(made.submit(2))[0] == "completed"
        old_or_new(readers, before, output)
        for seed in (1, 2):
            rows, digest = plays(made.config(seed), tmp_path / "scratch")
            assert rows > 0
            assert kept_plays(tmp_path, digest) == 1
        assert whole_registry(made, tracking, known) == 4
        nothing_under_way(made)


def one(
    made: Operated, tracking: str, victim: str, step: int, share: float, seed: int, known: set[int]
) -> str:
    """A retrain that loses a process, the same again, and all that must hold then; a line on it."""
    began = time.monotonic()
    output = made.folder / "output"
    before, readers = published(output), Readers(output)
    with readers.reading():
        since = len(made.log())
        run = made.submit(seed)
        moment = made.until(step, share, since, run)
        made.kill(*victim.split(" and "))
        killed = time.monotonic()
        state, _ = made.state(run)
        after = time.monotonic() - killed
        made.answers()
        assert made.state(made.submit(seed))[0] == "completed"
    old_or_new(readers, before, output)
    with tempfile.TemporaryDirectory() as scratch:
        _, digest = plays(made.config(seed), Path(scratch))
    assert kept_plays(made.folder, digest) == 1
    versions = whole_registry(made, tracking, known)
    nothing_under_way(made)
    took = time.monotonic() - began
    ended_so = f"{state} after {after:.0f} s"
    return f"{victim:15} {moment:24} {ended_so:28} completed {versions:9d} {took:8.0f}"
