"""Where settings are searched: ranges, and points in them as numbers that a person can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``whole`` ones or ``real`` ones."""

    low: float
    high: float
    kind: Literal["whole", "real"]
    scale: Literal["log", "linear"]


@dataclass(frozen=True)
class Choice:
    """Some values, of which none is nearer to one than to another."""

    values: tuple[Any, ...]


Space = Mapping[str, Range | Choice]


def rounded(space: Space, point: Point) -> dict[str, Any]:
    """The point with real numbers of three digits, in the order of ``space``."""
    return {
        name: float(f"{point[name]:.3g}") if isinstance(point[name], float) else point[name]
        for name in space
    }


def nearest(space: Space, point: Point) -> dict[str, Any]:
    """The point of ``space`` that is nearest to one which may lie outside."""
    inside: dict[str, Any] = {}
    for name, allowed in space.items():
        value = point[name]
        if isinstance(allowed, Choice):
            numbers = all(isinstance(each, int | float) for each in allowed.values)
            near = min(allowed.values, key=lambda each: abs(each - value)) if numbers else None
            inside[name] = value if value in allowed.values else near or allowed.values[0]
        else:
            clipped = min(max(value, allowed.low), allowed.high)
            inside[name] = int(clipped) if allowed.kind == "whole" else float(clipped)
    return inside
