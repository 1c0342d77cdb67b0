"""How a registered model does on labels that matured after it was trained, against then."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import polars as pl

from schemas.config import Config
from tasks import registered, split, stages
from tasks.metrics.binary import Interval
from tasks.metrics.bootstrap import blocks
from tasks.metrics.recalibration import calibration, difference, entropy
from tasks.registry import Registry, Version
from tasks.store import Entry
from tasks.tracking import tick

SHOWN = ("log_loss", "auc", "brier", "ece")


def matured(
    config: Config, data: Entry, outcomes: Entry, version: Version, now: datetime
) -> tuple[Entry, dict[str, Any]]:
    """The scored plays since training, and the model's numbers on them.

    ``now`` and ``then``: metric → interval, of log loss, AUC, Brier, calibration error, and
    ``skill``: log loss above that of saying the share that came true, which is negative and does not
    move when plays as such get easier to guess; ``change`` is now minus then. ``then`` is the
    holdout that the model's numbers were logged on, empty where none were. ``calibration`` as
    ``tasks.metrics.recalibration.Calibration``.
    """
    evaluation = config.evaluation.model_copy(update={"model": str(version.number)})
    asked = config.model_copy(update={"evaluation": evaluation})
    scored = registered.scored(asked, data, outcomes, now)
    facts = scored.facts
    told = {name: Interval(*facts["metrics"]["model"][name]) for name in SHOWN}
    told["skill"] = Interval(*facts["difference"]["log_loss"])
    features = stages.featurized(config, data, outcomes)
    then = _logged(Registry(config.tracking), version, features)
    # a calibration error is larger the fewer rows it is of: two of them are no difference
    changes = {
        name: difference(told[name], then[name]) for name in told if name in then and name != "ece"
    }
    frame = pl.read_parquet(
        scored.tables["scored"].path,
        columns=["user_id", "started_at", "target", "predicted_probability"],
    )
    timed = facts["clock"] == "time"
    days = frame["started_at"].dt.epoch("d").to_numpy() if timed else None
    block, _ = blocks(frame["user_id"].to_numpy(), days, config.evaluation.min_users)
    found = calibration(frame["target"].to_numpy(), frame["predicted_probability"].to_numpy(), block)
    return scored, {
        "rows": facts["plays"],
        "users": facts["users"],
        "window": facts["window"],
        "share_true": facts["share_true"],
        "unit": facts["unit"],
        "units": facts["units"],
        "now": {name: asdict(each) for name, each in told.items()},
        "then": {name: asdict(each) for name, each in then.items()},
        "change": {name: asdict(each) for name, each in changes.items()},
        "calibration": asdict(found),
    }


def behind(registry: Registry, version: Version) -> tuple[Version, Any] | None:
    """The version whose holdout ``version`` was judged on, and what its run has: params, metrics.

    That is ``version`` itself, or of a refit on all data the evaluated one; None where it is gone.
    """
    number = version.tags.get("evaluated_version", str(version.number))
    found = registry.version(version.name, number)
    return None if found is None else (found, registry.client.get_run(found.run_id).data)


def holdout(run: Any) -> tuple[int, int] | None:
    """First tick of the holdout that a run's numbers are of, and the tick after it."""
    edges = [run.params.get(name) for name in ("window_cutoff", "window_end")]
    return None if None in edges else (tick(edges[0]), tick(edges[1]))


def logged(run: Any, name: str) -> Interval | None:
    """A metric of a run, with its bounds."""
    names = [name + bound for bound in ("", "_low", "_high")]
    known = all(each in run.metrics for each in names)
    return Interval(*(run.metrics[each] for each in names)) if known else None


def _logged(registry: Registry, version: Version, features: Entry) -> dict[str, Interval]:
    """What the version's evaluation wrote down of its holdout."""
    evaluated = behind(registry, version)
    if evaluated is None:
        return {}
    _, run = evaluated
    then = {name: each for name in SHOWN if (each := logged(run, f"holdout_{name}")) is not None}
    window = holdout(run)
    if "log_loss" not in then or window is None:
        return then
    table, clock = features.tables["features"].path, features.facts["clock"]
    share = split.rows(table, window, clock).select(pl.col("target").mean()).collect().item()
    if share is None:  # this data does not reach back to it
        return then
    # as wide as its paired difference to the base rate that training had, where there was one
    told = logged(run, "log_loss_minus_base_rate") or then["log_loss"]
    value = then["log_loss"].value - entropy(share)
    return then | {
        "skill": Interval(value, value - told.value + told.low, value - told.value + told.high)
    }
