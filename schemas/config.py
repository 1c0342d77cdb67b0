"""Every setting, its meaning, its default and what it may be. Frozen; unknown keys are refused.

One YAML in ``configs/`` per way of running gives the values, ``--set key.path=value`` overrides
them, and the flows take the resulting ``Config`` as their only parameter, so that the Prefect UI
renders the same settings as a form.
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from schemas.forgetting import Forget
from schemas.logs import Logs
from schemas.monitoring import Monitor
from schemas.services import Services
from schemas.settings import Count, Name, Place, Places, Settings, Share, contradiction
from schemas.tuning import Tune
from schemas.two_stage import Backtest, Lists, Recommend, Retrieval, Similar

TAGGED = ("lastfm_hetrec",)  # kinds of sources that say when a listener gave a track a tag


def _one_or_many(value: Any) -> Any:
    """A path, or a list of them."""
    paths = (value,) if isinstance(value, str | Path) else value
    if not isinstance(paths, tuple | list) or "" in paths:
        raise ValueError("a folder, file or .zip, or a list of them")
    return paths


class Columns(Settings):
    """Names of the columns in files of scrobbles; the last five may be missing."""

    artist: Name = Field("artist_name", description="scrobbles: artist's name")
    track: Name = Field("track_name", description="scrobbles: track's title")
    timestamp: Name = Field(
        "listened_at", description="scrobbles: start, in s or ms since 1970 or as ISO 8601 (UTC)"
    )
    user: Name = Field("user_name", description="scrobbles: listener; without it, me")
    album: Name = Field("release_name", description="scrobbles: album's title")
    track_id: Name = Field("track_id", description="scrobbles: id; else made of artist and title")
    ms_played: Name = Field("ms_played", description="scrobbles: ms listened to")
    duration_ms: Name = Field("duration_ms", description="scrobbles: track's length in ms")


class Source(Settings):
    """Where the raw data lies and how to read it."""

    kind: Literal["simulated", "spotify_export", "kkbox", "lastfm_hetrec", "lastfm_1k", "scrobbles"] = (
        Field("simulated", description="format of the raw data; simulated writes its own first")
    )
    path: Places = Field(
        (), description="folder, file or .zip with the raw data, or a list; unused by simulated"
    )
    columns: Columns = Columns()
    timezone: str = Field("UTC", description="listener's time zone for hour, weekday and month")
    max_refused_share: float = Field(
        0.05, ge=0, le=1, description="more refused rows than this share of a table stops the run"
    )
    max_unzipped_mb: Count = Field(
        20_000, description="largest size all members of one .zip may unpack to, in MB"
    )

    _paths = field_validator("path", mode="before")(_one_or_many)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("a time zone name such as Europe/Berlin") from error
        return value

    @model_validator(mode="after")
    def _real_needs_path(self) -> "Source":
        if self.kind != "simulated" and not self.path:
            allowed = f"a folder, file or .zip, for source.kind={self.kind}"
            raise contradiction("source.path", "nothing", allowed)
        return self


class Catalogue(Settings):
    """Tracks beside those that were played: their metadata and audio features."""

    path: Places = Field(
        (), description="CSV or Parquet file of tracks with audio features, a folder of such, or a list"
    )

    _paths = field_validator("path", mode="before")(_one_or_many)


class Simulation(Settings):
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


class Store(Settings):
    """Where tables are kept, and the engine's bounds."""

    path: Place = Field(Path("data/store"), description="folder of the content-addressed tables")
    keep: Count = Field(3, description="newest runs of each step whose entries `gc` keeps")
    memory_limit: str = Field(
        "2GB", pattern=r"^\d+(MB|GB)$", description="DuckDB's memory; beyond it, it spills to disk"
    )
    threads: Count = Field(2, description="threads of DuckDB and LightGBM")


