"""Retrievers: a file each, one line here, one contract test for all (tests/retrieval)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from schemas.two_stage import Retrieval
from tasks.retrieval.protocol import Kind, Listening, Retriever


@dataclass(frozen=True)
class _Module:
    """A retriever's module, imported when it is about to fit: some compile or load native code."""

    name: str

    def fit(self, listening: Listening, settings: Retrieval, threads: int, seed: int) -> Retriever:
        kind: Kind = import_module(self.name)
        return kind.fit(listening, settings, threads, seed)


RETRIEVERS: Mapping[str, Kind] = {
    "popular": _Module("tasks.retrieval.popular"),
    "again": _Module("tasks.retrieval.again"),
    "covisit": _Module("tasks.retrieval.covisit"),
    "item_knn": _Module("tasks.retrieval.item_knn"),
    "als": _Module("tasks.retrieval.als"),
    "linear": _Module("tasks.retrieval.linear"),
}
