"""The second stage: rankers that learn from candidates, and the lists they make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from schemas.config import Config, LightGBM, Models, Store
from schemas.errors import InputError
from tasks.metrics.lists import accuracy
from tasks.ranking import RANKERS
from tasks.ranking.protocol import Column, Task
from tasks.two_stage import candidates, lists
from tasks.two_stage.evaluation import scored

LIST_RANKERS = ("logistic", "lightgbm", "lambdamart")
COLUMNS = (
    Column("near_score", False), Column("near_rank", False), Column("affinity", False),
    Column("taste", False), Column("mood", False), Column("kind", True),
)  # fmt: skip
CONFIG = Config(
    models=Models(
        lightgbm=LightGBM(
            max_trees=60, num_leaves=7, learning_rate=0.1, early_stopping=10, min_data_in_leaf=10
        )
    ),
    store=Store(threads=1),
)


def window(folder: Path, seed: int, users: int = 60, each: int = 20, hits: float = 1.0) -> Path:
    """Candidates of ``users``: ``affinity`` of the pair and ``kind`` of the track tell what is played.

    ``mood`` of a user makes some play much and others little, which orders no list. ``hits`` scales
    the chance of a hit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tracks = 80
    user = np.repeat(np.arange(users, dtype=np.int32), each)
    track = np.concatenate([rng.choice(tracks, each, replace=False) for _ in range(users)])
    affinity = rng.normal(size=len(user))
    mood = rng.normal(size=users) * 3
    kind = rng.choice(["song", "noise"], tracks)
    odds = 2 * affinity + mood[user] + np.where(kind[track] == "song", 1.5, -1.5) - 2
    near = rng.normal(size=len(user))
    pl.DataFrame(
        {
            "user": user,
            "track": track.astype(np.int32),
            "heard": rng.random(len(user)) < 0.5,
            "target": rng.random(len(user)) < hits / (1 + np.exp(-odds)),
            "near_score": near.astype(np.float32),
            "near_rank": np.where(rng.random(len(user)) < 0.7, np.argsort(-near), np.nan).astype(
                np.float32
            ),
            "affinity": affinity.astype(np.float32),
        }
    ).with_columns(pl.col("near_rank").fill_nan(None)).write_parquet(folder / "candidates.parquet")
    pl.DataFrame(
        {"user_id": [f"u{code}" for code in range(users)], "mood": mood.astype(np.float32)}
    ).write_parquet(folder / "users.parquet")
    pl.DataFrame(
        {
            "track_id": [f"t{code}" for code in range(tracks)],
            "taste": rng.normal(size=tracks).astype(np.float32),
            "kind": pl.Series(kind, dtype=pl.Categorical),
        }
    ).write_parquet(folder / "tracks.parquet")
    return folder


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two to train on, one for validation, one to judge."""
    folder = tmp_path_factory.mktemp("windows")
    return [window(folder / str(seed), seed) for seed in range(4)]


@pytest.fixture(scope="module", params=LIST_RANKERS)
def ranker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fitted(ranker: str, training: list[Path], validation: Path | None, folder: Path, **more: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    config = more.pop("config", CONFIG)
    lists.fit(ranker, training, validation, COLUMNS, config, folder, **more)
    return lists.load(folder)


@pytest.fixture(scope="module")
def folder(ranker: str, windows: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(ranker)
    fitted(ranker, windows[:2], windows[2], made)
    return made


# Lists


def test_ties_go_by_the_smaller_track_and_users_are_cut_each() -> None:
    frame = pl.DataFrame(
        {
            "user": [2, 1, 1, 1, 1, 2],
            "track": [5, 9, 3, 4, 1, 6],
            "score": [0.1, 0.5, 0.5, 0.9, -1.0, 0.2],
        }
    )
    assert lists.top(frame, 3).select("user", "rank", "track").rows() == [
        (1, 1, 4), (1, 2, 3), (1, 3, 9), (2, 1, 6), (2, 2, 5),
    ]  # fmt: skip
    assert lists.top(frame, 1)["track"].to_list() == [4, 6]
    assert lists.top(frame, 1_000).height == 6
    assert lists.top(frame.clear(), 3).is_empty()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 30), st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
        max_size=40,
        unique_by=lambda row: row[:2],
    ),
    st.integers(1, 8),
    st.randoms(),
)
def test_the_top_by_a_slow_reference(rows: list[tuple[int, int, float]], k: int, random: Any) -> None:
    """Whatever the order of the rows."""
    schema = {"user": pl.Int32, "track": pl.Int32, "score": pl.Float64}
    random.shuffle(rows)
    expected = []
    for user in sorted({row[0] for row in rows}):
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: (-row[2], row[1]))
        expected += [(user, track, score, rank) for rank, (_, track, score) in enumerate(mine[:k], 1)]
    top = lists.top(pl.DataFrame(rows, schema, orient="row"), k)
    assert top.select("user", "track", "score", "rank").rows() == expected
    assert top.schema["rank"] == pl.Int32


# Rankers of candidates


def test_a_planted_signal_orders_lists(ranker: str, folder: Path, windows: list[Path]) -> None:
    """Far better than the retriever, whose score says nothing, and in reach of the truth's order."""
    frame = candidates.rows(windows[3], [column.name for column in COLUMNS])
    relevant = frame.filter("target").select("user", "track")
    model = lists.load(folder)
    truth = 2 * pl.col("affinity") + 3 * (pl.col("kind").cast(pl.String) == "song")
    told = {}
    scores: dict[str, Any] = {
        "model": pl.Series(model.order(frame)), "near": pl.col("near_score"), "truth": truth,
    }  # fmt: skip
    for name, score in scores.items():
        top = lists.top(frame.with_columns(score=score), 10)
        told[name] = accuracy(top, relevant, 10)["ndcg"].mean()
    assert told["model"] > told["near"] + 0.15  # type: ignore[operator]
    assert told["model"] > 0.9 * told["truth"]  # type: ignore[operator]
    assert roc_auc_score(frame["target"], model.score(frame)) > 0.75


