"""Every setting, its meaning, its default and what it may be. Frozen; unknown keys are refused.

One YAML in ``configs/`` per way of running gives the values, ``--set key.path=value`` overrides
them, and the flows take the resulting ``Config`` as their only parameter, so that the Prefect UI
renders the same settings as a form.
"""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import InputError

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Source(_Settings):
    """Where the raw data lies and how to read it."""

    kind: Literal["simulated", "spotify_export", "kkbox"] = Field(
        "simulated", description="format of the raw data; simulated writes its own first"
    )
    path: tuple[Path, ...] = Field(
        (), description="folder or .zip with the raw data, or a list of them; unused by simulated"
    )
    timezone: str = Field("UTC", description="listener's time zone for hour, weekday and month")
    max_refused_share: float = Field(
        0.05, ge=0, le=1, description="more refused rows than this share of a table stops the run"
    )
    max_unzipped_mb: Count = Field(
        20_000, description="largest size all members of one .zip may unpack to, in MB"
    )

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("not a time zone name such as Europe/Berlin") from error
        return value

    @model_validator(mode="after")
    def _real_needs_path(self) -> "Source":
        if self.kind != "simulated" and not self.path:
            raise ValueError(f"source.kind={self.kind} needs source.path=FOLDER_OR_ZIP")
        return self


class Simulation(_Settings):
    """The simulated world; used when source.kind is simulated."""

    format: Literal["spotify_export", "kkbox"] = Field(
        "spotify_export", description="raw format that the world writes and Encore then reads"
    )
    users: Count = Field(40, description="listeners")
    plays: Count = Field(160_000, description="plays over all listeners, about")
    tracks: Count = Field(20_000, description="tracks in the catalogue")
    start: date = Field(date(2022, 1, 1), description="first day of the world, UTC")
    days: Count = Field(540, description="length of the world in days")
    seed: int = Field(7, ge=0, description="same seed, same world")
    path: Path = Field(Path("data/simulated"), description="folder that gets the raw exports")


class Store(_Settings):
    """Where tables are kept, and the engine's bounds."""

    path: Path = Field(Path("data/store"), description="folder of the content-addressed tables")
    keep: Count = Field(3, description="entries of each step that `gc` keeps, newest first")
    memory_limit: str = Field(
        "2GB", pattern=r"^\d+(MB|GB)$", description="DuckDB's memory; beyond it, it spills to disk"
    )
    threads: Count = Field(2, description="threads of DuckDB and LightGBM")


class Labels(_Settings):
    """What is predicted, and when a label counts as known."""

    target: Literal["completed", "repeat"] = Field(
        "completed", description="completed: will this play be heard out; repeat: will it be again"
    )
    completed_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="share of the length that counts as completed, if nothing else tells",
    )
    horizon_days: Count = Field(30, description="repeat: days in which the track is played again")
    burn_in_days: int = Field(
        60, ge=0, description="repeat: a user's first days, whose tracks may be old acquaintances"
    )
    mode: Literal["production", "competition"] = Field(
        "production", description="without a clock: when earlier labels of training count as known"
    )
    maturity_rows: Count = Field(
        5_000, description="production mode without a clock: rows until a label counts as known"
    )


class Split(_Settings):
    """Chronological windows: training, validation inside the history, holdout after the cutoff."""

    holdout: Share | datetime = Field(
        0.2, description="share of the newest labelled rows, or the cutoff as a UTC date"
    )
    validation: Share | datetime = Field(
        0.15, description="share of the history's newest rows, or its start as a UTC date"
    )
    min_rows: Count = Field(200, description="fewest rows a window may have")


class LightGBM(_Settings):
    """Gradient boosting; LightGBM's own names where they exist."""

    learning_rate: float = Field(0.05, gt=0, le=1, description="shrinkage of each tree")
    num_leaves: int = Field(31, ge=2, description="leaves of a tree")
    min_data_in_leaf: int = Field(40, ge=1, description="fewest rows in a leaf")
    feature_fraction: float = Field(0.9, gt=0, le=1, description="features drawn per tree")
    bagging_fraction: float = Field(0.8, gt=0, le=1, description="rows drawn, every 5 trees")
    lambda_l2: float = Field(5.0, ge=0, description="L2 on leaf values")
    max_trees: Count = Field(1_000, description="most trees")
    early_stopping: int = Field(
        50, ge=0, description="trees without a better validation log loss before stopping; 0: never"
    )


class Logistic(_Settings):
    """Logistic regression."""

    c: float = Field(0.1, gt=0, description="inverse L2 strength")
    max_rows: Count = Field(
        300_000, description="newest training rows used; more change little and cost minutes"
    )


