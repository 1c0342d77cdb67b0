"""Recommend, backtest and similar from the command line, on a small world and on bad requests."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.promotion import Decision
from tests.flows.conftest import Place

SMALL = ("lists.training_windows=1", "simulation.days=200", "simulation.plays=3000")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A small world for which every user got a list."""
    place = Place(tmp_path_factory.mktemp("lists"), "demo", SMALL)
    assert place.run("recommend", "recommend.k=5") == 0
    return place


def recommendations(place: Place) -> pl.DataFrame:
    return pl.read_parquet(place.output / "recommendations.parquet")


def plays(place: Place) -> pl.DataFrame:
    return pl.read_parquet(place.entry("ingest") / "plays.parquet")


def test_every_user_gets_a_ranked_list_with_reasons(lists: Place) -> None:
    made = recommendations(lists)
    assert set(made["user_id"]) == set(plays(lists)["user_id"])
    assert made.group_by("user_id").agg(pl.col("rank").sort())["rank"].to_list() == [[1, 2, 3, 4, 5]] * 4
    assert not made.select("user_id", "track_id").is_duplicated().any()
    assert (
        made.sort("user_id", "rank")
        .group_by("user_id")
        .agg(falling=(pl.col("score").diff().drop_nulls() <= 0).all())["falling"]
        .all()
    )
    assert made["probability"].is_between(0, 1).all()
    assert made["reason"].null_count() == 0
    assert made["retrievers"].str.len_chars().min() > 0  # type: ignore[operator]
    assert pl.read_csv(lists.output / "recommendations.csv").height == made.height


def test_a_reason_is_true(lists: Place) -> None:
    listened = plays(lists).group_by("user_id", "track_id").len()
    told = (
        recommendations(lists)
        .with_columns(number=pl.col("reason").str.extract(r"^you played it (\d+) times$").cast(pl.Int64))
        .drop_nulls("number")
        .join(listened, on=["user_id", "track_id"])
    )
    finished = recommendations(lists).filter(pl.col("reason").str.starts_with("you finished"))
    assert told.height + finished.height
    assert (told["number"] == told["len"]).all()
    completed = pl.read_parquet(lists.entry("labels") / "completed.parquet").join(
        plays(lists).select("user_id", "seq", "track_id"), on=["user_id", "seq"]
    )
    for row in finished.iter_rows(named=True):
        own = completed.filter(
            pl.col("user_id") == row["user_id"], pl.col("track_id") == row["track_id"]
        )["target"].drop_nulls()
        first, *_ = row["reason"].split("; ")
        assert first == f"you finished {own.sum()} of {own.len()} plays"


def test_lists_lead_back_to_model_and_raw_files(lists: Place) -> None:
    told = json.loads((lists.output / "recommendations.json").read_text())
    version = lists.registry().version("encore-demo-played", "champion")
    assert (told["model"], told["model_version"]) == (version.name, version.number)
    assert set(recommendations(lists)["model_version"]) == {str(version.number)}
    assert told["raw_files"] == lists.facts("ingest")["files"]
    assert told["cutoff"] == recommendations(lists)["cutoff"][0]


def test_the_runs_parameters_tell_what_lists_were_made_with(lists: Place) -> None:
    version = lists.registry().version("encore-demo-played", "champion")
    number = version.tags.get("evaluated_version", str(version.number))
    evaluated = lists.registry().version(version.name, number)
    told = lists.registry().client.get_run(evaluated.run_id).data.params
    config = lists.loaded
    for name, value in (
        ("lists.k", config.lists.k),
        ("lists.rankers", list(config.lists.rankers)),
        ("retrieval.popular_days", config.retrieval.popular_days),
        ("models.seed", config.models.seed),
    ):
        assert told[name] == str(value)
    chosen = dict(part.split("=") for part in told["als"].split())
    assert {name: told[f"retrieval.als.{name}"] for name in chosen} == chosen
    cutoffs = [datetime.fromisoformat(each) for each in told["cutoffs"].split()]
    assert [round(each.timestamp() * 1000) for each in cutoffs] == lists.facts("lists-evaluate")[
        "cutoffs"
    ]


