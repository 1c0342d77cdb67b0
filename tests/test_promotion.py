"""Promotion: each rule with a log loss worked by hand, and no decision lost or taken twice."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.config import Config, Tracking
from schemas.errors import InputError
from tasks import promotion
from tasks.promotion import Decision, by_hand, decide
from tasks.registry import KEY, Child, Registry, Training, Version
from tasks.store import Entry, Table
from tests.made import COLUMNS, constant, recipe, tags, training

CONFIG = Config.model_validate({"dataset": "made", "evaluation": {"resamples": 200}})
USERS = 40


def loss(probability: float, rate: float) -> float:
    """Log loss of a constant where ``rate`` of the labels are true."""
    return -(rate * math.log(probability) + (1 - rate) * math.log(1 - probability))


def features(folder: Path, first: float = 0.75, second: float = 0.75) -> Entry:
    """Without a clock: training and validation [0, 200) half true; a holdout [200, 300) in which
    ``first`` of the labels are true for each of the first 20 users and ``second`` for the others."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for tick, share in ((0, None), (100, None), (200, (first, second))):
        for user in range(USERS):
            true = 0.5 if share is None else share[user >= USERS // 2]
            rows += [
                {"tick": tick + place, "user": user, "target": place < round(20 * true)}
                for place in range(20)
            ]
    frame = pl.DataFrame(rows).with_columns(
        matures_at=pl.col("tick"), play=pl.int_range(pl.len()), hour=0.0, platform=pl.lit("ios")
    )
    path = folder / "features.parquet"
    frame.write_parquet(path)
    windows = {"start": 0, "validation": 100, "cutoff": 200, "end": 300}
    table = Table("features", path, frame.height, "digest")
    return Entry(
        "features", "f", folder, {"features": table}, {"clock": "order", "windows": windows}, 0.0, False
    )


def fitted(folder: Path, rate: float) -> Entry:
    return Entry("fit", "m", constant(folder, rate), {}, {}, 0.0, False)


@dataclass
class Remembered:
    """A registry of a few versions, which says in which order it was asked to change."""

    champion: Version | None
    folder: Path | None = None
    changes: list[str] = field(default_factory=list)
    described: dict[int, str] = field(default_factory=dict)

    def version(self, name: str, which: str) -> Version | None:
        assert which == "champion"
        return self.champion

    def ranker(self, version: Version, folder: Path) -> Path:
        assert self.folder is not None
        return self.folder

    def publish(
        self, told: Training, child: Child, evaluated: Version, told_tags: Mapping[str, str]
    ) -> Version:
        self.changes.append("publish")
        return Version(told.model, 99, "r99", {**evaluated.tags, **told_tags, KEY: told.key})

    def set_alias(self, version: Version, alias: str) -> None:
        self.changes.append(f"{alias} {version.number}")

    def tag(self, version: Version, told: Mapping[str, str]) -> None:
        self.changes.append(f"tag {version.number}")

    def describe(self, version: Version, text: str) -> None:
        self.described[version.number] = text

    def attach_json(self, run_id: str, content: Any, place: str) -> None:
        self.changes.append(place)


def compare(
    folder: Path,
    challenger: float,
    champion: float | None,
    *,
    table: Entry | None = None,
    trained_until: int = 150,
    champion_recipe: str | None = None,
    champion_model: Mapping[str, Any] | None = None,
    margin: float = 0.002,
) -> tuple[Decision, list[str]]:
    """Decide on a challenger that always says ``challenger`` against such a champion."""
    told = training("new", folder / "unused")
    config = CONFIG.model_copy(
        update={"promotion": CONFIG.promotion.model_copy(update={"margin": margin})}
    )
    reigning = None
    if champion is not None:
        saved = constant(folder / "champion", champion)
        if champion_model:
            (saved / "model.json").write_text(json.dumps(champion_model))
        its = tags(trained_until, recipe=champion_recipe or recipe())
        reigning = Version(told.model, 3, "r3", its | {KEY: "old"})
    registry = Remembered(reigning, folder / "champion")
    decision = decide(
        config,
        registry,  # type: ignore[arg-type]
        told,
        Version(told.model, 7, "r7", tags() | {KEY: told.key}),
        table or features(folder),
        fitted(folder / "challenger", challenger),
        lambda: told.children[0],
    )
    return decision, registry.changes


PROMOTED = ["publish", "champion 99", "promotion.json", "tag 7"]
KEPT = ["promotion.json", "tag 7"]


def test_the_first_model_of_a_name_is_promoted(tmp_path: Path) -> None:
    decision, changes = compare(tmp_path, 0.5, None)
    assert decision == Decision(True, "the first model of this name", 7, None, {}, 0.002)
    assert changes == PROMOTED


def test_the_same_recipe_is_promoted_while_it_is_not_worse_by_more_than_the_margin(
    tmp_path: Path,
) -> None:
    decision, changes = compare(tmp_path, 0.74, 0.75)
    worse = loss(0.74, 0.75) - loss(0.75, 0.75)
    assert 0 < worse < 0.002
    assert decision.promoted
    assert decision.numbers["log_loss"] == pytest.approx(worse, abs=1e-9)
    # every user's rows are alike, so all resamples are
    assert decision.numbers["log_loss_low"] == pytest.approx(worse, abs=1e-9)
    assert decision.numbers["log_loss_high"] == pytest.approx(worse, abs=1e-9)
    assert decision.reason.startswith("same recipe on newer data, not worse by more than 0.002")
    assert "as it was published" in decision.reason
    assert (decision.challenger, decision.champion) == (7, 3)
    assert changes == PROMOTED


def test_the_same_recipe_is_not_promoted_beyond_the_margin(tmp_path: Path) -> None:
    decision, changes = compare(tmp_path, 0.6, 0.75)
    assert decision.numbers["log_loss"] == pytest.approx(loss(0.6, 0.75) - loss(0.75, 0.75), abs=1e-9)
    assert not decision.promoted
    assert decision.reason.startswith("same recipe on newer data, worse by more than 0.002")
    assert changes == KEPT
    assert compare(tmp_path, 0.6, 0.75, margin=0.06)[0].promoted


def test_a_new_recipe_is_promoted_when_it_is_better_for_sure(tmp_path: Path) -> None:
    decision, changes = compare(tmp_path, 0.75, 0.6, champion_recipe=recipe(seed=8))
    assert decision.promoted
    assert decision.numbers["log_loss_high"] < 0
    assert decision.reason.startswith("new recipe, better")
    assert changes == PROMOTED


def test_a_new_recipe_that_is_as_good_is_not_promoted(tmp_path: Path) -> None:
    decision, changes = compare(tmp_path, 0.75, 0.75, champion_recipe=recipe(seed=8))
    assert decision.numbers["log_loss"] == 0
    assert not decision.promoted
    assert decision.reason.startswith("new recipe, not shown to be better")
    assert changes == KEPT
    # the margin is for the same recipe alone
    assert not compare(tmp_path, 0.74, 0.75, champion_recipe=recipe(seed=8))[0].promoted


def test_a_new_recipe_that_may_be_better_by_luck_is_not_promoted(tmp_path: Path) -> None:
    table = features(tmp_path / "mixed", 0.9, 0.2)
    decision, changes = compare(tmp_path, 0.55, 0.5, table=table, champion_recipe=recipe(seed=8))
    better = loss(0.55, 0.55) - loss(0.5, 0.55)
    assert better < 0
    assert decision.numbers["log_loss"] == pytest.approx(better, abs=1e-9)
    assert decision.numbers["log_loss_low"] < 0 < decision.numbers["log_loss_high"]
    assert not decision.promoted
    assert changes == KEPT


def test_a_champion_that_has_seen_the_holdout_is_refitted_without_it(tmp_path: Path) -> None:
    # it says .75, as it learnt from the holdout; its recipe on the training rows says .5
    decision, _ = compare(tmp_path, 0.6, 0.75, trained_until=201, champion_recipe=recipe(seed=8))
    assert decision.numbers["log_loss"] == pytest.approx(loss(0.6, 0.75) - loss(0.5, 0.75), abs=1e-9)
    assert decision.promoted
    assert "its recipe refitted on the challenger's training rows" in decision.reason
    # until the cutoff it is as it was published
    decision, _ = compare(tmp_path, 0.6, 0.75, trained_until=200, champion_recipe=recipe(seed=8))
    assert not decision.promoted
    assert "as it was published" in decision.reason


def test_a_champion_that_has_seen_the_holdout_with_the_same_recipe_is_the_challenger_itself(
    tmp_path: Path,
) -> None:
    decision, changes = compare(tmp_path, 0.6, 0.75, trained_until=300)
    assert decision.numbers["log_loss"] == 0
    assert decision.promoted
    assert changes == PROMOTED


def test_a_champion_with_other_features_is_refitted_on_these(tmp_path: Path) -> None:
    other = {"encoding": {"numbers": ["tempo"], "levels": {}}}
    decision, _ = compare(tmp_path, 0.6, 0.75, champion_recipe=recipe(seed=8), champion_model=other)
    assert decision.numbers["log_loss"] == pytest.approx(loss(0.6, 0.75) - loss(0.5, 0.75), abs=1e-9)
    assert "refitted" in decision.reason


def test_a_decision_is_not_taken_twice_unless_the_margin_changed(tmp_path: Path) -> None:
    table, told = features(tmp_path), training("new", tmp_path / "unused")
    champion = Version(told.model, 3, "r3", tags(150) | {KEY: "old"})
    before = Decision(False, "worse", 7, 3, {}, 0.002)
    noted = tags() | {KEY: "new", promotion.DECISION: promotion._json(before)}
    registry = Remembered(champion, constant(tmp_path / "champion", 0.75))

    def again(margin: float) -> Decision:
        update = {"promotion": CONFIG.promotion.model_copy(update={"margin": margin})}
        return decide(
            CONFIG.model_copy(update=update),
            registry,  # type: ignore[arg-type]
            told,
            Version(told.model, 7, "r7", noted),
            table,
            fitted(tmp_path / "challenger", 0.74),
            lambda: told.children[0],
        )

    assert again(0.002) == before
    assert registry.changes == []
    assert again(0.1).promoted
    assert registry.changes == PROMOTED


@pytest.fixture
def settings(empty_mlflow: Path, tmp_path: Path) -> Tracking:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    return Tracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}", artifacts=tmp_path / "mlflow")