def test_loaded_it_orders_the_same_and_nothing_is_pickled(
    ranker: str, folder: Path, windows: list[Path], tmp_path: Path
) -> None:
    """The model that was fitted, the one loaded, one fitted again, and one scored in slices."""
    frame = candidates.rows(windows[3], [column.name for column in COLUMNS])
    order = lists.load(folder).order(frame)
    assert len(np.unique(order)) > 10
    assert_array_equal(fitted(ranker, windows[:2], windows[2], tmp_path / "again").order(frame), order)
    assert_array_equal(scored(windows[3], lists.load(folder)), order)
    for path in folder.rglob("*"):
        assert path.suffix in (".json", ".txt")
        path.read_text(encoding="utf-8")
    saved = json.loads((folder / "ranker.json").read_text())
    assert saved["ranker"] == ranker
    assert saved["columns"] == [column.name for column in COLUMNS]
    assert saved["facts"]["lists"] == 120
    everything = pl.concat([candidates.rows(place, []) for place in windows[:2]])
    assert saved["facts"]["positives"] == pytest.approx(everything["target"].mean())


def test_slices_are_put_together(
    windows: list[Path], folder: Path, ranker: str, monkeypatch: Any
) -> None:
    whole = scored(windows[3], lists.load(folder))
    monkeypatch.setattr("tasks.two_stage.evaluation.SLICE", 7)
    np.testing.assert_allclose(scored(windows[3], lists.load(folder)), whole, rtol=1e-12)


def test_validation_only_stops_and_calibrates(
    ranker: str, folder: Path, windows: list[Path], tmp_path: Path
) -> None:
    """Other targets there: the same model to the tree at which it stops, with other probabilities."""
    rng = np.random.default_rng(0)
    other = tmp_path / "validation"
    other.mkdir()
    for name in ("users", "tracks"):
        (other / f"{name}.parquet").write_bytes((windows[2] / f"{name}.parquet").read_bytes())
    whole = pl.read_parquet(windows[2] / "candidates.parquet")
    noise = pl.Series(rng.random(whole.height) < 0.02)
    whole.with_columns(target=noise).write_parquet(other / "candidates.parquet")
    frame = candidates.rows(windows[3], [column.name for column in COLUMNS])
    fit = fitted(ranker, windows[:2], other, tmp_path / "other")
    if ranker == "logistic":
        assert_array_equal(fit.score(frame), lists.load(folder).score(frame))
        return
    trees, others = (
        [
            tree.strip()
            for tree in (place / "booster.txt").read_text().split("end of trees")[0].split("\nTree=")[1:]
        ]
        for place in (folder, tmp_path / "other")
    )
    assert len(trees) != len(others)
    both = min(len(trees), len(others))
    assert trees[:both] == others[:both] != []
    first, second = (
        json.loads((place / "model.json").read_text()) for place in (folder, tmp_path / "other")
    )
    assert first["encoding"] == second["encoding"]
    assert first["calibration"] != second["calibration"]


