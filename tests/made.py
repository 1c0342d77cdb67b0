"""Small models and trainings with known answers, for the tests of the registry and of promotion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.ranking.protocol import Column
from tasks.registry import Child, Training

COLUMNS = (Column("hour", category=False), Column("platform", category=True))


def constant(folder: Path, rate: float) -> Path:
    """A fitted base rate, saved as its step saves it: it says ``rate`` of every play."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"rate": rate}))
    facts = {"rate": rate, "threshold": 0.5, "seconds": 0.1}
    (folder / "ranker.json").write_text(json.dumps({"ranker": "base_rate", "facts": facts}))
    return folder


def recipe(seed: int = 7) -> str:
    """The recipe of a base rate; another seed makes another recipe."""
    told = {"ranker": "base_rate", "settings": {}, "min_category_share": 0.001, "seed": seed}
    return json.dumps(told, sort_keys=True)


def tags(trained_until: int = 200, **more: str) -> dict[str, str]:
    """A version's tags, as a training gives them."""
    told = {"recipe": recipe(), "clock": "order", "dataset": "made"}
    return told | {"trained_until": str(trained_until)} | more


def training(key: str, folder: Path, rate: float = 0.5, **more: Any) -> Training:
    """A training of one base rate."""
    child = Child("base_rate", constant(folder, rate), COLUMNS, {"rate": rate}, {"holdout_auc": 0.5})
    told = {
        "key": key,
        "name": "train made completed",
        "model": "encore-made-completed",
        "candidate": "base_rate",
        "parameters": {"target": "completed"},
        "configuration": {"dataset": "made"},
        "metrics": {"holdout_auc": 0.5, "holdout_ece": float("nan")},
        "datasets": {"plays": ("d" * 32, "data/plays.parquet")},
        "children": [child],
        "version_tags": tags(),
    }
    return Training(**(told | more))