class Models(_Settings):
    """Which rankers are fitted, and their settings."""

    rankers: tuple[Literal["base_rate", "heuristic", "logistic", "lightgbm"], ...] = Field(
        ("base_rate", "heuristic", "logistic", "lightgbm"), min_length=1, description="rankers to fit"
    )
    champion_candidate: Literal["base_rate", "heuristic", "logistic", "lightgbm"] = Field(
        "lightgbm", description="ranker that is registered and may become champion"
    )
    min_category_share: float = Field(
        0.001, ge=0, lt=1, description="rarer categories are pooled as other"
    )
    seed: int = Field(7, ge=0, description="seed of every fit")
    lightgbm: LightGBM = LightGBM()
    logistic: Logistic = Logistic()

    @model_validator(mode="after")
    def _candidate_is_fitted(self) -> "Models":
        if self.champion_candidate not in self.rankers:
            raise ValueError(
                f"models.champion_candidate={self.champion_candidate} is not in models.rankers"
            )
        return self


class Evaluation(_Settings):
    """Metrics, intervals, and what `evaluate` scores."""

    resamples: int = Field(1_000, ge=100, description="bootstrap resamples")
    seed: int = Field(7, ge=0, description="seed of the bootstrap")
    min_users: Count = Field(30, description="with fewer users, user-days are resampled instead")
    ece_bins: int = Field(15, ge=2, description="equal-count bins of the expected calibration error")
    model: str = Field(
        "champion", description="evaluate: alias or version number of the registered model"
    )


class Audit(_Settings):
    """Rebuilds real plays' features without the future, in every training run."""

    plays: Count = Field(60, description="most plays rebuilt")
    max_rows: Count = Field(
        10_000_000, description="most history rows read for it in all; bounds the plays on large data"
    )
    seed: int = Field(7, ge=0, description="seed of the sample")


class Promotion(_Settings):
    """When a challenger replaces the champion."""

    margin: float = Field(
        0.002, ge=0, description="log loss the same recipe on newer data may be worse by"
    )
    version: int | None = Field(
        None, ge=1, description="promote: this version, by hand, without a comparison"
    )


class Tracking(_Settings):
    """MLflow."""

    uri: str = Field("sqlite:///mlflow.db", description="tracking and registry store")
    artifacts: Path = Field(Path("data/mlflow"), description="folder of artifacts of a local store")
    experiment: str = Field("encore", min_length=1, description="experiment of the runs")


class Output(_Settings):
    """The report."""

    dir: Path = Field(Path("outputs/demo"), description="folder that gets the report")


class Visualize(_Settings):
    """The `visualize` flow."""

    scored_samples: Path | None = Field(
        None, description="scored_samples.csv to draw; output.dir's own if unset"
    )


class Config(_Settings):
    """All settings of a run."""

    dataset: str = Field(
        "demo", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the data set; in model names"
    )
    source: Source = Source()
    simulation: Simulation = Simulation()
    store: Store = Store()
    labels: Labels = Labels()
    split: Split = Split()
    models: Models = Models()
    evaluation: Evaluation = Evaluation()
    audit: Audit = Audit()
    promotion: Promotion = Promotion()
    tracking: Tracking = Tracking()
    output: Output = Output()
    visualize: Visualize = Visualize()

    @property
    def model_name(self) -> str:
        """Registered name: ``encore-<dataset>-<target>``."""
        return f"encore-{self.dataset}-{self.labels.target}"


def load(path: Path | None, overrides: list[str]) -> Config:
    """Read a YAML and apply ``key.path=value`` overrides (values are parsed as YAML).

    Raises ``InputError`` naming the key, the value and what is allowed.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                "cannot read the configuration", file=path, found=error.strerror, do="check --config"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError("not valid YAML", file=path, found=error, do="mend the file") from error
        if not isinstance(loaded, dict | None):
            raise InputError("not a settings file", file=path, expected="key: value lines")
        values = loaded or {}
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise InputError("not an override", found=override, expected="--set key.path=value")
        _put(values, key.split("."), _parse(key, text))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _refusal(error, path) from error


def _parse(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError("not a value", place=key, found=text, expected="a YAML value") from error


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for depth, part in enumerate(path[:-1]):
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(
                "unknown setting",
                place=".".join(path),
                found=f"{'.'.join(path[: depth + 1])} is a value",
            )
        values = inner
    values[path[-1]] = value


def _refusal(error: ValidationError, path: Path | None) -> InputError:
    """The first fault of a configuration, as one line."""
    fault = error.errors()[0]
    # pydantic appends the tried type to the place of a union's fault: keep the setting's own name
    keys = []
    model: Any = Config
    for part in fault["loc"]:
        fields = getattr(model, "model_fields", {})
        if part not in fields and fields:
            keys.append(str(part))
            break
        if not fields:
            break
        keys.append(str(part))
        model = fields[part].annotation
    place = ".".join(keys) or "settings"
    if fault["type"] == "extra_forbidden":
        fields = getattr(model, "model_fields", {})
        return InputError(
            "unknown setting", file=path, place=place, found=fault["input"],
            expected=f"one of {', '.join(fields)}", do="see --help",
        )  # fmt: skip
    found = fault["input"] if not isinstance(fault["input"], dict) else None
    return InputError(
        "bad setting", file=path, place=place, found=found, expected=fault["msg"], do="see --help"
    )
