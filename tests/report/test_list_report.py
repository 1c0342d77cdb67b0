"""The report of lists: dashboard, figures, pages of listeners, and what leaves the output folder."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from schemas import config, tables
from schemas.config import Config, Output, Store
from schemas.two_stage import Lists, Retrieval
from tasks.ranking.protocol import REST
from tasks.registry import Version
from tasks.report import backtest, listener
from tasks.store import Entry, Table
from tasks.two_stage import evaluation as lists_evaluation
from tasks.two_stage import reports
from tests.report.conftest import NASTY, table

USERS, TRACKS = 40, 12
LONG = "x" * 10_000
START = datetime(2024, 1, 1, tzinfo=UTC)
CUTOFF = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp() * 1000)
PEOPLE = [NASTY, LONG, *(f"private-{code:02}" for code in range(2, USERS))]
SONGS = [NASTY, LONG, *(f"t{code}" for code in range(2, TRACKS))]
FIGURES = {
    "ndcg", "accuracy", "recall", "coverage", "long_tail", "precision_recall", "roc", "calibration",
    "confusion", "importance_shap", "cohorts", "cohort_gains",
}  # fmt: skip
VOID = {"meta", "br", "img", "link", "hr", "input"}


@dataclass(frozen=True)
class Told:
    """A ranker that reads one column."""

    facts: Any = None

    def order(self, frame: pl.DataFrame) -> Any:
        return frame["affinity"].cast(pl.Float64).to_numpy()

    def probability(self, order: Any) -> Any:
        return 1 / (1 + np.exp(-order))

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(pl.col("affinity").cast(pl.Float64), pl.lit(0.0).alias(REST))


class Balanced(HTMLParser):
    """Refuses a tag that is closed by another."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        """Nothing stays open."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@dataclass(frozen=True)
