"""Settings of the log."""

from typing import Literal

from pydantic import Field

from schemas.settings import Settings


class Logs(Settings):
    """What a run tells while it runs, on stderr and in Prefect's own log; never who listened to what."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least weight of what is told: debug a step's beginning, info its line"
    )
    format: Literal["text", "json"] = Field(
        "text", description="lines for people, or one JSON object a line for machines"
    )
