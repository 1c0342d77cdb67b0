"""What a report says: plain values that the flow fills in, and their JSON form."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any, Literal, cast

from tasks.metrics.binary import Interval

# Metrics in the order in which every table shows them.
METRIC_NAMES: Mapping[str, str] = {
    "log_loss": "log loss",
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "brier": "Brier",
    "ece": "calibration error",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})
MODEL_NAMES: Mapping[str, str] = {
    "base_rate": "base rate",
    "heuristic": "heuristic",
    "logistic": "logistic regression",
    "lightgbm": "LightGBM",
    "lambdamart": "LambdaMART",
    "corrected": "corrected blend",
    "als": "ALS",
    "item_knn": "item kNN",
    "predicted_probability": "the model",
    "truth": "true probability",
}


@dataclass(frozen=True)
class Window:
    """One window, half-open; ``start`` and ``end`` are UTC moments or, without a clock, row numbers."""

    start: datetime | int | None
    end: datetime | int | None
    rows: int
    users: int
    positive_share: float | None
    users_with_history: int | None = None


@dataclass(frozen=True)
class ModelResult:
    """One model on the holdout.

    ``differences[baseline][metric]`` is this model minus the baseline on the same resamples.
    ``note`` says what was done to it, for example its calibration.
    """

    name: str
    metrics: Mapping[str, Interval]
    threshold: float
    seconds: float
    note: str | None = None
    differences: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)


@dataclass(frozen=True)
class Importance:
    """What one feature adds to the candidate: total gain and number of splits; what it needs."""

    feature: str
    gain: float
    split: int
    needs: str


@dataclass(frozen=True)
class Audit:
    """Features of real plays rebuilt without any later record, compared with those used."""

    plays: int
    features: int
    mismatches: int


@dataclass(frozen=True)
class Achieved:
    """Simulated world only: the AUC of the true probabilities, and each model's share of its lift."""

    truth_auc: float
    shares: Mapping[str, Interval]


@dataclass(frozen=True)
class Promotion:
    """Whether the challenger became champion, why, and by which numbers."""

    promoted: bool
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    champion: str | None = None
    challenger: str | None = None


@dataclass(frozen=True)
class Lineage:
    """SHA-256 of raw files by name, content digests of tables and work keys by step."""

    files: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Everything the report says beside the scored plays themselves.

    ``target_sentence`` completes "whether …", for example "a play is heard to its end".
    ``windows`` holds training, validation and holdout. ``ingest`` is what ``tasks.ingest.ingest``
    returned; all of it is listed. ``candidate`` names the model that is registered.
    ``resampling_unit`` and ``resampling_units`` say of what the intervals' resamples were drawn,
    and how many there are. ``seconds`` is by step,
    ``mlflow`` holds what leads to the tracked run. ``created`` is passed in, never the wall clock
    of this module, so that the same content gives the same bytes.
    """

    dataset: str
    target: str
    target_sentence: str
    label_mode: str
    clock: bool
    timezone: str
    created: datetime
    windows: Mapping[str, Window]
    ingest: Mapping[str, Any]
    labels: int
    labels_unknown: int
    models: tuple[ModelResult, ...]
    candidate: str
    resampling_unit: str
    resampling_units: int
    importance: tuple[Importance, ...] = ()
    audit: Audit | None = None
    achieved: Achieved | None = None
    promotion: Promotion | None = None
    mlflow: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = Lineage()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def model(self, name: str) -> ModelResult | None:
        """The result of the model of that name, if it was fitted."""
        return next((model for model in self.models if model.name == name), None)


@dataclass(frozen=True)
class Evaluated:
    """A registered model on plays that it was not fitted on.

    ``version`` is the one that was scored, ``asked_for`` the alias or number that led to it and
    ``refit`` the version behind that, where it is a refit on all of this data and could not be scored
    itself. ``window`` is half-open, as in ``Report``. ``base_rate`` are the metrics of the constant
    ``share_true``, the best that a constant can do on these plays, and ``difference`` is the model
    minus it on the same resamples. ``lineage`` as in ``Report``, without keys.
    """

    verdict: str
    model: str
    version: int
    asked_for: str
    refit: int | None
    run: str
    dataset: str
    target: str
    target_sentence: str
    timezone: str
    created: datetime
    window: Window
    share_true: float
    threshold: float
    resampling_unit: str
    resampling_units: int
    metrics: Mapping[str, Interval]
    base_rate: Mapping[str, Interval]
    difference: Mapping[str, Interval]
    lineage: Lineage


def to_json(report: Report | Evaluated) -> str:
    """The report as JSON, keys sorted, moments in ISO 8601; what is not a number becomes null."""
    return json.dumps(_plain(asdict(report)), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def from_json(text: str) -> Report:
    """The report that ``to_json`` wrote. Raises ``KeyError`` or ``ValueError`` on anything else."""
    report = _typed(Report, json.loads(text))
    assert isinstance(report, Report)
    return report


def display(name: str) -> str:
    """A model's name as a reader knows it."""
    return MODEL_NAMES.get(name, name.replace("_", " "))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    return value


def _typed(kind: Any, value: Any) -> Any:
    """JSON values as the type that a field declares."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (datetime in arguments and isinstance(value, int)):
            return value
        return _typed(arguments[0], value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        values = {part.name: _typed(hints[part.name], value[part.name]) for part in fields(kind)}
        return cast(Any, kind)(**values)
    if origin is tuple:
        return tuple(_typed(arguments[0], inner) for inner in value)
    if arguments and origin is not Literal:
        return {key: _typed(arguments[1], inner) for key, inner in value.items()}
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is float:
        return float("nan") if value is None else float(value)
    return value
