"""What each setting may be, in a few words: read from the same constraints that refuse the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

FORMATS = {"path": "path", "date": "date such as 2024-01-31", "date-time": "UTC date such as 2024-01-31"}


def allowed(model: type[BaseModel]) -> dict[str, str]:
    """Setting → what it may be, for the model's own settings (not for groups of settings in it)."""
    schema = model.model_json_schema()
    return {
        name: words(told) for name, told in schema.get("properties", {}).items() if "$ref" not in told
    }


def words(told: Mapping[str, Any]) -> str:
    """One JSON schema, such as that of a setting, in words."""
    if "anyOf" in told:
        return ", or ".join(words(each) for each in told["anyOf"])
    if "enum" in told:
        return " | ".join(map(str, told["enum"]))
    kind = told.get("type")
    if kind == "null":
        return "null"
    if kind == "array":
        least = f" (at least {told['minItems']})" if told.get("minItems") else ""
        return f"list{least} of: {words(told['items'])}"
    if kind == "string":
        return _text(told)
    if kind == "integer":
        return f"whole number{_bounds(told)}"
    if kind == "number":
        return f"number{_bounds(told)}"
    return "any value"


def _text(told: Mapping[str, Any]) -> str:
    if "pattern" in told:
        return f"text like {told['pattern']}"
    if "format" in told:
        return FORMATS.get(told["format"], "text")
    return "text, not empty" if told.get("minLength") else "text"


def _bounds(told: Mapping[str, Any]) -> str:
    words = [
        f"{word} {told[name]}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if name in told
    ]
    return " " + " and ".join(words) if words else ""
