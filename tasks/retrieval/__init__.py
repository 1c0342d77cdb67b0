"""Retrievers: a file each, one line here, one contract test for all (tests/retrieval)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from schemas.two_stage import Retrieval
from tasks.retrieval.played import OfPlayed, played
from tasks.retrieval.protocol import Kind, Listening, Retriever


@dataclass(frozen=True)
class _Module:
    """A retriever's module, imported when it is about to fit: some compile or load native code."""

    name: str

    def fit(self, listening: Listening, settings: Retrieval, threads: int, seed: int) -> Retriever:
        kind: Kind = import_module(self.name)
        return kind.fit(listening, settings, threads, seed)


@dataclass(frozen=True)
class _OfPlayed(_Module):
    """A retriever that knows tracks by their plays alone: it is not shown those that have none."""

    def fit(self, listening: Listening, settings: Retrieval, threads: int, seed: int) -> Retriever:
        among, tracks = played(listening)
        own = super().fit(among, settings, threads, seed)
        width = listening.tracks.height
        return own if len(tracks) == width else OfPlayed(own, tracks, width)


RETRIEVERS: Mapping[str, Kind] = {
    "popular": _OfPlayed("tasks.retrieval.popular"),
    "again": _OfPlayed("tasks.retrieval.again"),
    "covisit": _OfPlayed("tasks.retrieval.covisit"),
    "item_knn": _OfPlayed("tasks.retrieval.item_knn"),
    "als": _OfPlayed("tasks.retrieval.als"),
    "linear": _OfPlayed("tasks.retrieval.linear"),
    "content": _Module("tasks.retrieval.content"),
    "tags": _Module("tasks.retrieval.tags"),
}