def test_lists_are_groups_of_a_window_and_a_user(tmp_path: Path, monkeypatch: Any) -> None:
    """The last user of a window and the first of the next may have one number, never one list."""
    one = window(tmp_path / "one", 0, users=1, each=3)
    two = window(tmp_path / "two", 1, users=2, each=2)
    asked: list[Task] = []
    fit = RANKERS["lambdamart"].fit
    groups: list[Any] = []

    class Spy:
        """Stands in for the ranker's module."""

        load = RANKERS["lambdamart"].load

        @staticmethod
        def fit(task: Task) -> Any:
            import lightgbm

            asked.append(task)
            made = lightgbm.Dataset

            def dataset(*given: Any, **more: Any) -> Any:
                groups.append(more["group"])
                return made(*given, **more)

            monkeypatch.setattr(lightgbm, "Dataset", dataset)
            return fit(task)

    monkeypatch.setitem(RANKERS, "lambdamart", Spy)
    for place in (one, two):  # both outcomes in each list
        frame = pl.read_parquet(place / "candidates.parquet")
        mixed = frame.with_columns(target=pl.int_range(pl.len()) % 2 == 0)
        mixed.write_parquet(place / "candidates.parquet")
    lists.fit("lambdamart", [one, two, one], two, COLUMNS, CONFIG, tmp_path)
    (task,) = asked
    assert task.train["list"].to_list() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert task.train["user"].to_list() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert task.validation is not None
    assert task.validation["list"].to_list() == [0, 0, 1, 1]
    assert task.group == "list"
    assert [group.tolist() for group in groups] == [[3, 2, 2, 3], [2, 2]]
    expected = pl.concat([candidates.rows(place, ["affinity"]) for place in (one, two, one)])
    assert_frame_equal(task.train.select("target", "affinity"), expected.select("target", "affinity"))


def test_lambdamart_learns_the_order_within_lists_alone(windows: list[Path], tmp_path: Path) -> None:
    """What only tells users apart gains it next to nothing, and the log loss of rows a lot."""
    gains = {}
    for name in ("lightgbm", "lambdamart"):
        importance = fitted(name, windows[:2], windows[2], tmp_path / name).importance()
        gain = dict(importance.select("feature", "gain").iter_rows())
        gains[name] = gain["mood"] / gain["affinity"]
    assert gains["lambdamart"] < 0.5 * gains["lightgbm"]


def test_a_refit_takes_over_size_and_calibration(
    ranker: str, folder: Path, windows: list[Path], tmp_path: Path
) -> None:
    before = json.loads((folder / "ranker.json").read_text())["facts"]
    fitted(ranker, windows[:3], None, tmp_path, like=folder)
    after = json.loads((tmp_path / "ranker.json").read_text())["facts"]
    assert after["lists"] == 180
    if ranker != "logistic":
        assert after["trees"] == before["trees"]
        calibration = [json.loads((place / "model.json").read_text())["calibration"]
                       for place in (folder, tmp_path)]  # fmt: skip
        assert calibration[0] == calibration[1]


@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize("hits", [0.0, None])
def test_windows_in_which_nobody_played_a_candidate(
    ranker: str, part: str, hits: float | None, tmp_path: Path
) -> None:
    """No hit among the candidates, or no candidate at all: there is nothing to learn from."""
    good = window(tmp_path / "good", 0)
    bad = window(tmp_path / "bad", 1, hits=hits or 0)
    if hits is None:
        pl.read_parquet(bad / "candidates.parquet").clear().write_parquet(bad / "candidates.parquet")
    training, validation = ([bad], good) if part == "training" else ([good], bad)
    with pytest.raises(InputError, match=rf"no candidate was played .* for {part} .*what to do"):
        lists.fit(ranker, training, validation, COLUMNS, CONFIG, tmp_path)


def test_a_window_in_which_every_candidate_was_played(ranker: str, tmp_path: Path) -> None:
    """Of a catalogue of one track there is nothing else."""
    one = window(tmp_path / "one", 0, users=1, each=1)
    frame = pl.read_parquet(one / "candidates.parquet")
    frame.with_columns(target=pl.lit(True)).write_parquet(one / "candidates.parquet")
    with pytest.raises(InputError, match=r"every candidate was played .*1 candidates, 1 of them"):
        lists.fit(ranker, [one], one, COLUMNS, CONFIG, tmp_path)


def test_one_training_window_of_several_may_be_silent(ranker: str, tmp_path: Path) -> None:
    places = [window(tmp_path / str(seed), seed, hits=float(seed != 1)) for seed in range(4)]
    frame = pl.read_parquet(places[2] / "candidates.parquet")
    frame.clear().write_parquet(places[2] / "candidates.parquet")
    fitted(ranker, places[:3], places[3], tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "ranker.json").read_text())["facts"]
    assert facts["lists"] == 120
