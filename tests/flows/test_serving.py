"""The served recommender answers as the published lists do, and refuses what cannot be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient

from tests.flows.conftest import Place
from tests.flows.test_lists import SMALL

K = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    there = Place(tmp_path_factory.mktemp("served"), "demo", SMALL)
    assert there.run("recommend", f"recommend.k={K}") == 0
    assert there.run("package") == 0
    return there


@pytest.fixture(scope="module")
def client(place: Place) -> TestClient:
    """MLflow's own scoring server over the registered model."""
    import mlflow
    from mlflow.pyfunc.scoring_server import init

    place.registry()
    return TestClient(init(mlflow.pyfunc.load_model("models:/encore-demo-recommender@champion")))


def ask(client: TestClient, rows: list[dict[str, Any]]) -> Any:
    return client.post("/invocations", json={"dataframe_records": rows})


def test_every_user_is_answered_as_in_the_published_list(place: Place, client: TestClient) -> None:
    published = pl.read_parquet(place.output / "recommendations.parquet")
    users = published["user_id"].unique().to_list()
    told = ask(client, [{"user_id": user, "k": K} for user in users]).json()["predictions"]
    for user, answer in zip(users, told, strict=True):
        assert (answer["user_id"], answer["known"]) == (user, True)
        listed = published.filter(pl.col("user_id") == user)
        columns = ["rank", "track_id", "name", "artist", "uri", "score", "probability"]
        assert answer["recommendations"] == listed.select(columns).to_dicts()
        assert answer["model_version"] == listed["model_version"][0]
        assert answer["cutoff"] == listed["cutoff"][0]


def test_heard_and_length_are_the_requests(place: Place, client: TestClient) -> None:
    plays = pl.read_parquet(place.entry("ingest") / "plays.parquet")
    user = plays["user_id"][0]
    own = set(plays.filter(pl.col("user_id") == user)["track_id"])
    rows = [{"user_id": user, "k": 3, "heard": heard} for heard in ("exclude", "only")]
    new, old = (
        [each["track_id"] for each in answer["recommendations"]]
        for answer in ask(client, rows).json()["predictions"]
    )
    assert len(new) == len(old) == 3
    assert not own & set(new)
    assert set(old) <= own


def test_somebody_unknown_gets_what_is_popular(place: Place, client: TestClient) -> None:
    (answer,) = ask(client, [{"user_id": 'nobody, "quoted"\n'}]).json()["predictions"]
    assert answer["known"] is False
    assert [each["rank"] for each in answer["recommendations"]] == list(range(1, 11))
    plays = pl.read_parquet(place.entry("ingest") / "plays.parquet")
    late = plays.filter(pl.col("started_at") >= plays["started_at"].max() - pl.duration(days=80))
    counts = late.group_by("track_id").agg(
        days=pl.struct("user_id", pl.col("started_at").dt.date()).n_unique()
    )
    first = counts.filter(pl.col("track_id") == answer["recommendations"][0]["track_id"])["days"].item()
    assert first >= 0.8 * counts["days"].max()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"user_id": "listener-00001", "k": 0}, "k is 0; it may be 1 to"),
        ({"user_id": "listener-00001", "k": -2}, "k is -2; it may be 1 to"),
        ({"user_id": "listener-00001", "heard": "maybe"}, "heard is 'maybe'; it may be"),
        ({"k": 3}, "user_id"),
        ({"user_id": "listener-00001", "k": "many"}, "k"),
    ],
)
def test_a_bad_request_is_400_with_the_reason(
    client: TestClient, row: dict[str, Any], reason: str
) -> None:
    answer = ask(client, [row])
    assert answer.status_code == 400
    assert reason in answer.text


def test_packaging_again_makes_no_other_version(place: Place) -> None:
    before = place.registry().version("encore-demo-recommender", "champion")
    assert place.run("package") == 0
    assert place.registry().version("encore-demo-recommender", "champion") == before


def test_nothing_is_pickled(place: Place) -> None:
    (folder,) = {path.parent for path in (place.folder / "mlflow").rglob("recommender.json")}
    kinds = {path.suffix for path in Path(folder).rglob("*") if path.is_file()}
    assert kinds <= {".parquet", ".json", ".txt"}
