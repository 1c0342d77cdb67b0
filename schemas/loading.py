"""From a YAML and ``--set`` overrides to a ``Config``, or one line naming the setting at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from schemas.config import Config
from schemas.errors import InputError


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
        except (yaml.YAMLError, ValueError) as error:
            raise InputError("not valid YAML", file=path, found=error, do="mend the file") from error
        if not isinstance(loaded, dict | None):
            raise InputError("not a settings file", file=path, expected="key: value lines")
        values = loaded or {}
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not all(key.split(".")):
            raise InputError("not an override", found=override, expected="--set key.path=value")
        _put(values, key.split("."), _parse(key, text))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _refusal(error, path, [override.partition("=")[0] for override in overrides]) from error


def _parse(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError("not a value", place=key, found=text, expected="a YAML value") from error


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for depth, part in enumerate(path[:-1]):
        inner = values.setdefault(part, {})
        if inner is None:  # a group without a line in it
            inner = values[part] = {}
        if not isinstance(inner, dict):
            raise InputError(
                "unknown setting",
                place=".".join(path),
                found=f"{'.'.join(path[: depth + 1])} is a value",
            )
        values = inner
    values[path[-1]] = value


def _refusal(error: ValidationError, path: Path | None, overridden: list[str]) -> InputError:
    """The first fault of a configuration, as one line."""
    faults = error.errors()
    fault, told = faults[0], faults[0].get("ctx", {})
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
    place = told.get("key") or ".".join(keys) or "settings"
    file = None if any(key.startswith(place) for key in overridden) else path
    found = told.get("found", "nothing" if fault["input"] is None else fault["input"])
    if fault["type"] in ("extra_forbidden", "invalid_key"):
        fields = getattr(model, "model_fields", {})
        return InputError(
            "unknown setting", file=file, place=place, found=found,
            expected=f"one of {', '.join(fields)}", do="see --help",
        )  # fmt: skip
    # of a union, each type that was tried has a fault, whose place ends with the type's name
    tried = [
        each
        for each in faults
        if each["loc"][: len(keys)] == tuple(keys)
        and len(each["loc"]) > len(keys)
        and isinstance(each["loc"][-1], str)
    ]
    allowed = " or ".join(dict.fromkeys(_allowed(each) for each in tried or [fault]))
    return InputError(
        "bad setting", file=file, place=place, found=found, expected=allowed, do="see --help"
    )  # fmt: skip


def _allowed(fault: Any) -> str:
    """What pydantic expected instead, in words for a person."""
    kind, told = fault["type"], fault.get("ctx", {})
    if kind == "value_error":
        return str(told["error"])
    if kind == "contradiction":
        return str(told["allowed"])
    for start, words in (
        ("int_", "a whole number"),
        ("float_", "a number"),
        ("string_type", "text"),
        ("string_pattern", f"text like {told.get('pattern')}"),
        ("path_", "a path"),
        ("tuple_", "a list"),
        ("model_", "settings below it, as in key.path=value"),
        ("date", "a date such as 2024-01-31"),
        ("greater_than_equal", f"at least {told.get('ge')}"),
        ("greater_than", f"more than {told.get('gt')}"),
        ("less_than_equal", f"at most {told.get('le')}"),
        ("less_than", f"less than {told.get('lt')}"),
        ("literal_error", f"one of {told.get('expected')}"),
        ("too_short", f"at least {told.get('min_length')}"),
        ("string_too_short", f"at least {told.get('min_length')} letters"),
    ):
        if kind.startswith(start):
            return words
    return str(fault["msg"])