def test_the_same_again_computes_nothing_and_changes_nothing(
    lists: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (lists.output / "recommendations.csv").read_bytes()
    version = lists.registry().version("encore-demo-played", "champion").number
    assert lists.run("recommend", "recommend.k=5") == 0
    made = [line for line in capsys.readouterr().err.splitlines() if " rows " in line]
    assert made
    assert all(line.endswith("reused") for line in made)
    assert (lists.output / "recommendations.csv").read_bytes() == before
    assert lists.registry().version("encore-demo-played", "champion").number == version


@pytest.mark.parametrize(("heard", "known"), [("exclude", False), ("only", True)])
def test_heard_tracks_alone_or_left_out(lists: Place, tmp_path: Path, heard: str, known: bool) -> None:
    there = replace(lists, settings=(*lists.settings, f"output.dir={tmp_path}"))
    assert there.run("recommend", f"recommend.heard={heard}", "recommend.users=listener-00002") == 0
    made = pl.read_parquet(tmp_path / "recommendations.parquet")
    assert set(made["user_id"]) == {"listener-00002"}
    listened = plays(lists).select("user_id", "track_id").unique()
    assert made.join(listened, on=["user_id", "track_id"]).height == (made.height if known else 0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("recommend.users=listener-00001,nobody",), "1 unknown users"),
        (("recommend.k=0",), "recommend.k"),
        (("recommend.k=-3",), "recommend.k"),
        (("backtest.cutoffs=40",), "too little history for the windows of lists"),
        (("lists.champion_candidate=lightgbm", "lists.rankers=[logistic]"), "lists.champion_candidate"),
    ],
)
def test_a_bad_request_is_one_line(
    lists: Place, capsys: pytest.CaptureFixture[str], settings: tuple[str, ...], told: str
) -> None:
    before = (lists.output / "recommendations.csv").read_bytes()
    assert lists.run("recommend", *settings) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert told in line
    assert (lists.output / "recommendations.csv").read_bytes() == before


def test_more_than_the_catalogue_is_the_catalogue(lists: Place, tmp_path: Path) -> None:
    there = replace(lists, settings=(*lists.settings, f"output.dir={tmp_path}"))
    assert there.run("recommend", "recommend.k=100000", "recommend.users=listener-00001") == 0
    made = pl.read_parquet(tmp_path / "recommendations.parquet")
    assert 0 < made.height <= lists.loaded.retrieval.candidates


def test_one_listener_without_a_catalogue_has_nothing_unheard(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, "spotify", (f"source.path={real_data / 'spotify_account'}",))
    short = ("lists.training_windows=1", "retrieval.retrievers=[again, popular]")
    assert place.run("recommend", *short, "recommend.heard=exclude") == 2
    told = capsys.readouterr().err
    assert "no retriever found an unheard track" in told
    assert not list(place.output.glob("recommendations*"))


def test_backtest_compares_all_systems_with_intervals(lists: Place) -> None:
    assert lists.run("backtest", "backtest.cutoffs=2") == 0
    page = (lists.output / "BACKTEST.md").read_text()
    told: dict[str, Any] = json.loads((lists.output / "backtest.json").read_text())
    systems = {*lists.loaded.retrieval.retrievers, *lists.loaded.lists.rankers}
    assert {row["system"] for row in told["metrics"] if row["mode"] == "include"} == systems
    assert all(system in page for system in systems)
    assert len(told["cutoffs"]) == 2
    ndcg = [row for row in told["metrics"] if row["metric"] == "ndcg" and row["mode"] == "include"]
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in ndcg)
    assert page.splitlines()[2].startswith("**")


