"""Lists judged by what was played next, on a world small enough to work out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas import tables
from schemas.config import Config, Store
from schemas.errors import InputError
from schemas.two_stage import Lists, Retrieval
from tasks.two_stage.evaluation import evaluate
from tests.logs import table

# user, track, heard, score and rank (in its kind) by popular and by again, what the ranker thinks
Candidate = tuple[int, int, bool, float | None, int | None, float | None, int | None, float]
ANNA, BEN, CLEO, DORA = range(4)
CANDIDATES: list[Candidate] = [
    (ANNA, 1, True, 0.1, None, 2.0, 1, 9.0),  # popular has a score for it, and did not retrieve it
    (ANNA, 0, True, 0.8, 1, 1.0, 2, 0.1),
    (ANNA, 2, False, 0.9, 1, None, None, 0.0),
    (ANNA, 3, False, 0.5, 2, None, None, 8.0),
    (BEN, 0, True, None, None, 1.0, 1, 3.0),
    (BEN, 2, False, 0.9, 1, None, None, 1.0),
    (CLEO, 2, False, 0.9, 1, None, None, 1.0),
]
RELEVANT = [(ANNA, 1, True), (ANNA, 3, False), (BEN, 0, True), (DORA, 4, False)]
SECOND = 1 / math.log2(3)  # the discount at rank 2
CONFIG = Config(
    retrieval=Retrieval(retrievers=("popular", "again")),
    lists=Lists(k=2, rankers=("lightgbm",), champion_candidate="lightgbm"),
)


@dataclass(frozen=True)
class Told:
    """Stands in for a fitted ranker: orders by a column of the candidates, or of their tracks."""

    column: str

    def order(self, frame: pl.DataFrame) -> Any:
        return frame[self.column].to_numpy()

    def probability(self, order: Any) -> Any:
        return order / 10

    def contributions(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(pl.col(self.column).cast(pl.Float64), rest=pl.lit(0.0))


def window(
    folder: Path,
    found: Sequence[Candidate],
    relevant: Sequence[tuple[int, int, bool]],
    users: Sequence[str] = ("anna", "ben", "cleo", "dora"),
) -> Path:
    """The folder of a window's candidates."""
    folder.mkdir()
    own: dict[str, Any] = {"user": pl.Int32, "track": pl.Int32, "heard": pl.Boolean}
    scores = dict.fromkeys(
        ("popular_score", "popular_rank", "again_score", "again_rank", "affinity"), pl.Float32
    )
    candidates = pl.DataFrame(found, own | scores, orient="row")
    played = pl.DataFrame(relevant, own, orient="row").select("user", "track", target=True)
    candidates.join(played, on=["user", "track"], how="left", maintain_order="left").with_columns(
        pl.col("target").fill_null(False)
    ).write_parquet(folder / "candidates.parquet")
    pl.DataFrame(relevant, own, orient="row").write_parquet(folder / "relevant.parquet")
    heard = sorted({(user, track) for user, track, was, *_ in found if was})
    heard += [(DORA, 0)] if len(users) > DORA else []
    pl.DataFrame(heard, {"user": pl.Int32, "track": pl.Int32}, orient="row").write_parquet(
        folder / "heard.parquet"
    )
    pl.DataFrame({"user_id": users}).write_parquet(folder / "users.parquet")
    named = {"track_id": [f"t{code}" for code in range(5)], "merit": [0.0, 9.0, 1.0, 8.0, 0.0]}
    pl.DataFrame(named).write_parquet(folder / "tracks.parquet")
    return folder


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """A table of tracks without any genre; beside it users, and a play of each before any cutoff."""
    path = tmp_path / "tracks.parquet"
    table(tables.Tracks, [{"track_id": f"t{code}"} for code in range(5)]).write_parquet(path)
    people = [f"u{user:02}" for user in range(40)] + ["anna", "ben", "cleo", "dora"]
    table(tables.Users, [{"user_id": user} for user in people]).write_parquet(tmp_path / "users.parquet")
    plays = [
        {"user_id": user, "seq": 0, "track_id": "t0", "resolution": "order", "file": "", "position": 0}
        for user in people
    ]
    table(tables.Plays, plays).write_parquet(tmp_path / "plays.parquet")
    return path


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranker's folder is the name of the column that it orders by."""
    monkeypatch.setattr("tasks.two_stage.lists.load", lambda path: Told(path.name))


