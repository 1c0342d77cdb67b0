"""Forgetting a listener: nothing of them is left, nothing of others is lost, a kill harms nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Config
from schemas.errors import InputError
from schemas.loading import load
from tasks import stages
from tasks.forgetting import published, registered, removal, tombstones
from tasks.forgetting.removal import forget
from tasks.registry import Registry
from tasks.store import Entry
from tasks.two_stage import playlists
from tasks.two_stage.published import exchanged
from tests.made import training

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2022, 3, 1, 8, tzinfo=UTC)
ANN, BOB, CY = "ann-with-a-name", "bob-with-a-name", "7"


def history(user: str, plays: int = 40) -> list[dict[str, Any]]:
    """Account data to the minute; some tracks everybody plays, some this user alone."""
    rng = random.Random(user)
    end, told = START, []
    for place in range(plays):
        end += timedelta(minutes=rng.randrange(4, 300))
        own = place % 4 == 0
        told.append(
            {
                "endTime": f"{end:%Y-%m-%d %H:%M}",
                "artistName": f"Band of {user}" if own else f"Band {place % 3}",
                "trackName": f"Song {place % 9}",
                "msPlayed": rng.choice([30_000, 180_000]),
            }
        )
    return told


def export(folder: Path, *users: str) -> Path:
    for user in users:
        path = folder / user / "MyData" / "StreamingHistory0.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(history(user)), encoding="utf-8")
    return folder


def configured(folder: Path, raw: Path, user: str = ANN) -> Config:
    return load(
        None,
        [
            "source.kind=spotify_export",
            f"source.path={raw}",
            f"store.path={folder / 'store'}",
            f"output.dir={folder / 'out'}",
            f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
            f"tracking.artifacts={folder / 'mlflow'}",
            f"forget.user={user}",
        ],
    )


def ingested(config: Config) -> Entry:
    return stages.ingested(config, None, NOW)


def digests(entry: Entry) -> dict[str, str]:
    return {name: table.digest for name, table in entry.tables.items()}


def told_apart(entry: Entry) -> dict[str, Any]:
    """Facts that do not depend on which files there were."""
    told = {name: entry.facts[name] for name in ("rows", "refused", "data_start", "data_end")}
    return told | {"plays read": entry.facts["read"]["plays"]}


def holding(folder: Path, user: str) -> list[str]:
    """Files with the id in them, or in their names; Parquet by its columns."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path).select(pl.selectors.string())
            there = any(user in column.drop_nulls().to_list() for column in frame)
        else:
            there = user.encode() in path.read_bytes()
        if there or user in path.name:
            found.append(str(path.relative_to(folder)))
    return found


@pytest.fixture
def place(tmp_path: Path, empty_mlflow: Path) -> Config:
    """Three listeners, ingested, with labels."""
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    config = configured(tmp_path, export(tmp_path / "raw", ANN, BOB, CY))
    stages.labelled(config, ingested(config))
    return config


def publish(folder: Path) -> None:
    """What flows leave, by hand: tables of everybody, reports, playlists, and the person's own notes."""
    for inner in ("figures", "playlists", "backtest/lists/pages"):
        (folder / inner).mkdir(parents=True)
    lists = pl.DataFrame(
        {"user_id": [ANN, BOB, CY], "rank": [1, 1, 1], "name": ["A, b", None, ""], "artist": ANN}
    )
    lists.write_parquet(folder / "recommendations.parquet")
    lists.write_csv(folder / "recommendations.csv")
    lists.rename({"user_id": "user"}).write_csv(folder / "backtest" / "mistakes.csv")
    lineage = {"rows": 3, "digest": "old", "raw_files": [f"0/raw/{ANN}/a.json", f"0/raw/{BOB}/a.json"]}
    (folder / "recommendations.json").write_text(json.dumps(lineage))
    for user in (ANN, BOB):
        (folder / "playlists" / f"{playlists.name(user)}.m3u8").write_text("#EXTM3U\n")
    (folder / "playlists" / f"{ANN}.m3u8").write_text("the person's own")
    for name in ("RESULTS.md", "figures/roc.svg", "backtest/lists/pages/listener-1.html"):
        (folder / name).write_text("an average of everybody")
    (folder / "notes.txt").write_text(f"call {ANN} on Monday")
    (folder / "figures" / "mine.svg").write_text("<svg/>")


def recommender(folder: Path, *users: str) -> Path:
    """What `package` makes, as far as it matters here."""
    folder.mkdir()
    pl.DataFrame({"user_id": users}).write_parquet(folder / "users.parquet")
    return folder