def test_similar_tracks_of_the_most_played_one(lists: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert lists.run("similar", "similar.k=3") == 0
    assert lists.run("similar", "similar.track=none-such") == 2
    told = capsys.readouterr()
    most = plays(lists)["track_id"].mode().sort()[0]
    assert most in told.out
    assert "no such track" in told.err


def test_a_new_recipe_is_compared_on_the_same_windows(lists: Place) -> None:
    before = recommendations(lists)
    champion = lists.registry().version("encore-demo-played", "champion")
    assert lists.run("recommend", "recommend.k=5", "lists.champion_candidate=logistic") == 0
    challenger = lists.registry().version("encore-demo-played", "challenger")
    decision = Decision.of(challenger)
    assert decision is not None
    assert "new recipe" in decision.reason
    assert decision.numbers["ndcg_low"] <= decision.numbers["ndcg"] <= decision.numbers["ndcg_high"]
    assert decision.promoted == (decision.numbers["ndcg_low"] > 0)
    now = lists.registry().version("encore-demo-played", "champion")
    assert (now.number == champion.number) == (not decision.promoted)
    if not decision.promoted:  # what is published is the champion's, whatever was tried
        assert recommendations(lists).equals(before)


def test_data_of_another_kind_is_not_compared_with_the_champion(
    lists: Place, real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(
        lists, config="kkbox", settings=(f"source.path={real_data / 'kkbox'}", "dataset=demo")
    )
    rankers = ("lists.rankers=[lightgbm]", "lists.champion_candidate=lightgbm")
    short = ("lists.training_windows=1", "retrieval.retrievers=[popular]", *rankers)
    assert other.run("recommend", *short, "lists.max_users=50") == 2
    assert "was trained on other data" in capsys.readouterr().err


def test_monitor_of_lists_judges_them_in_windows_since_training(lists: Place, tmp_path: Path) -> None:
    """The evaluated version was trained until its own judged window: there it is what was logged."""
    there = replace(lists, settings=(*lists.settings, "labels.target=played", "monitor.min_rows=100"))
    assert there.run("monitor", "evaluation.model=1", f"output.dir={tmp_path}") == 0
    told: dict[str, Any] = json.loads((tmp_path / "monitor.json").read_text())
    registry = lists.registry()
    run = registry.client.get_run(registry.version("encore-demo-played", "1").run_id).data.metrics
    quality = told["lists"]
    assert [len(quality[part]) for part in ("now", "then", "change")] == [4, 3, 3]
    lead = f"ndcg_at_10_minus_{quality['best']}"
    for name, logged in {"ndcg": "ndcg_at_10", "hit": "hit_at_10", "lead": lead}.items():
        for place, bound in {"value": "", "low": "_low", "high": "_high"}.items():
            assert quality["now"][name][place] == quality["then"][name][place] == run[logged + bound]
        assert quality["change"][name]["value"] == 0
    differences = (run[f"ndcg_at_10_minus_{name}"] for name in there.loaded.retrieval.retrievers)
    assert quality["now"]["lead"]["value"] == min(differences)
    assert quality["now"]["popular"]["value"] == pytest.approx(
        run["ndcg_at_10"] - run["ndcg_at_10_minus_popular"]
    )
    says = {each["name"]: each["says"] for each in told["reasons"]}
    assert set(says) == {"lists", "features", "labels"}
    assert says["lists"] == "nothing"
    names = {row["feature"] for row in told["features"]}
    assert {"user_plays", "track_plays"} <= names
    assert 0 < sum(row["gain"] for row in told["features"]) <= 1
    text = (tmp_path / "MONITOR.md").read_text()
    assert "| NDCG@10 of the most popular tracks |" in text


def test_lists_that_know_all_of_the_data_cannot_be_judged_yet(lists: Place, tmp_path: Path) -> None:
    there = replace(lists, settings=(*lists.settings, "labels.target=played", "monitor.min_rows=100"))
    assert there.run("monitor", f"output.dir={tmp_path}") == 0
    told = json.loads((tmp_path / "monitor.json").read_text())
    assert (told["verdict"], told["lists"]) == ("too little new data to say", None)
