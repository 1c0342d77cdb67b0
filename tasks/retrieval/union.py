"""One list of candidates of all retrievers, with each one's score and rank as columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from tasks.retrieval.protocol import Codes, Heard, Retriever

ROWS = 2_000_000  # candidates of all retrievers that are united at once


def united(retrievers: Mapping[str, Retriever], users: Codes, k: int, heard: Heard) -> pl.DataFrame:
    """At most ``k`` candidates for each of ``users`` (distinct), the retrievers taking turns.

    Each retriever is asked for k. First come the tracks ranked 1 by any, in the order of
    ``retrievers``, then those ranked 2, and so on, each track once, until there are k. Columns:
    ``user`` and ``track`` (Int32), and for each retriever ``<name>_score`` (Float32, also of pairs
    that it did not retrieve; null where it has none) and ``<name>_rank`` (Float32, null where it
    did not retrieve the pair). By user in the order asked for, then in the order of the turns.
    """
    step = max(1, ROWS // (k * max(len(retrievers), 1)))
    parts = [_united(retrievers, users[at : at + step], k, heard) for at in range(0, len(users), step)]
    return pl.concat(parts) if parts else _united(retrievers, users, k, heard)


def _united(retrievers: Mapping[str, Retriever], users: Codes, k: int, heard: Heard) -> pl.DataFrame:
    found = [retriever.retrieve(users, k, heard) for retriever in retrievers.values()]
    most = max((int(each.rank.max(initial=0)) for each in found), default=0)
    # each user's turns side by side, so that no sort is needed: -1 where a retriever has no more
    turns = np.full((len(users), most, len(found)), -1, np.int32)
    place = np.zeros(int(users.max(initial=-1)) + 1, np.int64)
    place[users] = np.arange(len(users))
    for column, each in enumerate(found):
        turns[place[each.user], each.rank - 1, column] = each.track
    there = turns >= 0
    user = np.repeat(users, there.sum(axis=(1, 2)))
    chosen = (
        pl.DataFrame({"user": user.astype(np.int32), "track": turns[there]})
        .unique(["user", "track"], keep="first", maintain_order=True)
        .filter(pl.int_range(pl.len()).over("user") < k)
    )
    user, track = chosen["user"].to_numpy(), chosen["track"].to_numpy()
    for (name, retriever), each in zip(retrievers.items(), found, strict=True):
        ranks = pl.DataFrame(
            {"user": each.user, "track": each.track, f"{name}_rank": each.rank.astype(np.float32)}
        )
        score = pl.Series(f"{name}_score", retriever.score(user, track), pl.Float32).fill_nan(None)
        chosen = chosen.with_columns(score).join(
            ranks, on=["user", "track"], how="left", maintain_order="left"
        )
    return chosen
