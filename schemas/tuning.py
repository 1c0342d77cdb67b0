"""Settings of `tune`: how many settings are tried, and how they are judged."""

from pydantic import Field

from schemas.settings import Count, Settings


class Tune(Settings):
    """The `tune` flow: LightGBM's settings for plays, those of ALS for labels.target=played."""

    trials: int = Field(20, ge=1, le=500, description="settings tried beside those given")
    parallel: int = Field(
        2, ge=1, le=64,
        description="trials side by side, which share store.threads; each has the training rows in "
        "memory. Others propose other trials",
    )  # fmt: skip
    startup: Count = Field(
        6,
        description="trials before proposals follow what did well, and finished ones before any is "
        "stopped early",
    )
    windows: Count = Field(
        2, description="windows before validation that settings are chosen on; validation confirms"
    )
    seed: int = Field(7, ge=0, description="seed of the proposals")
