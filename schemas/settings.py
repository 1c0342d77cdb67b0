"""What every group of settings is made of."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from schemas.ranges import words

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]
# no shell expands the ~ of `--set output.dir=~/report`
Place = Annotated[Path, AfterValidator(Path.expanduser)]
_PLACE = {"type": "string", "format": "path"}
# A validator takes one path as well, so the schema, which the form and the API check by, says so.
Places = Annotated[
    tuple[Place, ...], WithJsonSchema({"anyOf": [_PLACE, {"type": "array", "items": _PLACE}]})
]
# Names of settings that mean nothing to who has not read the code.
LABELS = {
    "als": "ALS",
    "c": "Inverse L2 strength (C)",
    "dir": "Folder",
    "ece_bins": "Bins of the calibration error",
    "k": "Length of a list (k)",
    "lambda_l2": "L2 on leaf values",
    "lightgbm": "LightGBM",
    "linear_l2": "L2 of linear",
    "logistic": "Logistic regression",
    "max_unzipped_mb": "Max unzipped MB",
    "mlflow_allowed_hosts": "MLflow allowed hosts",
    "mlflow_port": "MLflow port",
    "tracking": "Tracking (MLflow)",
    "uri": "Address (URI)",
}


def label(name: str) -> str:
    """What a setting or a group of them is called in a form."""
    plain = name.replace("_", " ")
    return LABELS.get(name.lower(), plain[:1].upper() + plain[1:])


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

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """As pydantic makes it, with labels, and what is allowed told in each description."""
        schema = handler(core_schema)
        told = handler.resolve_ref_schema(schema)
        told["title"] = label(cls.__name__)
        for name, each in told.get("properties", {}).items():
            each["title"] = label(name)
            if "$ref" in each:  # a group, which has a description of its own
                continue
            parts = (each.get("description"), f"allowed: {words(each)}")
            each["description"] = "; ".join(part for part in parts if part)
        return schema


def contradiction(key: str, found: object, allowed: str) -> PydanticCustomError:
    """Settings that are well typed but do not go together; ``key`` is the one to change."""
    told = {"key": key, "found": str(found), "allowed": allowed}
    return PydanticCustomError("contradiction", "{allowed}", told)
