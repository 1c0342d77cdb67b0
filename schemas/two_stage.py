"""Settings of the two stages: candidates from the whole catalogue, ranked into lists."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from schemas.settings import Count, Name, Settings, Share, contradiction


class Als(Settings):
    """Implicit alternating least squares, and how its settings are tuned."""

    factors: Count = Field(64, description="dimensions of the factors")
    regularization: float = Field(0.1, ge=0, description="L2 of the factors")
    alpha: float = Field(1.0, gt=0, description="confidence that a play adds, as it is weighed")
    iterations: Count = Field(20, description="alternations")
    weighting: Literal["count", "log", "bm25"] = Field(
        "count", description="what plays of a track weigh: their number, its logarithm, BM25"
    )
    half_life_days: int = Field(
        0, ge=0, description="age at which a newest play weighs half, with a clock; 0: age is no matter"
    )
    trials: int = Field(
        4, ge=0, description="settings drawn and compared with these on windows before the judged "
        "ones; 0: these are taken as they are",
    )  # fmt: skip


RetrieverName = Literal[
    "popular", "again", "covisit", "item_knn", "als", "linear", "content", "tags"
]  # fmt: skip


class Retrieval(Settings):
    """First stage: candidates from the whole catalogue."""

    retrievers: tuple[RetrieverName, ...] = Field(
        ("popular", "again", "covisit", "item_knn", "als", "linear", "content", "tags"),
        description="retrievers whose candidates are united; content only with a catalogue.path, tags "
        "only of a source that dates them (lastfm_hetrec)",
    )
    # LightGBM takes lists of at most 10,000 rows
    candidates: int = Field(200, ge=1, le=10_000, description="most candidates a user")
    popular_days: Count = Field(90, description="popular: newest days that count, with a clock")
    neighbours: Count = Field(100, description="covisit, item_knn: most neighbours kept of a track")
    linear_tracks: Count = Field(
        10_000,
        description="linear: side of the largest square it inverts: that many tracks, or that many "
        "users where they are fewer than tracks",
    )
    linear_l2: float = Field(200.0, gt=0, description="linear: L2 of its weights")
    linear_half_life_days: Count = Field(
        270, description="linear: age at which a user's newest play of a track counts half, with a clock"
    )
    als: Als = Als()


ListRankerName = Literal["logistic", "lightgbm", "lambdamart", "blend", "corrected"]


class Lists(Settings):
    """Second stage: candidates ranked by whether they are played in the window after a cutoff."""

    horizon_days: Count = Field(28, description="length of a window, with a clock")
    horizon_share: Share = Field(
        0.1, description="length of a window without a clock, as a share of all rows"
    )
    training_windows: Count = Field(3, description="windows before validation's that rankers fit on")
    max_users: Count = Field(
        3_000, description="most users whose candidates a training window takes, drawn by seed"
    )
    rankers: tuple[ListRankerName, ...] = Field(
        ("logistic", "lightgbm", "lambdamart", "blend", "corrected"),
        min_length=1,
        description="rankers of candidates",
    )
    champion_candidate: ListRankerName = Field(
        "corrected", description="ranker that is registered and recommends"
    )
    k: Count = Field(10, description="length of the lists that are judged")
    pages: int = Field(
        5, ge=0, description="judged users, drawn by seed, whose history and list get a page each"
    )

    @model_validator(mode="after")
    def _candidate_is_fitted(self) -> "Lists":
        if self.champion_candidate not in self.rankers:
            allowed = f"one of lists.rankers: {', '.join(self.rankers)}"
            raise contradiction("lists.champion_candidate", self.champion_candidate, allowed)
        return self


class Backtest(Settings):
    """Rolling evaluation of the two stages."""

    cutoffs: Count = Field(1, description="newest windows that are judged, each by what lies before")


class Recommend(Settings):
    """The `recommend` flow."""

    users: tuple[Name, ...] = Field(
        ("all",), description="ids of the users who get a list, or all of them"
    )
    k: Count = Field(10, description="length of a list")
    heard: Literal["include", "exclude", "only"] = Field(
        "include", description="tracks that the user has played: among others, left out, or alone"
    )
    playlists: int = Field(
        20, ge=0, description="most listeners whose list is written as a playlist too"
    )

    @field_validator("users", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        """`1,2,3` means three users; an id with a comma in it needs a list: `["a,b"]`."""
        if isinstance(value, int):
            return (str(value),)
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(","))
        if isinstance(value, list | tuple):
            return tuple(str(part) for part in value)
        return value


class Similar(Settings):
    """The `similar` flow, and what reasons call near."""

    retriever: Literal["covisit", "item_knn"] = Field(
        "covisit", description="near are tracks of the same sessions, or of the same users"
    )
    track: str | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="id of the track to find others of; the most played one if unset",
    )
    k: Count = Field(10, description="tracks to list")