class Labels(Settings):
    """What is predicted, and when a label counts as known."""

    target: Literal["completed", "repeat", "played"] = Field(
        "completed",
        description="completed: will this play be heard out; repeat: will the track be played again; "
        "played: lists of what will be played next",
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


class Split(Settings):
    """Chronological windows: training, validation inside the history, holdout after the cutoff."""

    holdout: Share | datetime = Field(
        0.2, description="share of the newest labelled rows, or the cutoff as a UTC date"
    )
    validation: Share | datetime = Field(
        0.15, description="share of the history's newest rows, or its start as a UTC date"
    )
    min_rows: Count = Field(200, description="fewest rows a window may have")

    @field_validator("holdout", "validation", mode="before")
    @classmethod
    def _share_or_date(cls, value: Any) -> Any:
        """Pydantic would take 2 for two seconds into 1970."""
        if isinstance(value, int | float) and not 0 < value < 1:
            raise ValueError("a share above 0 and below 1, or a UTC date such as 2024-01-31")
        return value

    @field_validator("holdout", "validation")
    @classmethod
    def _in_utc(cls, value: float | datetime) -> float | datetime:
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value

    @model_validator(mode="after")
    def _validation_before_holdout(self) -> "Split":
        start, cutoff = self.validation, self.holdout
        if isinstance(start, datetime) and isinstance(cutoff, datetime) and start >= cutoff:
            allowed = f"a date before split.holdout={cutoff:%Y-%m-%d}"
            raise contradiction("split.validation", f"{start:%Y-%m-%d}", allowed)
        return self


class LightGBM(Settings):
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


class Logistic(Settings):
    """Logistic regression."""

    c: float = Field(0.1, gt=0, description="inverse L2 strength")
    max_rows: Count = Field(
        300_000, description="newest training rows used; more change little and cost minutes"
    )


class Models(Settings):
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
    correction: float = Field(
        1.0, ge=0, le=1, description="corrected: share of what trees would change in the blend's order"
    )
    seed: int = Field(7, ge=0, description="seed of every fit")
    lightgbm: LightGBM = LightGBM()
    logistic: Logistic = Logistic()

    @model_validator(mode="after")
    def _candidate_is_fitted(self) -> "Models":
        if self.champion_candidate not in self.rankers:
            allowed = f"one of models.rankers: {', '.join(self.rankers)}"
            raise contradiction("models.champion_candidate", self.champion_candidate, allowed)
        return self


class Evaluation(Settings):
    """Metrics, intervals, and what `evaluate` scores."""

    resamples: int = Field(1_000, ge=100, description="bootstrap resamples")
    seed: int = Field(7, ge=0, description="seed of the bootstrap")
    min_users: Count = Field(30, description="with fewer users, user-days are resampled instead")
    ece_bins: int = Field(15, ge=2, description="equal-count bins of the expected calibration error")
    model: str = Field(
        "champion",
        coerce_numbers_to_str=True,
        description="evaluate: alias or version number of the registered model",
    )


class Audit(Settings):
    """Rebuilds real plays' features without the future, in every training run."""

    plays: Count = Field(40, description="most plays rebuilt")
    max_rows: Count = Field(
        10_000_000, description="most history rows read for it in all; bounds the plays on large data"
    )
    seed: int = Field(7, ge=0, description="seed of the sample")


class Promotion(Settings):
    """When a challenger replaces the champion."""

    margin: float = Field(
        0.002, ge=0, description="log loss the same recipe on newer data may be worse by"
    )
    version: int | None = Field(
        None, ge=1, description="promote: this version, by hand, without a comparison"
    )


class Tracking(Settings):
    """MLflow."""

    uri: str = Field("sqlite:///mlflow.db", description="tracking and registry store")
    artifacts: Place = Field(Path("data/mlflow"), description="folder of artifacts of a local store")
    experiment: str = Field("encore", min_length=1, description="experiment of the runs")


class Output(Settings):
    """The report."""

    dir: Place = Field(Path("outputs/demo"), description="folder that gets the report")


class Visualize(Settings):
    """The `visualize` flow."""

    scored_samples: Place | None = Field(
        None, description="scored_samples.csv to draw; output.dir's own if unset"
    )


class Config(Settings):
    """All settings of a run."""

    dataset: str = Field(
        "demo", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the data set; in model names"
    )
    source: Source = Source()
    catalogue: Catalogue = Catalogue()
    simulation: Simulation = Simulation()
    store: Store = Store()
    labels: Labels = Labels()
    split: Split = Split()
    models: Models = Models()
    retrieval: Retrieval = Retrieval()
    lists: Lists = Lists()
    backtest: Backtest = Backtest()
    recommend: Recommend = Recommend()
    similar: Similar = Similar()
    evaluation: Evaluation = Evaluation()
    audit: Audit = Audit()
    promotion: Promotion = Promotion()
    monitor: Monitor = Monitor()
    tune: Tune = Tune()
    forget: Forget = Forget()
    tracking: Tracking = Tracking()
    output: Output = Output()
    visualize: Visualize = Visualize()
    services: Services = Services()
    logs: Logs = Logs()

    @model_validator(mode="after")
    def _without_idle_retrievers(self) -> "Config":
        """A retriever without what it reads would only add empty columns and rows to every table."""
        asked = self.retrieval.retrievers
        idle = {
            "content": None if self.catalogue.path else "others, or a catalogue.path",
            "tags": None if self.source.kind in TAGGED else "others, or a source.kind with dated tags",
        }
        others = tuple(name for name in asked if idle.get(name) is None)
        if others != asked:
            if not others:
                raise contradiction("retrieval.retrievers", ", ".join(asked), str(idle[asked[0]]))
            retrieval = self.retrieval.model_copy(update={"retrievers": others})
            object.__setattr__(self, "retrieval", retrieval)  # frozen for everybody else
        return self

    @property
    def model_name(self) -> str:
        """Registered name: ``encore-<dataset>-<target>``."""
        return f"encore-{self.dataset}-{self.labels.target}"

    @property
    def lists_name(self) -> str:
        """Registered name of the rankers of lists."""
        return f"encore-{self.dataset}-played"
