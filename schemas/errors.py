"""Refusals: what a person is told when the input or a setting is at fault."""

from __future__ import annotations


class InputError(Exception):
    """A user's mistake, said in one line; the command line turns it into exit code 2.

    ``file`` and ``place`` (a line, a row, a key) locate it, ``found`` and ``expected`` explain it
    and ``do`` says what to do next. Values are shortened and kept on one line; never pass personal
    data as ``found``.
    """

    def __init__(
        self,
        what: str,
        *,
        file: object = None,
        place: object = None,
        found: object = None,
        expected: object = None,
        do: str | None = None,
    ) -> None:
        parts = [what]
        parts += [f"file: {_short(file)}"] if file is not None else []
        parts += [f"place: {_short(place)}"] if place is not None else []
        parts += [f"found: {_short(found)}"] if found is not None else []
        parts += [f"expected: {_short(expected)}"] if expected is not None else []
        parts += [f"what to do: {do}"] if do is not None else []
        super().__init__(" | ".join(parts))


def _short(value: object, limit: int = 300) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