class World:
    """Settings, the entries that the report is made of, and the folder of the judged candidates."""

    settings: Config
    data: Entry
    judged: Entry
    place: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """40 listeners, two of them and two tracks with names that would break a page."""
    folder = tmp_path_factory.mktemp("lists")
    rng = np.random.default_rng(3)
    place = folder / "candidates"
    place.mkdir()
    user, track = np.repeat(np.arange(USERS), TRACKS), np.tile(np.arange(TRACKS), USERS)
    affinity = rng.normal(size=len(user))
    target = affinity + rng.normal(size=len(user)) > 1
    found = pl.DataFrame(
        {
            "user": user, "track": track, "heard": track % 2 == 0, "target": target,
            "affinity": affinity, "popular_score": -track, "again_score": rng.random(len(user)),
        },
        schema_overrides={"user": pl.Int32, "track": pl.Int32},
    ).with_columns(
        pl.col(f"{name}_score").rank("ordinal", descending=True).over("user", "heard").alias(
            f"{name}_rank"
        )
        for name in ("popular", "again")
    )  # fmt: skip
    found.write_parquet(place / "candidates.parquet")
    found.filter("target").select("user", "track", "heard").write_parquet(place / "relevant.parquet")
    found.filter("heard").select("user", "track").write_parquet(place / "heard.parquet")
    pl.DataFrame({"user_id": PEOPLE}).write_parquet(place / "users.parquet")
    pl.DataFrame({"track_id": SONGS}).write_parquet(place / "tracks.parquet")
    paths = {name: folder / f"{name}.parquet" for name in ("plays", "tracks", "users")}
    many = [code for code in range(USERS) for _ in range(3 + code)]
    started = [START + timedelta(hours=3 * row) for row in range(len(many))]
    table(
        tables.Plays,
        {
            "user_id": [PEOPLE[code] for code in many], "seq": list(range(len(many))),
            "track_id": [SONGS[row % TRACKS] for row in range(len(many))], "started_at": started,
            "ended_at": started, "resolution": ["second"] * len(many), "file": ["a"] * len(many),
            "position": list(range(len(many))),
        },
    ).write_parquet(paths["plays"])  # fmt: skip
    names = [NASTY, LONG, *(f"Song {code}" for code in range(2, TRACKS - 1)), None]
    table(
        tables.Tracks, {"track_id": SONGS, "name": names, "artist": ["<i>Band</i>"] * TRACKS}
    ).write_parquet(paths["tracks"])
    table(
        tables.Users, {"user_id": PEOPLE, "country": ["SE", NASTY] * (USERS // 2)}
    ).write_parquet(paths["users"])  # fmt: skip
    settings = Config(
        retrieval=Retrieval(retrievers=("popular", "again")),
        lists=Lists(k=3, rankers=("lightgbm",), champion_candidate="lightgbm", pages=4),
        evaluation=config.Evaluation(resamples=100),
        store=Store(path=folder / "store"),
        output=Output(dir=folder / "out"),
    )
    window = {"candidates": place, "lightgbm": place}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.two_stage.lists.load", lambda path: Told())
        made = folder / "judged"
        made.mkdir()
        facts = lists_evaluation.evaluate({CUTOFF: window}, ("lightgbm",), paths, settings, made)
        yield World(
            settings,
            Entry("ingest", "i", folder, handles(folder), {"clock": "time", "files": []}, 0.0, False),
            Entry(
                "lists-evaluate", "e", made, handles(made), facts | {"als": {"factors": 8}}, 0.0, False
            ),
            place,
        )


def handles(folder: Path) -> dict[str, Table]:
    return {path.stem: Table(path.stem, path, 1, path.stem) for path in folder.glob("*.parquet")}


@pytest.fixture(scope="module")
def out(world: World) -> Path:
    folder, verdict = reports.backtested(world.settings, world.data, world.judged)
    assert "retriever" in verdict
    return folder


def test_everything_is_there(out: Path) -> None:
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {
        "BACKTEST.md", "backtest.json", "lists_comparison.csv", "recall.csv", "cohorts.csv",
        "importance.csv", "mistakes.csv", "lists/dashboard.html",
        *(f"lists/{name}.svg" for name in FIGURES),
        *(f"lists/pages/listener-{number}.html" for number in range(1, 5)),
    }  # fmt: skip


def test_pages_are_whole_and_fetch_nothing(out: Path) -> None:
    """Whatever users, tracks and countries are called."""
    for path in [*out.glob("lists/pages/*.html"), out / "lists/dashboard.html"]:
        text = path.read_text(encoding="utf-8")
        parser = Balanced()
        parser.feed(text)
        parser.close()
        assert parser.open == []
        assert "<script" not in text
        assert "<i>Band" not in text
        assert not re.search(r"https?://|\bon\w+=", re.sub(r"<svg[^>]*>", "", text))
        assert len(max(text.split(">"), key=len)) < 12_000
        assert "x" * 200 not in text
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(ids) == len(set(ids))
    for path in out.glob("lists/*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))


def test_links_lead_to_pages_and_back(out: Path) -> None:
    text = (out / "lists/dashboard.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"]+)"', text)
    assert len(links) == 4
    for link in links:
        page = out / "lists" / link
        (back,) = re.findall(r'href="([^"]+)"', page.read_text(encoding="utf-8"))
        assert (page.parent / back).resolve() == (out / "lists/dashboard.html").resolve()


def test_a_page_tells_history_and_what_came_true(world: World, out: Path) -> None:
    """Of the first user of the most active band: counted again from the tables."""
    text = (out / "lists/pages/listener-4.html").read_text(encoding="utf-8")
    user = html.unescape(re.findall(r"<h1>(.*?)</h1>", text)[0])
    plays = pl.read_parquet(world.data.tables["plays"].path).filter(pl.col("user_id") == user)
    assert f"<dd>{plays.height}<small>" in text
    listed = pl.read_parquet(world.judged.tables["lists"].path).filter(user=user, system="lightgbm")
    assert listed.height == 3
    hits = int(listed["played"].sum())
    assert re.search(rf"LightGBM, the ranker that recommends: {hits} hits? among 3", text)
    marked = re.findall(r"<td>(\d)\xa0★</td>", text.split("best single retriever")[0])
    assert [int(rank) for rank in marked] == listed.filter("played")["rank"].to_list()
    first = listed.row(0, named=True)
    assert f"<td>{first['probability']:.1%}</td>" in text


def test_listeners_are_drawn_over_activity() -> None:
    """One of each quarter, the same by the same seed, others by another; nobody where none is asked."""
    users = pl.DataFrame(
        {"user": [f"u{code:02}" for code in range(40)], "cutoff": 7, "activity": range(40)}
    ).sample(fraction=1, shuffle=True, seed=1)
    chosen = [int(user[1:]) for user in listener.sampled(users, 7, 4, 5)]
    assert [code // 10 for code in chosen] == [0, 1, 2, 3]
    assert listener.sampled(users, 7, 4, 5) == [f"u{code:02}" for code in chosen]
    assert len({tuple(listener.sampled(users, 7, 4, seed)) for seed in range(5)}) > 1
    assert listener.sampled(users, 7, 0, 5) == []
    assert listener.sampled(users, 8, 4, 5) == []
    assert len(listener.sampled(users.head(2), 7, 4, 5)) == 2


def test_backtest_says_whom_and_what(out: Path) -> None:
    text = (out / "BACKTEST.md").read_text(encoding="utf-8")
    assert "## Whom the lists serve worse" in text
    cohorts = pl.read_csv(out / "cohorts.csv").filter(
        pl.col("metric") == "ndcg", ~pl.col("cohort").is_in(["all", "too few"])
    )
    assert set(cohorts["attribute"]) <= {"activity", "tenure", "country"}  # nobody's gender or age
    assert cohorts["users"].min() >= 10
    assert f"the lowest of {cohorts.height} cohorts" in text
    assert "## The most confident mistakes" in text
    assert "| affinity |" in text
    assert "<script" not in text
    assert "private-" not in text
    mistakes = pl.read_csv(out / "mistakes.csv")
    assert set(mistakes["user"]) <= set(PEOPLE)
    falling = mistakes["probability"].to_list()
    assert falling == sorted(falling, reverse=True)


def test_what_is_no_longer_true_goes(world: World, out: Path) -> None:
    (out / "lists/importance_gain.svg").write_text("of another ranker")
    (out / "lists/mine.txt").write_text("somebody's own")
    fewer = world.settings.model_copy(
        update={"lists": world.settings.lists.model_copy(update={"pages": 0})}
    )
    folder, _ = reports.backtested(fewer, world.data, world.judged)
    assert not (folder / "lists/importance_gain.svg").exists()
    assert not list(folder.glob("lists/pages/*.html"))
    assert (folder / "lists/mine.txt").read_text() == "somebody's own"
    assert "Sample listeners" not in (folder / "lists/dashboard.html").read_text(encoding="utf-8")
    (folder / "lists/mine.txt").unlink()
    reports.backtested(world.settings, world.data, world.judged)


def test_the_report_of_plays_in_the_same_folder_stays(world: World, tmp_path: Path) -> None:
    for name in ("model_metrics.json", "figures/dashboard.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of retrain")
    there = world.settings.model_copy(update={"output": Output(dir=tmp_path)})
    folder, _ = reports.backtested(there, world.data, world.judged)
    assert folder == tmp_path / "backtest"
    assert (folder / "lists/dashboard.html").exists()
    assert (tmp_path / "figures/dashboard.html").read_text() == "of retrain"


def test_no_user_leaves_for_the_tracking_store(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Registry:
        """Keeps what is attached."""

        def __init__(self, settings: Any) -> None:
            pass

        def record(self, training: Any) -> tuple[str, Version]:
            return "run", Version(training.model, 1, "run", {})

        def attach(self, run_id: str, folder: Path, place: str) -> None:
            shutil.copytree(folder, tmp_path / run_id / place)

    monkeypatch.setattr(reports, "Registry", Registry)
    validation = Entry("candidates", "v", world.place, {}, {}, 0.0, False)
    fits = {"lightgbm": Entry("lists-lightgbm", "f", world.place, {}, {"seconds": 1.0}, 0.0, False)}
    reports.recorded(world.settings, world.data, validation, fits, world.judged)
    sent = [path for path in (tmp_path / "run/report").rglob("*") if path.is_file()]
    assert {path.name for path in sent} == {"dashboard.html", *(f"{name}.svg" for name in FIGURES)}
    for path in sent:
        text = path.read_text(encoding="utf-8")
        assert "private-" not in text
        assert "listener-" not in text
        assert not re.search(r"<a href=", text)


def test_pages_are_no_part_of_a_recipe() -> None:
    """Another number of pages is no other model."""
    other = Config(lists=Lists(pages=0))
    assert reports.recipe(other) == reports.recipe(Config())
    assert reports.recipe(Config(lists=Lists(k=3))) != reports.recipe(Config())


def test_one_listener_has_no_interval() -> None:
    """The verdict says so, and shows no number that is none."""
    row = {"mode": "include", "metric": "ndcg", "value": 0.5, "low": float("nan"), "high": float("nan")}
    facts = {
        "k": 10,
        "metrics": [row | {"system": "lightgbm", "units": 1}],
        "differences": [row | {"system": "lightgbm", "against": "again", "value": 0.1}],
    }
    told = backtest.verdict(facts, "lightgbm")
    assert told.startswith("Too little data to be sure")
    assert told.endswith("again: NDCG@10 .500, +0.1000.")
