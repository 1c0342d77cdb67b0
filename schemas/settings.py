"""What every group of settings is made of."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]
# no shell expands the ~ of `--set output.dir=~/report`
Place = Annotated[Path, AfterValidator(Path.expanduser)]


class Settings(BaseModel):
    """Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switches(cls, value: Any) -> Any:
        """Pydantic would take true for 1."""
        if isinstance(value, bool):
            raise ValueError("a value; no setting is true or false")
        return value


def contradiction(key: str, found: object, allowed: str) -> PydanticCustomError:
    """Settings that are well typed but do not go together; ``key`` is the one to change."""
    told = {"key": key, "found": str(found), "allowed": allowed}
    return PydanticCustomError("contradiction", "{allowed}", told)
