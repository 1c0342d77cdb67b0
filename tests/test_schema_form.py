"""The schema that the form in Prefect's pages is drawn from says what ``--help`` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.config import Config, Source
from schemas.errors import InputError
from schemas.loading import load
from schemas.ranges import allowed

SCHEMA = Config.model_json_schema()


def groups(model: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from groups(field.annotation)


def told(model: type[BaseModel]) -> dict[str, Any]:
    """The group's part of the form's schema."""
    found = SCHEMA if model is Config else SCHEMA["$defs"][model.__name__]
    return dict(found["properties"])


@pytest.mark.parametrize("model", tuple(groups()), ids=lambda model: model.__name__)
def test_every_setting_has_a_label_its_help_and_what_is_allowed(model: type[BaseModel]) -> None:
    for name, words in allowed(model).items():
        shown, help_ = told(model)[name], model.model_fields[name].description
        assert help_
        assert shown["description"] == f"{help_}; allowed: {words}"
        label = shown["title"]
        assert label[:1].isupper() or label.startswith("MLflow")
        assert len(label) > 2 or label == "Id"
        assert "_" not in label


@pytest.mark.parametrize(
    ("group", "setting", "label"),
    [
        ("Logistic", "c", "Inverse L2 strength (C)"),
        ("Tracking", "uri", "Address (URI)"),
        ("Recommend", "k", "Length of a list (k)"),
        ("Source", "max_refused_share", "Max refused share"),
    ],
)
def test_labels_are_words(group: str, setting: str, label: str) -> None:
    assert SCHEMA["$defs"][group]["properties"][setting]["title"] == label


def test_groups_are_called_by_name() -> None:
    titles = {name: each["title"] for name, each in SCHEMA["$defs"].items()}
    assert titles["Als"] == "ALS"
    assert titles["LightGBM"] == "LightGBM"
    assert titles["Tracking"] == "Tracking (MLflow)"
    # a form heads a group by what the setting is called that holds it
    assert told(Config)["tracking"]["title"] == "Tracking (MLflow)"
    assert SCHEMA["$defs"]["Models"]["properties"]["lightgbm"]["title"] == "LightGBM"


def test_a_path_may_be_a_text_or_a_list_in_schema_and_validator_alike() -> None:
    kinds = [each["type"] for each in SCHEMA["$defs"]["Source"]["properties"]["path"]["anyOf"]]
    assert kinds == ["string", "array"]
    one = Source.model_validate({"kind": "kkbox", "path": "here"})
    assert one == Source.model_validate({"kind": "kkbox", "path": ["here"]})
    with pytest.raises(ValidationError):
        Source.model_validate({"kind": "kkbox", "path": 3})


@pytest.mark.parametrize(
    ("setting", "found", "expected"),
    [
        ("services.prefect_port=0", "0", "at least 1"),
        ("services.prefect_port=70000", "70000", "at most 65535"),
        ("services.mlflow_port=4200", "4200", "another port than Prefect's"),
        ("services.host=http://x", "http://x", "text like ^[A-Za-z0-9]"),
        ("services.prefect_database=mysql://x", "mysql://x", r"text like ^(postgresql\+asyncpg"),
    ],
)
def test_services_refuse_what_cannot_be(setting: str, found: str, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        load(None, [setting])
    place = setting.partition("=")[0]
    assert f"place: {place} | found: {found} | expected: {expected}" in str(refused.value)


def test_a_password_in_prefects_database_is_refused_without_being_shown() -> None:
    with pytest.raises(InputError, match=r"PGPASSWORD or ~/\.pgpass") as refused:
        load(None, ["services.prefect_database=postgresql+asyncpg://me:hush@db/prefect"])
    assert "hush" not in str(refused.value)
    load(None, ["services.prefect_database=postgresql+asyncpg://me@db:5432/prefect"])
