"""Values as text, and text as Markdown that nothing in it can break."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.metrics.binary import Interval


def number(interval: Interval, sign: str = "") -> str:
    """``.601 (.598–.604)``; the bounds are left out where the data cannot tell."""
    if not math.isfinite(interval.value):
        return "–"
    text = short(interval.value, sign)
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return text
    return f"{text} ({short(interval.low, sign)} to {short(interval.high, sign)})"


def moment(value: datetime | int | None) -> str:
    """A window's edge as text: UTC to the minute, or the row's number."""
    if value is None:
        return "–"
    return f"row {value:,}" if isinstance(value, int) else f"{value:%Y-%m-%d %H:%M}"


def flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as (name, value) lines: ``rows › plays``, ``29,632``."""
    for name, value in facts.items():
        label = before + (name if "." in name else name.replace("_", " "))  # a file's name stays
        if value in ({}, [], (), None):
            yield label, "none"
        elif isinstance(value, Mapping):
            yield from flat(value, f"{label} › ")
        elif (
            isinstance(value, list | tuple)
            and value
            and all(isinstance(each, Mapping) for each in value)
        ):
            for each in value:
                what = " · ".join(str(part) for key, part in each.items() if key != "rows")
                yield f"{label} › {what}", f"{each['rows']:,}" if "rows" in each else ""
        elif isinstance(value, list | tuple):
            yield label, ", ".join(str(each) for each in value[:12]) + (" …" if len(value) > 12 else "")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield label, str(value)
        else:
            yield label, f"{value:,}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks in values cannot break it."""
    if not rows:
        return "Nothing to show."
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(plain(cell) for cell in line) + " |" for line in lines)


def plain(text: str) -> str:
    """Text that Markdown shows as it is: no table bar, no tag, no line break."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def percent(each: Interval) -> str:
    """``87% (85% to 89%)``; the bounds are left out where the data cannot tell."""
    if not (math.isfinite(each.low) and math.isfinite(each.high)):
        return f"{each.value:.0%}"
    return f"{each.value:.0%} ({each.low:.0%} to {each.high:.0%})"


def short(value: float, sign: str = "") -> str:
    """``.601``, ``−.021``: three digits, no leading zero; a true minus sign."""
    digits = 3 if abs(value) >= 0.01 or value == 0 else 4
    text = (
        f"{value:{sign}.{digits}f}".replace("0.", ".", 1)
        if abs(value) < 1
        else f"{value:{sign}.{digits}f}"
    )
    return text.replace("-", "−")


def count(number: int, what: str) -> str:
    """``1 user``, ``1,024 users``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