def test_ingest_without_them_is_ingest_of_an_export_without_them(place: Config, tmp_path: Path) -> None:
    before = ingested(place)
    forget(place, datetime.now(UTC))
    after = ingested(place)
    (tmp_path / "other").mkdir()
    alone = ingested(configured(tmp_path / "other", export(tmp_path / "less" / "raw", BOB, CY)))
    assert after.key != before.key
    assert digests(after) == digests(alone)
    assert told_apart(after) == told_apart(alone)
    assert after.facts["forgotten"] == {"plays": 40, "users": 1, "errors": 0}
    assert ANN not in json.dumps(after.facts)
    assert f"Band of {ANN}" not in pl.read_parquet(after.tables["tracks"].path)["artist"].to_list()


def test_nothing_of_them_is_left_and_everything_of_others_is(
    place: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place.output.dir)
    data = ingested(place)
    registry = Registry(place.tracking)
    told = training(
        "k1",
        tmp_path / "base_rate",
        datasets={name: (table.digest, "somewhere") for name, table in data.tables.items()},
        configuration={"recommend": {"users": [ANN, BOB]}, "source": {"path": f"/raw/{ANN}/x"}},
    )
    _, version = registry.record(told)
    registry.record(training("k2", tmp_path / "base_rate"))
    with_her = recommender(tmp_path / "served", ANN, BOB)
    monkeypatch.setattr("tasks.registry.ROOT", tiny(tmp_path / "code"))
    registry.package("encore-made-recommender", with_her, "p1", version, {})
    shutil.rmtree(with_her)
    without = recommender(tmp_path / "served", BOB)
    registry.package("encore-made-recommender", without, "p2", version, {})
    shutil.rmtree(without)
    assert holding(tmp_path / "mlflow", ANN)

    done = forget(place, datetime.now(UTC))

    mine = [f"playlists/{ANN}.m3u8", "notes.txt"]
    (shown,) = (place.output.dir / ".recommendations").glob(".encore-*")  # and no former set
    lists = ("recommendations.csv", "recommendations.parquet")  # an artist is called so
    assert sorted(holding(place.output.dir, ANN)) == sorted([*mine, "backtest/mistakes.csv", *lists,
        *(f"{shown.relative_to(place.output.dir)}/{name}" for name in lists)])  # fmt: skip
    assert not holding(place.store.path, ANN)
    assert not holding(tmp_path / "mlflow", ANN)
    out = place.output.dir
    expected = {"user_id": [BOB, CY], "rank": [1, 1], "name": [None, ""], "artist": [ANN, ANN]}
    assert pl.read_parquet(out / "recommendations.parquet").to_dict(as_series=False) == expected
    assert pl.read_csv(
        out / "recommendations.csv", schema_overrides={"user_id": pl.String}
    ).to_dict(as_series=False) == expected  # fmt: skip
    assert (out / "backtest" / "mistakes.csv").read_text().count("\n") == 3
    lineage = json.loads((out / "recommendations.json").read_text())
    assert lineage["rows"] == 2
    assert lineage["digest"] != "old"
    assert lineage["raw_files"] == ["0/raw/forgotten/a.json", f"0/raw/{BOB}/a.json"]
    assert {path.name for path in (out / "playlists").iterdir()} == {
        f"{playlists.name(BOB)}.m3u8", f"{ANN}.m3u8"
    }  # fmt: skip
    assert not (out / "RESULTS.md").exists()
    assert not (out / "figures" / "roc.svg").exists()
    assert not (out / "backtest" / "lists" / "pages" / "listener-1.html").exists()
    assert (out / "figures" / "mine.svg").exists()
    # of the two recommenders the one without her stays
    versions = registry.client.search_model_versions("name='encore-made-recommender'")
    assert [int(each.version) for each in versions] == [2]
    assert done["served recommenders deleted"] == "encore-made-recommender version 1"
    config = tmp_path / "mlflow" / version.run_id / "artifacts" / "config.json"
    assert json.loads(config.read_text()) == {
        "recommend": {"users": ["forgotten", BOB]},
        "source": {"path": "/raw/forgotten/x"},
    }
    assert done["models trained with them"] == "encore-made-completed version 1, " \
        "encore-made-recommender version 2 (champion)"  # fmt: skip
    assert done["models of which that is not known"] == "encore-made-completed version 2 (challenger)"
    assert f"{done}".count(ANN) == 0


def tiny(folder: Path) -> Path:
    """In place of Encore's code, which MLflow would copy and load with each recommender."""
    (folder / "tasks" / "two_stage").mkdir(parents=True)
    (folder / "schemas").mkdir()
    text = (
        "import mlflow\n"
        "class Served(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return model_input\n"
        "mlflow.models.set_model(Served())\n"
    )
    (folder / "tasks" / "two_stage" / "served.py").write_text(text)
    (folder / "tasks" / "__init__.py").write_text("")
    (folder / "schemas" / "__init__.py").write_text("")
    return folder