@dataclass(frozen=True)
class Run:
    """One training against a real registry, which may be run again."""

    settings: Tracking
    folder: Path
    key: str
    rate: float

    def decide(self, spoil: Callable[[Registry], None] = lambda registry: None) -> Decision:
        registry = Registry(self.settings)
        child = constant(self.folder / self.key, self.rate)
        told = training(self.key, child, self.rate)
        _, challenger = registry.record(told)
        refit = Child("base_rate", constant(self.folder / "refit", self.rate), COLUMNS, {}, {})
        spoil(registry)
        table, entry = features(self.folder), Entry("fit", "m", child, {}, {}, 0.0, False)
        return decide(CONFIG, registry, told, challenger, table, entry, lambda: refit)


def killed(*arguments: Any, **named: Any) -> Any:
    raise KeyboardInterrupt


KILLS: dict[str, Callable[[Registry, pytest.MonkeyPatch], None]] = {
    "in the middle of publishing": lambda registry, patch: patch.setattr(
        registry.client, "create_model_version", killed
    ),
    "between publishing and the alias": lambda registry, patch: patch.setattr(
        registry, "set_alias", killed
    ),
    "between the alias and the numbers": lambda registry, patch: patch.setattr(
        registry, "attach_json", killed
    ),
    "between the numbers and the note": lambda registry, patch: patch.setattr(registry, "tag", killed),
}


