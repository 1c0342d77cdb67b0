"""tuned.yaml is a configuration that anybody can run with, and tells no password."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.config import Config
from schemas.loading import load
from tasks.report.tuning import Tuned, draw, text
from tasks.tuning import of_plays, result
from tasks.tuning.kinds import values

POINT = values(Config(), of_plays) | {"num_leaves": 5, "learning_rate": 0.0706}


def written(config: Config, folder: Path, point: dict[str, Any] = POINT) -> tuple[str, Config]:
    made = result.settings(config, {"settings": point}, "a verdict:\nof two lines")
    path = folder / "tuned.yaml"
    path.write_text(made)
    return made, load(path, [])


def test_it_is_what_was_given_with_the_settings_in_place(tmp_path: Path) -> None:
    given = load(None, ["output.dir=out", "models.lightgbm.max_trees=77", "split.holdout=2024-02-01",
                        "source.timezone=Europe/Berlin", "tune.trials=3", "forget.user=somebody",
                        "promotion.version=2", "models.rankers=[lightgbm, heuristic]"])  # fmt: skip
    made, read = written(given, tmp_path)
    assert made.startswith("# Settings of LightGBM that `tune` has chosen")
    assert "\n# a verdict: of two lines\n" in made
    assert "\n# To use it: python -m flows retrain --config out/tuned.yaml\n" in made
    assert "somebody" not in made
    assert values(read, of_plays) == POINT
    again = {"models": given.models, "tune": given.tune, "forget": given.forget}
    promotion = given.promotion
    assert read.promotion.version is None
    assert read.models.lightgbm.max_trees == 77
    assert read.model_copy(update={**again, "promotion": promotion}) == given


def test_retrievers_that_were_idle_come_back_with_what_they_read(tmp_path: Path) -> None:
    made, read = written(Config(), tmp_path)
    assert "retrievers" not in made
    assert read.retrieval == Config().retrieval
    few = load(None, ["retrieval.retrievers=[als, popular]"])
    assert written(few, tmp_path)[1].retrieval.retrievers == ("als", "popular")


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("postgresql://anna:secret@db/mlflow", "postgresql://anna@db/mlflow"),
        (
            "postgresql://db/mlflow?user=anna&password=secret",
            "postgresql://db/mlflow?user=anna&password=",
        ),
        ("sqlite:///a@b:c.db", "sqlite:///a@b:c.db"),
    ],
)
def test_no_password_is_written(uri: str, kept: str, tmp_path: Path) -> None:
    given = load(None, [f"tracking.uri={uri}"])
    made, read = written(given, tmp_path)
    assert "secret" not in made
    assert read.tracking.uri == kept


def tuned(found: str) -> Tuned:
    points = [{"leaves": 31, "rate": 0.05}, {"leaves": 63, "rate": 0.1}, {"leaves": 15, "rate": 0.2}]
    told = zip((0.52, None, 0.51), (1.0, 0.1, 2.0), strict=True)
    trials: list[dict[str, Any]] = [
        {"number": number, "point": points[number], "value": value, "curve": [[0, 0.9]], "seconds": took}
        for number, (value, took) in enumerate(told)
    ]
    comparison = {
        "given": [0.55, 0.5, 0.6], "best": [0.54, 0.49, 0.59], "difference": [-0.01, -0.02, 0.001],
        "unit": "user", "units": 40, "rows": 1_000,
    }  # fmt: skip
    facts = {"trials": trials, "best": 2, "found": found, "settings": trials[2]["point"],
             "comparison": comparison}  # fmt: skip
    return Tuned(
        facts, "demo", "completed", "LightGBM", "models.lightgbm", ["leaves", "rate"], "log loss",
        "minimize", [(5, 10), (10, 20)], "python -m flows retrain --config out/tuned.yaml",
    )  # fmt: skip


def test_the_report_says_first_whether_it_is_better_and_lists_the_best_first() -> None:
    told = tuned("no better")
    assert told.verdict == (
        "The best of 2 settings of LightGBM is not shown to be better than those given: log loss on "
        "validation, which had no part in the choice, .5400 against .5500, difference −.0100 (−.0200 to "
        "+.0010). The interval includes 0, or there is too little data for one. tuned.yaml holds the "
        "best."
    )
    lines = text(told, draw(told)).splitlines()
    assert lines[0] == "# LightGBM of demo, completed: not shown to be better"
    assert lines[2] == f"**{told.verdict}**"
    rows = [line for line in lines if line.startswith(("| 2 |", "| given | .52", "| 1 |"))]
    assert rows == [
        "| 2 | .5100 | 15 | 0.2 | 2.0 |",
        "| given | .5200 | 31 | 0.05 | 1.0 |",
        "| 1 | given up | 63 | 0.1 | 0.1 |",
    ]
    assert "| row 10 | row 20 | confirming |" in lines
    for found in ("better", "worse", "same"):
        assert "not shown" not in tuned(found).verdict
    assert "is better than those given" in tuned("better").verdict


def test_what_a_run_does_by_itself_is_told() -> None:
    told = replace(tuned("better"), remark=result.REMARK)
    assert f"\n\n{result.REMARK}\n\n## Settings" in text(told, draw(told))
    assert "retrieval.als" not in text(tuned("better"), draw(tuned("better")))


def test_the_picture_has_all_trials() -> None:
    drawn = draw(tuned("better"))
    assert drawn.notice == "best .5100, given .5200"
    assert drawn.svg == draw(tuned("better")).svg
    assert drawn.svg.count('aria-roledescription="point"') == 3
    assert yaml.safe_load(drawn.name) == "tuning_search"