def judged(
    windows: dict[int, Path], tracks: Path, config: Config = CONFIG, ranker: str = "affinity"
) -> tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]:
    """Facts, per_user and recall."""
    folder = tracks.parent / "judged"
    folder.mkdir(exist_ok=True)
    given = {
        cutoff: {"candidates": place, "lightgbm": Path(ranker)} for cutoff, place in windows.items()
    }
    read = {name: tracks.parent / f"{name}.parquet" for name in ("plays", "tracks", "users")}
    config = config.model_copy(update={"store": Store(path=tracks.parent / "store")})
    facts = evaluate(given, config.lists.rankers, read, config, folder)
    per_user, recall = (pl.read_parquet(folder / f"{name}.parquet") for name in ("per_user", "recall"))
    return facts, per_user, recall


def by_user(per_user: pl.DataFrame, metric: str) -> dict[tuple[str, str], dict[str, float]]:
    """(mode, system) → user → metric."""
    return {
        (mode, system): dict(frame.select("user", metric).iter_rows())
        for (mode, system), frame in per_user.partition_by("mode", "system", as_dict=True).items()
    }


def test_a_world_worked_out_by_hand(tmp_path: Path, tracks: Path) -> None:
    """popular lists 2, 0 to Anna: nothing she played of t1 (again) and t3 (new). again lists 1, 0.

    Of new tracks alone popular lists 2, 3, the second right. Ben played t0 again, so that only lists
    with or of heard tracks are judged by him; Dora had no candidate and missed a new track; Cleo
    played nothing.
    """
    facts, per_user, _ = judged({7: window(tmp_path / "w", CANDIDATES, RELEVANT)}, tracks)
    both = 1 / (1 + SECOND)  # one of two at the first place
    assert by_user(per_user, "ndcg") == {
        ("include", "popular"): {"anna": 0.0, "ben": 0.0, "dora": 0.0},
        ("include", "again"): {"anna": pytest.approx(both), "ben": 1.0, "dora": 0.0},
        ("include", "lightgbm"): {"anna": 1.0, "ben": 1.0, "dora": 0.0},
        ("exclude", "popular"): {"anna": pytest.approx(SECOND), "dora": 0.0},
        ("exclude", "again"): {"anna": 0.0, "dora": 0.0},
        ("exclude", "lightgbm"): {"anna": 1.0, "dora": 0.0},
        ("only", "popular"): {"anna": 0.0, "ben": 0.0},
        ("only", "again"): {"anna": 1.0, "ben": 1.0},
        ("only", "lightgbm"): {"anna": 1.0, "ben": 1.0},
    }
    assert by_user(per_user, "recall")["include", "again"] == {"anna": 0.5, "ben": 1.0, "dora": 0.0}
    assert set(per_user["cutoff"]) == {7}
    means = {
        (row["mode"], row["system"]): row["value"] for row in facts["metrics"] if row["metric"] == "ndcg"
    }
    assert means["include", "again"] == pytest.approx((both + 1) / 3)
    assert means["exclude", "popular"] == pytest.approx(SECOND / 2)
    assert {row["mode"]: row["units"] for row in facts["metrics"]} == {
        "include": 3, "exclude": 2, "only": 2,
    }  # fmt: skip
    spread = {(row["mode"], row["system"]): row for row in facts["spread"]}
    assert spread["include", "popular"]["coverage"] == pytest.approx(2 / 5)  # t0 and t2 of five
    assert spread["exclude", "again"]["coverage"] == 0
    assert facts["silent"] == []


def test_recall_by_hand(tmp_path: Path, tracks: Path) -> None:
    """Of three users Anna has two relevant tracks; popular has retrieved one of them, again another."""
    _, _, recall = judged({7: window(tmp_path / "w", CANDIDATES, RELEVANT)}, tracks)
    told = {
        (row["retriever"], row["part"]): row for row in recall.iter_rows(named=True) if row["k"] == 10
    }
    expected = {
        "all": (0.5 / 3, 1.5 / 3, 2 / 3, 3),
        "repeats": (0, 1, 1, 2),
        "discoveries": (1 / 2, 0, 1 / 2, 2),
    }
    for part, (popular, again, union, users) in expected.items():
        assert told["popular", part]["recall"] == pytest.approx(popular)
        assert told["again", part]["recall"] == pytest.approx(again)
        assert told["union", part]["recall"] == pytest.approx(union)
        assert told["union", part]["users"] == users
    assert told["popular", "repeats"]["candidates"] == 1 / 2  # t0 of Anna's; none of Ben's
    assert told["popular", "all"]["candidates"] == 4 / 3