@pytest.mark.parametrize("last", ["bury", "clean", "mask", "clear"])
def test_killed_at_any_step_the_same_command_ends_it(
    last: str, place: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed just after a step: they are never back, and nothing is left when it runs again."""
    publish(place.output.dir)

    class Killed(BaseException):
        pass

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            work(*arguments)
            raise Killed

        return run

    owner = {
        "bury": tombstones, "clean": published, "mask": registered,
        "clear": removal,
    }[last]  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(owner, last, dying(getattr(owner, last)))
        with pytest.raises(Killed):
            forget(place, datetime.now(UTC))
    assert ANN not in pl.read_parquet(ingested(place).tables["users"].path)["user_id"].to_list()
    again = forget(place, datetime.now(UTC))
    assert again["listener"].startswith("was forgotten before")
    assert not holding(place.store.path, ANN)
    assert not (place.output.dir / "RESULTS.md").exists()
    assert not published.holds(place.output.dir, (ANN,))


def test_doing_it_again_keeps_what_was_made_without_them(place: Config) -> None:
    forget(place, datetime.now(UTC))
    made = stages.labelled(place, ingested(place))
    place.output.dir.mkdir()
    (place.output.dir / "RESULTS.md").write_text("of the others")
    again = forget(place, datetime.now(UTC))
    assert again["results removed from the store"] == 0
    assert made.path.is_dir()
    assert (place.output.dir / "RESULTS.md").exists()
    # what an old run brings back goes
    (place.store.path / "forgotten.json").rename(place.store.path / "kept.json")
    ingested(place)
    (place.store.path / "kept.json").rename(place.store.path / "forgotten.json")
    assert forget(place, datetime.now(UTC))["results removed from the store"] == 3
    assert not holding(place.store.path, ANN)


def test_tombstones_name_nobody_and_salts_differ(place: Config, tmp_path: Path) -> None:
    forget(place, datetime.now(UTC))
    text = (place.store.path / "forgotten.json").read_text()
    assert ANN not in text
    known = tombstones.read(place.store.path)
    assert known.of(ANN) is not None
    assert known.of(BOB) is None
    other = tmp_path / "elsewhere"
    tombstones.bury(other, ANN, [], [], NOW)
    assert set(tombstones.read(other).listeners) != set(known.listeners)
    tombstones.bury(other, BOB, ["d"], [], NOW)
    assert tombstones.read(other).of(ANN) is not None  # the first is not lost


def test_a_short_id_is_no_word_in_texts(place: Config, tmp_path: Path) -> None:
    config = configured(tmp_path, tmp_path / "raw", user=CY)
    assert published.names((CY,)).sub("_", f'{CY} of 0/raw/{CY}/a "{CY}"') == '7 of 0/raw/_/a "_"'
    forget(config, datetime.now(UTC))
    users = pl.read_parquet(ingested(config).tables["users"].path)["user_id"].to_list()
    assert users == [ANN, BOB]


@pytest.mark.parametrize("user", ["nobody", "null"])
def test_who_is_not_there_is_refused_in_one_line(user: str, tmp_path: Path, place: Config) -> None:
    config = configured(tmp_path, tmp_path / "raw", user)
    with pytest.raises(InputError, match=r"place: forget\.user") as refused:
        forget(config, datetime.now(UTC))
    assert "nobody |" not in str(refused.value).replace("nobody to forget", "")
    assert not (place.store.path / "forgotten.json").exists()


def test_not_while_another_run_is_at_work(place: Config) -> None:
    busy = place.store.path / "features" / f".{os.getppid()}-half"
    busy.mkdir(parents=True)
    with pytest.raises(InputError, match="a run is at work"):
        forget(place, datetime.now(UTC))
    assert not (place.store.path / "forgotten.json").exists()


def test_broken_tombstones_stop_an_ingest(place: Config) -> None:
    (place.store.path / "forgotten.json").write_text('{"salt": "x", "list')
    with pytest.raises(InputError, match="tombstones"):
        ingested(place)


def test_who_was_in_the_lists_before_is_in_none_that_is_kept(tmp_path: Path) -> None:
    for users in ([ANN, BOB], [BOB]):
        with exchanged(tmp_path) as scratch:
            pl.DataFrame({"user_id": users}).write_parquet(scratch / "recommendations.parquet")
    assert holding(tmp_path, ANN)
    assert published.holds(tmp_path, (ANN,))
    told = published.clean(tmp_path, (ANN,), datetime.now(UTC))
    assert (told.rewritten, told.left) == ([], [])
    assert not holding(tmp_path, ANN)
    assert pl.read_parquet(tmp_path / "recommendations.parquet")["user_id"].to_list() == [BOB]
