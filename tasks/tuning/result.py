"""What a search leaves: tuned.yaml to run with, and the report in ``output.dir``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from schemas.config import Config
from tasks.store import Entry
from tasks.tuning import kinds, stages
from tasks.tuning.kinds import Material

if TYPE_CHECKING:
    from tasks.report.tuning import Tuned

NAME = "tuned.yaml"
ALS = ("retrieval", "als")
REMARK = (
    "Those given stand here as they are. A run with them compares retrieval.als.trials others and may "
    "take one of these; with tuned.yaml it does not."
)
# Of one command each, and not of how models are made.
LEFT_OUT: dict[str, Any] = {
    "tune": True, "forget": True, "promotion": {"version"}, "visualize": True,
}  # fmt: skip
PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*(?=@)|(?<=[?&]password=)[^&]*")


def published(config: Config, found: Material, verdict: Entry) -> tuple[Path, Tuned]:
    """Write tuned.yaml, TUNING.md and its figure into ``output.dir``, beside what else lies there.

    Returns the folder and what is told. The YAML is the same, byte for byte, for the same verdict.
    """
    from tasks.report import tuning

    told = _told(config, found, verdict)
    tuning.write(told, settings(config, verdict.facts, told.verdict), config.output.dir)
    return config.output.dir, told


def settings(config: Config, facts: Mapping[str, Any], verdict: str) -> str:
    """The given configuration with the settings to be used in it, as YAML for ``--config``.

    Only what is not a default, but for the group that was searched, and no password. ALS is then not
    tuned again within each run.
    """
    tuned = stages.kind(config)
    made = kinds.with_values(config, tuned, facts["settings"])
    if tuned.GROUP == ALS:
        made = kinds.with_values(made, tuned, {"trials": 0})
    values = made.model_dump(mode="json", exclude_defaults=True, exclude=LEFT_OUT)
    outer, inner = tuned.GROUP
    own = kinds.group(made, tuned).model_dump(mode="json")
    values[outer] = {**values.get(outer, {}), inner: own}
    values = _as_given({"dataset": made.dataset, **values}, made)
    head = [
        f"Settings of {tuned.NAME} that `tune` has chosen; everything else as it was given.",
        verdict,
        f"To use it: python -m flows retrain --config {config.output.dir / NAME}",
    ]
    lines = [f"# {' '.join(line.split())}" for line in head]
    text = yaml.safe_dump(_without_passwords(values), sort_keys=False, allow_unicode=True)
    return "\n".join(lines) + "\n" + text


def _as_given(values: dict[str, Any], made: Config) -> dict[str, Any]:
    """Without retrievers that are the default's but for idle ones, which another source may feed."""
    retrieval = {
        name: each for name, each in values.get("retrieval", {}).items() if name != "retrievers"
    }
    fewer = {**values, "retrieval": retrieval}
    if Config.model_validate(fewer).retrieval.retrievers != made.retrieval.retrievers:
        return values
    return {name: each for name, each in fewer.items() if each != {}}


def _without_passwords(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_passwords(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_passwords(each) for each in value]
    return PASSWORD.sub(r"\1", value) if isinstance(value, str) else value


def _told(config: Config, found: Material, verdict: Entry) -> Tuned:
    from tasks.report.tuning import Tuned
    from tasks.reporting import moment

    tuned, data = stages.kind(config), found.entries.get("features", found.entries.get("data"))
    assert data is not None
    clock = data.facts["clock"]
    return Tuned(
        facts=verdict.facts,
        dataset=config.dataset,
        target=config.labels.target,
        what=tuned.NAME,
        group=".".join(tuned.GROUP),
        names=list(tuned.SPACE),
        metric=tuned.METRIC,
        direction=tuned.DIRECTION,
        edges=[(moment(start, clock), moment(end, clock)) for start, end in verdict.facts["edges"]],
        command=f"python -m flows retrain --config {config.output.dir / NAME}",
        remark=REMARK if tuned.GROUP == ALS and config.retrieval.als.trials else "",
    )
