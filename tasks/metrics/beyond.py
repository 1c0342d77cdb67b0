"""What a ranked list is besides accurate: varied, new, surprising, fair to the catalogue.

Everywhere ``lists`` has integer columns ``user``, ``track`` and ``rank`` (1-based), cut at ``k``,
and faults in it raise ValueError as in ``lists.top``. ``heard`` has the distinct (user, track) pairs
played before the cutoff; the popularity of a track is the share of its users that played it.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.metrics.lists import distinct, found, ids, pair, played, top

PER_USER: tuple[str, ...] = (
    "genre_diversity",
    "audio_diversity",
    "novelty",
    "serendipity",
    "list_popularity",
    "history_popularity",
)
_BYTES = 1 << 26  # of the largest array of pairs of tracks; a few of this size live at a time


def per_user(
    lists: pl.DataFrame,
    k: int,
    *,
    relevant: pl.DataFrame,
    popular: pl.DataFrame,
    heard: pl.DataFrame,
    genres: pl.DataFrame,
    audio: pl.DataFrame,
) -> pl.DataFrame:
    """All of ``PER_USER``, Float64, for the users with a relevant track, ascending.

    The rows are those of ``lists.accuracy``; null where a metric is unknown for a user. The
    arguments are those of the single functions below. For the popularity lift take the ``ratio``
    of the means of ``list_popularity`` and ``history_popularity``.
    """
    found = serendipity(lists, relevant, popular, k)
    for each in (
        genre_diversity(lists, k, genres),
        audio_diversity(lists, k, audio),
        novelty(lists, k, heard),
        popularity(lists, k, heard),
    ):
        found = found.join(each.with_columns(pl.col("user").cast(found["user"].dtype)), "user", "left")
    return found.select("user", *PER_USER).sort("user")


def coverage(lists: pl.DataFrame, k: int, tracks: int) -> float:
    """Distinct tracks recommended to anyone, as a share of the catalogue's ``tracks``.

    Catalogue coverage of Ge, Delgado-Battenfeld & Jannach, "Beyond accuracy", RecSys 2010. It grows
    with the number of users and k, and resampling users only lowers it: compare it on the same
    users, without an interval. NaN for an empty catalogue.
    """
    return top(lists, k)["track"].n_unique() / tracks if tracks else float("nan")


def gini(lists: pl.DataFrame, k: int, tracks: int) -> float:
    """The Gini coefficient of how often each of the catalogue's ``tracks`` is recommended.

    0 when all are recommended equally often, towards 1 when a few take all places; tracks that are
    never recommended count. G = sum over tracks in rising order of (2 i - n - 1) x_i, divided by
    n times the sum of x; for recommendations: Fleder & Hosanagar, "Blockbuster culture's next rise
    or fall", Management Science 2009. Like coverage without an interval. NaN without a list. Raises
    ValueError when more tracks are recommended than the catalogue has.
    """
    exposure = np.sort(top(lists, k).group_by("track").len()["len"].to_numpy().astype(np.float64))
    if len(exposure) > tracks:
        raise ValueError(f"{len(exposure)} tracks are recommended from a catalogue of {tracks}")
    if len(exposure) == 0:
        return float("nan")
    place = np.arange(tracks - len(exposure) + 1, tracks + 1)  # those never recommended come first
    return float(((2 * place - tracks - 1) * exposure).sum() / (tracks * exposure.sum()))


def novelty(lists: pl.DataFrame, k: int, heard: pl.DataFrame) -> pl.DataFrame:
    """``user``, ``novelty``: mean over the list of -log2 of a track's popularity, in bits.

    Mean self-information (Zhou et al., "Solving the apparent diversity-accuracy dilemma of
    recommender systems", PNAS 2010). A track that nobody had played counts as if one user had: as
    new as anything known. A row per user with a list; null when ``heard`` is empty.
    """
    users = heard["user"].n_unique()
    return (
        _with_listeners(top(lists, k), heard)
        .group_by("user")
        .agg(novelty=-(pl.max_horizontal("listeners", 1) / users).log(2).mean())
        .with_columns(pl.when(pl.col("novelty").is_finite()).then("novelty"))
        .sort("user")
    )


def serendipity(
    lists: pl.DataFrame, relevant: pl.DataFrame, popular: pl.DataFrame, k: int
) -> pl.DataFrame:
    """``user``, ``serendipity``: the share of the k places with a hit that popularity would miss.

    That is, one in ``relevant`` (distinct ``user``, ``track``) and not among the first k of the
    user's list in ``popular``, the popularity baseline's lists: useful and unexpected by a primitive
    model (Ge, Delgado-Battenfeld & Jannach, "Beyond accuracy", RecSys 2010, where a primitive model
    is left to choose). Divided by k, so at most the precision. A row per user with a relevant track.
    """
    cut = top(lists, k)
    hits = cut[found(cut, played(relevant))]
    expected = np.zeros(hits.height, dtype=np.bool_)
    expected[found(hits, np.sort(pair(top(popular, k))))] = True
    surprising = hits.filter(~expected).group_by("user").len()
    return (
        relevant.select("user")
        .unique()
        .join(surprising.cast({"user": relevant["user"].dtype}), on="user", how="left")
        .select("user", serendipity=pl.col("len").fill_null(0) / k)
        .sort("user")
    )


def popularity(lists: pl.DataFrame, k: int, heard: pl.DataFrame) -> pl.DataFrame:
    """``user``, ``list_popularity``, ``history_popularity``: of what one gets and of what one played.

    Means of popularity over the list and over the tracks that the user had played; a row per user
    who has both. See ``popularity_lift``.
    """
    users = max(heard["user"].n_unique(), 1)
    share = (pl.col("listeners") / users).mean()
    of_list = _with_listeners(top(lists, k), heard).group_by("user").agg(list_popularity=share)
    of_history = (
        _with_listeners(heard.select(pl.col("user", "track").cast(pl.Int32)), heard)
        .group_by("user")
        .agg(history_popularity=share)
    )
    return of_list.with_columns(pl.col("user").cast(pl.Int32)).join(of_history, on="user").sort("user")


def popularity_lift(popularity: pl.DataFrame) -> float:
    """How many times as popular lists are as what their users had played; NaN without users.

    Mean ``list_popularity`` / mean ``history_popularity`` over users: one more than the popularity
    lift of Abdollahpouri et al., "The connection between popularity bias, calibration, and fairness
    in recommendation", RecSys 2020.
    """
    known = popularity.drop_nulls(["list_popularity", "history_popularity"])
    if known.height == 0:
        return float("nan")
    return float(
        known["list_popularity"].to_numpy().mean() / known["history_popularity"].to_numpy().mean()
    )


def audio_diversity(lists: pl.DataFrame, k: int, audio: pl.DataFrame) -> pl.DataFrame:
    """``user``, ``audio_diversity``: mean over pairs of the list of 1 - cosine, in [0, 2].

    Intra-list distance (Ziegler et al., "Improving recommendation lists through topic
    diversification", WWW 2005; Vargas & Castells, RecSys 2011), between the features of tracks:
    ``audio`` has ``track`` (distinct) and numeric columns, standardised here over its rows so that
    no unit of measurement weighs more. A track with a missing feature, or exactly average in all,
    is unknown and in no pair. A row per user with a list; null with fewer than two known tracks.
    """
    distinct(np.sort(ids(audio, "track")), "tracks of audio")
    features = [column for column in audio.columns if column != "track"]
    values = audio.select(pl.col(features).cast(pl.Float64)).to_numpy()
    values = values.reshape(audio.height, len(features))  # without features Polars forgets its height
    known = np.isfinite(values).all(axis=1)
    vectors = values[known] - values[known].mean(axis=0) if known.any() else values[known]
    spread = vectors.std(axis=0) if known.any() else np.ones(len(features))
    vectors = vectors[:, spread > 0] / spread[spread > 0]
    length = np.linalg.norm(vectors, axis=1)
    row_of = audio.select("track").filter(known).with_row_index("row").filter(length > 0)

    cut = top(lists, k)
    users, code = _numbered(cut)
    place = cut.join(row_of.cast({"track": cut["track"].dtype}), on="track", how="left")["row"]
    there = place.is_not_null().to_numpy()
    code, rows = code[there], place.drop_nulls().to_numpy()
    count = np.bincount(code, minlength=len(users))
    # The cosines of all pairs of n unit vectors add up to (|their sum|² - n) / 2: no pair is formed.
    squared = np.zeros(len(users))
    for feature in range(vectors.shape[1]):
        unit = vectors[:, feature] / np.where(length > 0, length, 1.0)
        squared += np.bincount(code, weights=unit[rows], minlength=len(users)) ** 2
    pairs = count * (count - 1) / 2
    return _means(users, "audio_diversity", pairs - (squared - count) / 2, pairs)


def genre_diversity(lists: pl.DataFrame, k: int, genres: pl.DataFrame) -> pl.DataFrame:
    """``user``, ``genre_diversity``: mean over pairs of the list of 1 - Jaccard of genres, in [0, 1].

    Intra-list distance as in ``audio_diversity``; the Jaccard index is the number of genres that
    both tracks have over the number that either has. ``genres`` has ``track`` (distinct) and
    ``genres``, a list of strings; a track with none is unknown and in no pair. A row per user with
    a list; null with fewer than two known tracks. Work grows with users × k² × genres / 64.
    """
    distinct(np.sort(ids(genres, "track")), "tracks of genres")
    cut = top(lists, k)
    users, code = _numbered(cut)
    wanted = cut.select("track").unique(maintain_order=True).with_row_index("row", offset=1)
    bits = _bitsets(wanted, genres)
    # (users, places) of rows of ``bits``; row 0, without a genre, is an empty place.
    rows = cut.join(wanted, on="track", how="left", maintain_order="left")["row"].to_numpy()
    places = min(k, int(cut["rank"].max() or 0))  # type: ignore[arg-type]
    table = np.zeros((len(users), places), dtype=np.int64)
    table[code, cut["rank"].to_numpy() - 1] = rows
    size = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)

    apart, pairs = np.zeros(len(users)), np.zeros(len(users))
    block = max(1, _BYTES // (8 * max(places, 1) ** 2))
    for start in range(0, len(users), block):
        part = table[start : start + block]
        shared = np.zeros((len(part), places, places), dtype=np.uint16)
        for word in range(bits.shape[1]):
            column = bits[part, word]
            shared += np.bitwise_count(column[:, :, None] & column[:, None, :])
        sizes = size[part]
        either = np.add(sizes[:, :, None], sizes[:, None, :], dtype=np.float32) - shared
        # a track without a genre shares none with any other: 0 of something, or 0 of 0 with another
        jaccard = shared / np.maximum(either, 1.0)
        count = (sizes > 0).sum(axis=1)
        pairs[start : start + block] = count * (count - 1) / 2
        # Each pair stands twice, each known track once with itself at Jaccard 1.
        apart[start : start + block] = count * (count - 1) / 2 - (jaccard.sum(axis=(1, 2)) - count) / 2
    return _means(users, "genre_diversity", apart, pairs)


def _bitsets(wanted: pl.DataFrame, genres: pl.DataFrame) -> NDArray[np.uint64]:
    """(tracks + 1, words): bit g of a row says whether the track has genre g; row 0 has none."""
    told = (
        wanted.join(genres.cast({"track": wanted["track"].dtype}), on="track")
        .select("row", genre="genres")
        .explode("genre", empty_as_null=True)
        .drop_nulls()
        .unique()
    )
    genre = told["genre"].rank("dense").to_numpy().astype(np.int64) - 1
    bits = np.zeros((wanted.height + 1, int(genre.max(initial=0)) // 64 + 1), dtype=np.uint64)
    bit = np.left_shift(np.uint64(1), (genre % 64).astype(np.uint64))
    np.bitwise_or.at(bits, (told["row"].to_numpy(), genre // 64), bit)
    return bits


def _with_listeners(rows: pl.DataFrame, heard: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with ``listeners``, the number of users who had played the track."""
    distinct(np.sort(pair(heard)), "heard pairs")
    listeners = heard.group_by("track").agg(listeners=pl.len().cast(pl.Int64))
    return rows.join(
        listeners.cast({"track": rows["track"].dtype}), on="track", how="left"
    ).with_columns(pl.col("listeners").fill_null(0))


def _numbered(cut: pl.DataFrame) -> tuple[pl.Series, NDArray[np.int64]]:
    """The users of lists that lie by user, and the user's number 0, 1, … of each row."""
    return cut["user"].unique().sort(), cut["user"].rle_id().to_numpy().astype(np.int64)


def _means(
    users: pl.Series, name: str, total: NDArray[np.float64], pairs: NDArray[np.float64]
) -> pl.DataFrame:
    """``user`` and total / pairs, null where there is no pair; rounding never leaves it below 0."""
    mean = np.full(len(total), np.nan)
    np.divide(np.maximum(total, 0.0), pairs, out=mean, where=pairs > 0)
    return pl.DataFrame({"user": users, name: mean}).with_columns(pl.col(name).fill_nan(None))