def test_recall_at_k_is_of_k_candidates(tmp_path: Path, tracks: Path) -> None:
    """Heard and unheard ones are ranked apart; ten of each are not the first ten of all."""
    found: list[Candidate] = []
    for rank in range(1, 16):
        found += [
            (0, rank - 1, True, 100.0 - rank, rank, None, None, 0.0),
            (0, 49 + rank, False, 50.0 - rank, rank, None, None, 0.0),
        ]
    relevant = [(0, 0, True), (0, 9, True), (0, 50, False), (0, 59, False)]
    place = window(tmp_path / "w", found, relevant, ["anna"])
    catalogue = {"track_id": [f"t{code}" for code in range(70)]}
    pl.DataFrame(catalogue).write_parquet(place / "tracks.parquet")
    _, _, recall = judged({7: place}, tracks, ranker="affinity")
    told = {
        row["part"]: (row["recall"], row["candidates"])
        for row in recall.filter(pl.col("k") == 10, pl.col("retriever") == "popular").to_dicts()
    }
    assert told == {"all": (0.5, 10.0), "repeats": (1.0, 10.0), "discoveries": (1.0, 10.0)}


def test_differences_are_paired(tmp_path: Path, tracks: Path) -> None:
    """A ranker that orders as a retriever does differs from it by exactly nothing, for any users."""
    rng = np.random.default_rng(0)
    found: list[Candidate] = []
    relevant = []
    for user in range(40):
        for rank, track in enumerate(rng.permutation(5)[:3].tolist(), 1):
            score = float(4 - rank)
            found.append((user, track, False, score, rank, float(rng.random()), rank, score))
        relevant.append((user, int(rng.integers(5)), False))
    place = window(tmp_path / "w", found, relevant, [f"u{user:02}" for user in range(40)])
    facts, _, _ = judged({7: place}, tracks)
    difference = {
        (row["mode"], row["against"]): row
        for row in facts["differences"]
        if row["metric"] == "ndcg" and row["system"] == "lightgbm"
    }
    mean = {(row["mode"], row["system"]): row for row in facts["metrics"] if row["metric"] == "ndcg"}
    assert difference.keys() == {(mode, other) for mode in ("include", "exclude")
                                 for other in ("popular", "again")}  # fmt: skip
    same = difference["exclude", "popular"]
    assert (same["value"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    assert mean["exclude", "lightgbm"]["high"] - mean["exclude", "lightgbm"]["low"] > 0.1
    other = difference["exclude", "again"]
    expected = mean["exclude", "lightgbm"]["value"] - mean["exclude", "again"]["value"]
    assert other["value"] == pytest.approx(expected)
    assert other["low"] < other["value"] < other["high"]
    assert {row["system"] for row in facts["differences"]} == {"lightgbm"}


def test_several_windows_are_put_together_by_id(tmp_path: Path, tracks: Path) -> None:
    """Dora is the only user of the second window, as its number 0, and played what she got."""
    later: list[Candidate] = [(0, 4, False, 0.7, 1, None, None, 1.0)]
    windows = {
        7: window(tmp_path / "one", CANDIDATES, RELEVANT),
        9: window(tmp_path / "two", later, [(0, 4, False)], ["dora"]),
    }
    facts, per_user, recall = judged(windows, tracks)
    dora = per_user.filter(
        pl.col("user") == "dora", pl.col("mode") == "exclude", pl.col("system") == "popular"
    )
    assert dora.sort("cutoff").select("cutoff", "ndcg").rows() == [(7, 0.0), (9, 1.0)]
    popular = next(
        row
        for row in facts["metrics"]
        if (row["mode"], row["system"], row["metric"]) == ("exclude", "popular", "ndcg")
    )
    assert popular["value"] == pytest.approx((SECOND + 0 + 1) / 3)
    assert popular["rows"] == 3
    assert popular["unit"] == "user-cutoff"  # two users are too few to resample
    assert facts["cutoffs"] == [7, 9]
    alone, own, first = judged({7: windows[7]}, tracks)
    assert_frame_equal(per_user.filter(pl.col("cutoff") == 7), own)
    assert_frame_equal(recall.filter(pl.col("cutoff") == 7), first)
    spread = pl.DataFrame(facts["spread"]).filter(pl.col("cutoff") == 7)
    assert_frame_equal(spread, pl.DataFrame(alone["spread"]))


def test_users_without_a_play_change_nothing(tmp_path: Path, tracks: Path) -> None:
    without = [row for row in CANDIDATES if row[0] != CLEO]
    _, one, _ = judged({7: window(tmp_path / "one", CANDIDATES, RELEVANT)}, tracks)
    _, other, _ = judged({7: window(tmp_path / "two", without, RELEVANT)}, tracks)
    assert_frame_equal(one, other)


def test_a_ranker_sees_the_tracks_features(tmp_path: Path, tracks: Path) -> None:
    _, per_user, _ = judged({7: window(tmp_path / "w", CANDIDATES, RELEVANT)}, tracks, ranker="merit")
    ndcg = by_user(per_user, "ndcg")
    assert ndcg["include", "lightgbm"] == {"anna": 1.0, "ben": pytest.approx(SECOND), "dora": 0.0}


# Bad input


def test_a_window_that_nobody_played_in(tmp_path: Path, tracks: Path) -> None:
    """Beside others it is named as silent; alone there is nothing to tell."""
    silent = window(tmp_path / "silent", CANDIDATES, [])
    with pytest.raises(InputError, match=r"nobody played anything known .* 1 windows .*what to do"):
        judged({9: silent}, tracks)
    facts, per_user, recall = judged(
        {7: window(tmp_path / "w", CANDIDATES, RELEVANT), 9: silent}, tracks
    )
    assert facts["cutoffs"] == [7, 9]
    assert facts["silent"] == [9]
    assert set(per_user["cutoff"]) == {7}
    assert recall.filter(pl.col("cutoff") == 9)["recall"].null_count() == recall.height // 2


def test_no_candidate_at_all_scores_nothing(tmp_path: Path, tracks: Path) -> None:
    _, per_user, recall = judged({7: window(tmp_path / "w", [], RELEVANT)}, tracks)
    assert per_user["ndcg"].to_list() == [0.0] * per_user.height
    assert set(per_user["user"]) == {"anna", "ben", "dora"}
    assert set(recall["recall"]) == {0.0}


@pytest.mark.parametrize("name", ["popular", "again"])
def test_a_single_retriever(tmp_path: Path, tracks: Path, name: Any) -> None:
    """With and without ``popular``, by which surprise is measured where it is there."""
    config = CONFIG.model_copy(update={"retrieval": Retrieval(retrievers=(name,))})
    place = window(tmp_path / "w", CANDIDATES, RELEVANT)
    facts, per_user, recall = judged({7: place}, tracks, config)
    assert set(per_user["system"]) == {name, "lightgbm"}
    assert set(recall["retriever"]) == {name}
    assert {row["against"] for row in facts["differences"]} == {name}


def test_the_best_single_retriever_and_what_is_kept_of_the_newest_window(
    tmp_path: Path, tracks: Path
) -> None:
    """again beats popular; lists of the ranker and of it are kept, with what came true."""
    silent = window(tmp_path / "silent", CANDIDATES, [])
    facts, _, _ = judged({7: window(tmp_path / "w", CANDIDATES, RELEVANT), 9: silent}, tracks)
    assert (facts["best"], facts["newest"]) == ("again", 7)
    folder = tracks.parent / "judged"
    kept = pl.read_parquet(folder / "lists.parquet")
    rows = kept.filter(system="lightgbm").select("user", "rank", "track_id", "played").rows()
    assert rows == [
        ("anna", 1, "t1", True), ("anna", 2, "t3", True),
        ("ben", 1, "t0", True), ("ben", 2, "t2", False),
    ]  # fmt: skip
    assert kept.filter(system="again", user="anna")["track_id"].to_list() == ["t1", "t0"]
    assert kept.filter(user="anna")["relevant"].to_list() == [2] * 4
    people = pl.read_parquet(folder / "users.parquet")
    assert people.select("user", "activity").rows() == [("anna", 1), ("ben", 1), ("dora", 1)]
    everyone = pl.read_parquet(folder / "cohorts.parquet").filter(attribute="all", metric="ndcg")
    assert everyone["value"].item() == pytest.approx(2 / 3)


def test_audio_is_read_where_candidates_have_it(tmp_path: Path, tracks: Path) -> None:
    """Anna's two tracks lie opposite to each other: their distance is the greatest there is."""
    place = window(tmp_path / "w", CANDIDATES, RELEVANT)
    _, without, _ = judged({7: place}, tracks)
    assert without["audio_diversity"].null_count() == without.height
    audio = pl.DataFrame({"track": [0, 1, 2, 3, 4], "energy": [0.0, 1.0, 0.0, -1.0, 0.0]})
    audio.cast({"track": pl.Int32}).write_parquet(place / "audio.parquet")
    _, told, _ = judged({7: place}, tracks)
    own = by_user(told, "audio_diversity")["include", "lightgbm"]
    assert own["anna"] == pytest.approx(2.0)
