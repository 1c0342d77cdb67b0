"""Settings of `forget`: whom."""

from typing import Any

from pydantic import Field, SecretStr, field_validator

from schemas.settings import Settings


class Forget(Settings):
    """The `forget` flow."""

    # secret: neither Prefect's record of a run's parameters nor a logged configuration shows it
    user: SecretStr | None = Field(
        None, description="id of the listener to forget, as the tables have it"
    )

    @field_validator("user", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """Ids are often digits, which YAML reads as a number."""
        return str(value) if isinstance(value, int | float) else value