@pytest.mark.parametrize("when", KILLS)
def test_a_decision_is_whole_after_a_kill(
    when: str, settings: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(settings, tmp_path, "k1", 0.7)
    with pytest.raises(KeyboardInterrupt):
        run.decide(lambda registry: KILLS[when](registry, monkeypatch))
    decision = run.decide()
    assert decision == Decision(True, "the first model of this name", 1, None, {}, 0.002)
    assert run.decide() == decision

    registry = Registry(settings)
    name = "encore-made-completed"
    champion, challenger = (registry.version(name, alias) for alias in ("champion", "challenger"))
    assert champion is not None
    assert challenger is not None
    assert (challenger.number, champion.number) == (1, 2)
    assert champion.tags["evaluated_version"] == "1"
    assert champion.tags["trained_until"] == "300"
    assert Decision.of(champion) == Decision.of(challenger) == decision
    assert len(registry._versions(name)) == 2
    runs = registry.client.search_runs([registry._experiment])
    assert len(runs) == 3  # the training, its model, the refit
    assert {found.info.status for found in runs} == {"FINISHED"}
    kept = registry._mlflow.artifacts.load_dict(
        f"{registry.client.get_run(challenger.run_id).info.artifact_uri}/promotion.json"
    )
    assert kept["promoted"] is True
    said = [registry.client.get_model_version(name, number).description for number in ("1", "2")]
    assert said[0] == "Won: the first model of this name."
    assert said[1].startswith("Refit on all data of version 1, which was judged")


def test_a_version_set_by_hand_stays_until_something_better_comes(
    settings: Tracking, tmp_path: Path
) -> None:
    first, second = (Run(settings, tmp_path, key, rate) for key, rate in (("k1", 0.74), ("k2", 0.75)))
    first.decide()
    assert second.decide().promoted
    registry = Registry(settings)
    name = "encore-made-completed"

    def champion() -> int:
        found = registry.version(name, "champion")
        assert found is not None
        return found.number

    assert champion() == 4

    def back(version: int) -> Decision:
        told = {
            "promotion": CONFIG.promotion.model_copy(update={"version": version}),
            "tracking": settings,
        }
        return by_hand(CONFIG.model_copy(update=told))

    why = registry.client.get_model_version(name, "2").description
    decision = back(2)
    told = registry.client.get_model_version(name, "2").description
    assert told.startswith("Made champion by hand on ")
    assert told.endswith(f" in place of version 4.\n\n{why}")
    assert why
    assert decision == Decision(True, "promoted by hand", 2, 4, {}, 0.002)
    assert champion() == 2
    rolled = registry.version(name, "2")
    assert rolled is not None
    assert Decision.of(rolled) == decision
    assert second.decide().reason.startswith("same recipe")  # what was decided, without effect
    assert champion() == 2
    with pytest.raises(
        InputError, match=r"no such model version \| place: promotion.version \| found: 9"
    ):
        back(9)
    assert champion() == 2
