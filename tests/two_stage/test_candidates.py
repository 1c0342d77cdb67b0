"""Candidates know nothing of what came after their cutoff, and are labelled by it alone."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.config import Config, Store
from schemas.tables import Audio, Tags
from schemas.two_stage import Als, Retrieval, RetrieverName
from tasks import featurize, moments
from tasks.features import declared
from tasks.moments import Sides
from tasks.split import Span
from tasks.two_stage import candidates
from tests import logs
from tests.logs import BASE, TRACKS, USERS, Log, Row, play

modest = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
seeds = st.integers(0, 10**6)
timed = st.builds(
    logs.random_log,
    seeds,
    st.integers(2, 40),
    st.sampled_from(["completed", "repeat"]),
    st.sampled_from(["second", "minute", "mixed"]),
)
ordered = st.builds(
    logs.random_order_log, seeds, st.integers(8, 40), st.sampled_from(["production", "competition"])
)
CONFIG = Config(
    retrieval=Retrieval(candidates=7, neighbours=10, als=Als(factors=4, iterations=3)),
    store=Store(threads=1),
)
MINUTE = timedelta(minutes=1)
# first heard after a cutoff; their ids come before, among and after those known, and what is known
# of them is what is known of others, or more than is known of any
NEW_TRACKS: list[Row] = [
    {"track_id": "a", "artist": "A", "year": 2015, "language": "3", "genres": ["g1"],
     "composers": ["c1"], "isrc_country": "DE", "isrc_registrant": "r1", "duration_ms": 99_000},
    {"track_id": "t2b", "artist": "0", "genres": ["g0"], "language": "1"},
    {"track_id": "z"},
]  # fmt: skip
NEW_USERS: list[Row] = [
    {"user_id": "a", "country": "SE", "city": "5", "age": 30, "gender": "female",
     "registered_via": "9", "registered_at": datetime(2021, 2, 28).date()},
    {"user_id": "u0b", "country": "AA", "age": 20},
    {"user_id": "z"},
]  # fmt: skip


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        yield Path(folder)


def ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def written(
    log: Log,
    folder: Path,
    span: Span,
    config: Config = CONFIG,
    most_users: int | None = None,
    silent: tuple[str, ...] = (),
    tracks: Sequence[Row] = TRACKS,
    users: Sequence[Row] = USERS,
    tags: Sequence[Row] | None = None,
    audio: Sequence[Row] | None = None,
) -> tuple[Path, Mapping[str, Any]]:
    """The folder of a log's candidates, and their facts; ``audio`` is that of a catalogue's tracks."""
    history = logs.write(log, folder, tracks, users)
    history = replace(history, known_until=span.cutoff if log.clock == "order" else None)
    if tags is not None:
        history = replace(history, tags=folder / "tags.parquet")
        logs.table(Tags, tags).write_parquet(folder / "tags.parquet")
    if audio is not None:
        history = replace(history, audio=folder / "audio.parquet")
        logs.table(Audio, audio).write_parquet(folder / "audio.parquet")
    place = folder / "candidates"
    place.mkdir(exist_ok=True)
    with logs.warehouse(folder) as house:
        return place, candidates.write(history, span, most_users, silent, config, house, place)


def named(place: Path) -> dict[str, pl.DataFrame]:
    """All that is known at the cutoff, by ids in place of numbers."""
    read = {name: pl.read_parquet(place / f"{name}.parquet") for name in
            ("candidates", "heard", "users", "tracks", "relevant")}  # fmt: skip
    read = {
        name: frame.with_columns(pl.col(pl.Categorical).cast(pl.String)) for name, frame in read.items()
    }
    for name in ("candidates", "heard", "relevant"):
        read[name] = read[name].with_columns(
            user=read["users"]["user_id"][read[name]["user"]],
            track=read["tracks"]["track_id"][read[name]["track"]],
        )
    return read


def assert_same_knowledge(before: Path, after: Path) -> None:
    """Bit for bit, but for columns of which only the future has a value: they tell nothing."""
    one, other = named(before), named(after)
    for name in ("candidates", "heard", "users", "tracks"):
        left, right = (frames[name].drop("target", strict=False) for frames in (one, other))
        shared = [column for column in left.columns if column in right.columns]
        assert_frame_equal(left.select(shared), right.select(shared), check_exact=True)
        for frame in (left, right):
            for column in set(frame.columns) - set(shared):
                assert frame[column].n_unique() <= 1, column


def cutoff_of(log: Log, rng: np.random.Generator) -> datetime:
    """A whole minute after the start of some play."""
    start: datetime = log.plays[int(rng.integers(len(log.plays)))]["started_at"]
    return start.replace(second=0, microsecond=0) + MINUTE


def other_future(log: Log, cutoff: datetime, rng: np.random.Generator) -> Log:
    """Plays from the cutoff on deleted, edited, moved and added, by new users and of new tracks;
    and other outcomes of those that were still running."""
    rows = []
    longer = timedelta(seconds=int(rng.integers(0, 600)))  # for all, so that their order stays
    for row in log.plays:
        if row["started_at"] < cutoff < row["ended_at"]:
            rows.append({**row, "ended_at": row["ended_at"] + longer, "ms_played": 40_000,
                         "reason_end": "fwdbtn", "skipped": bool(rng.integers(0, 2))})  # fmt: skip
        elif row["started_at"] < cutoff:
            rows.append(row)
        elif rng.integers(0, 2):
            pair = {"user_id": f"u{rng.integers(0, 3)}", "track_id": f"t{rng.integers(0, 5)}"}
            end = row["ended_at"] + longer
            rows.append({**row, **pair, "ms_played": 1_000, "skipped": True, "ended_at": end})
    for place in range(12):
        start = cutoff + timedelta(seconds=int(rng.choice([0, 1, 3_600, 86_400])))
        rows.append(
            play(
                (start - BASE) / MINUTE,
                60,
                user_id=str(rng.choice(["a", "u0b", "z", "u0", "u1"])),
                track_id=str(rng.choice(["a", "t2b", "z", "t0", "t3"])),
                position=1_000 + place,
                skipped=bool(rng.integers(0, 2)),
            )
        )
    return log.with_plays(rows)


def another_future(log: Log, cutoff: int, rng: np.random.Generator) -> Log:
    """The same for rows without a clock."""
    rows = [
        row if row["position"] < cutoff else {**row, "user_id": f"u{rng.integers(0, 3)}",
            "track_id": f"t{rng.integers(0, 5)}", "repeated": bool(rng.integers(0, 2))}
        for row in log.plays
        if row["position"] < cutoff or rng.integers(0, 2)
    ]  # fmt: skip
    added = [
        {"user_id": str(rng.choice(["a", "u0b", "z", "u0"])), "resolution": "order",
         "track_id": str(rng.choice(["a", "t2b", "z", "t0"])), "source_type": "album",
         "repeated": bool(rng.integers(0, 2)), "position": 1_000 + place}
        for place in range(12)
    ]  # fmt: skip
    return log.with_plays(rows + added)


@modest
@given(timed, seeds)
@example(logs.random_log(4, 60, "repeat", "mixed"), 2)
@example(logs.random_log(9, 60, "completed", "minute"), 3)
@example(logs.random_log(13, 60, "repeat", "second"), 4)
def test_the_future_changes_no_candidate(scratch: Path, log: Log, seed: int) -> None:
    """Neither which there are nor their scores, ranks and features; whatever the labels say later."""
    rng = np.random.default_rng(seed)
    cutoff = cutoff_of(log, rng)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=5)))
    before, _ = written(log, scratch / "before", span)
    after, _ = written(
        other_future(log, cutoff, rng), scratch / "after", span,
        tracks=[*TRACKS, *NEW_TRACKS], users=[*USERS, *NEW_USERS],
    )  # fmt: skip
    assert named(before)["candidates"].height or not named(before)["heard"].height
    assert_same_knowledge(before, after)


WITH_CATALOGUE = CONFIG.model_copy(
    update={
        "retrieval": CONFIG.retrieval.model_copy(
            update={"retrievers": (*CONFIG.retrieval.retrievers, "content")}
        )
    }
)
# one that is heard before, two that are first heard after the cutoff, and one that nobody hears
MEASURED: list[Row] = [
    {"track_id": "t0", "energy": 0.2, "tempo": 90.0},
    {"track_id": "t2b", "energy": 0.3, "tempo": 90.0},
    {"track_id": "z", "energy": 0.9, "tempo": 160.0},
    {"track_id": "zz", "energy": 0.8},
]


@settings(modest, max_examples=2)
@given(st.one_of(timed, ordered), seeds)
@example(logs.random_log(4, 60, "repeat", "mixed"), 2)
@example(logs.random_order_log(4, 60, "production"), 2)
def test_the_future_changes_no_candidate_of_a_catalogue(scratch: Path, log: Log, seed: int) -> None:
    """A track of the catalogue is known before anybody hears it, and by nothing but the catalogue."""
    rng = np.random.default_rng(seed)
    of_all = [*TRACKS, NEW_TRACKS[1], {"track_id": "z"}, {"track_id": "zz", "artist": "A"}]
    if log.clock == "time":
        cutoff: Any = cutoff_of(log, rng)
        span = Span(ms(cutoff), ms(cutoff + timedelta(days=5)))
        after = other_future(log, cutoff, rng)
    else:
        cutoff = int(rng.integers(1, len(log.plays)))
        span = Span(cutoff, cutoff + 60)
        after = another_future(log, cutoff, rng)
    one, _ = written(log, scratch / "before", span, WITH_CATALOGUE, tracks=of_all, audio=MEASURED)
    # a length that came with later plays, and a track that only they know
    later = [row | {"duration_ms": 99_000} if row["track_id"] == "z" else row for row in of_all]
    other, facts = written(
        after, scratch / "after", span, WITH_CATALOGUE,
        tracks=[*later, NEW_TRACKS[0]], users=[*USERS, *NEW_USERS], audio=MEASURED,
    )  # fmt: skip
    assert_same_knowledge(one, other)
    told = named(other)
    measured = pl.read_parquet(other / "audio.parquet")
    assert_frame_equal(measured, pl.read_parquet(one / "audio.parquet"))
    assert measured["track"].to_list() == list(range(facts["catalogue"]))
    assert {"t0", "t2b", "z", "zz"} <= set(told["tracks"]["track_id"])
    assert "a" not in set(told["tracks"]["track_id"])
    users = set(told["users"]["user_id"])
    starts = ms if log.clock == "time" else int
    first = "started_at" if log.clock == "time" else "position"
    wanted = {
        (row["user_id"], row["track_id"]) for row in after.plays
        if span.cutoff <= starts(row[first]) < span.end and row["user_id"] in users
        and row["track_id"] in ("t2b", "z")
    }  # fmt: skip
    relevant = told["relevant"].filter(pl.col("track").is_in(["t2b", "z"]))
    assert set(relevant.select("user", "track").rows()) == wanted
    assert not relevant["heard"].any()


def test_only_content_finds_what_nobody_heard_and_others_find_the_same(tmp_path: Path) -> None:
    log = logs.random_log(8, 60)
    cutoff = BASE + timedelta(days=60)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=5)))
    tracks = [*TRACKS, {"track_id": "t2b", "artist": "a", "genres": ["g2"]}, {"track_id": "z"}]
    plain = named(written(log, tmp_path / "plain", span, tracks=tracks)[0])
    place, facts = written(
        log, tmp_path / "with", span, WITH_CATALOGUE, tracks=tracks, audio=MEASURED[:2]
    )
    told = named(place)
    assert facts["catalogue"] == plain["tracks"].height + 1
    unheard = told["candidates"].filter(pl.col("track") == "t2b")
    assert unheard.height == 3
    assert unheard["content_rank"].null_count() == 0
    assert not unheard["heard"].any()
    others = CONFIG.retrieval.retrievers
    for name in others:
        assert unheard[f"{name}_score"].null_count() == unheard[f"{name}_rank"].null_count() == 3
    scores = ["user", "track", *(f"{name}_score" for name in others)]
    assert_frame_equal(
        told["candidates"].filter(pl.col("track") != "t2b").select(scores).sort("user", "track"),
        plain["candidates"].select(scores).sort("user", "track"),
        check_exact=True,
    )


@modest
@given(ordered, seeds)
@example(logs.random_order_log(4, 60, "production"), 2)
@example(logs.random_order_log(5, 60, "competition"), 3)
def test_later_rows_change_no_candidate_without_a_clock(scratch: Path, log: Log, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cutoff = int(rng.integers(1, len(log.plays)))
    span = Span(cutoff, cutoff + 6)
    before, _ = written(log, scratch / "before", span)
    after, _ = written(
        another_future(log, cutoff, rng), scratch / "after", span,
        tracks=[*TRACKS, *NEW_TRACKS], users=[*USERS, *NEW_USERS],
    )  # fmt: skip
    assert_same_knowledge(before, after)


def given_tag(moment: datetime, user: str, track: str, tag: str) -> Row:
    return {"user_id": user, "track_id": track, "tag": tag, "tagged_at": moment,
            "file": "tags", "position": 0}  # fmt: skip


def test_tags_of_the_future_change_no_candidate(tmp_path: Path) -> None:
    """Given at the cutoff or after it, edited, taken back, or of tracks and by users yet to come."""
    config = with_retrieval((*CONFIG.retrieval.retrievers, "tags"))
    log, rng = logs.random_log(8, 60), np.random.default_rng(5)
    cutoff = BASE + timedelta(days=4)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=9)))

    def some(start: datetime, minutes: list[int], users: list[str], tracks: list[str]) -> list[Row]:
        return [
            given_tag(
                start + int(rng.choice(minutes)) * MINUTE,
                str(rng.choice(users)), str(rng.choice(tracks)), str(rng.choice(["a", "k", "x"])),
            )
            for _ in range(12)
        ]  # fmt: skip

    past = some(BASE, [0, 60, 5_759], ["u0", "u1"], ["t0", "t1", "t2", "t3", "t4"])
    later = some(cutoff, [0, 1, 9_000], ["u0", "u2"], ["t0", "t1", "t2"])
    others = some(cutoff, [0, 7, 800], ["u0", "a", "z"], ["t0", "t3", "a", "t2b", "z"])
    renamed = [{**row, "tag": f"a{row['tag']}"} for row in [*later[:6], *others]]
    before, _ = written(log, tmp_path / "before", span, config, tags=[*past, *later])
    after, _ = written(
        other_future(log, cutoff, rng), tmp_path / "after", span, config,
        tracks=[*TRACKS, *NEW_TRACKS], users=[*USERS, *NEW_USERS], tags=[*renamed, *past],
    )  # fmt: skip
    assert named(before)["candidates"]["tags_score"].count() > 5
    assert_same_knowledge(before, after)
    own = cutoff - timedelta(milliseconds=1)
    more = [*past, *later, given_tag(own, "u0", "t0", "rare")]
    other, _ = written(log, tmp_path / "other", span, config, tags=more)
    with pytest.raises(AssertionError):
        assert_same_knowledge(before, other)


def test_the_past_does_change_candidates(tmp_path: Path) -> None:
    """The comparison above can fail: one more play before the cutoff is seen in all of it."""
    log = logs.random_log(4, 40)
    cutoff = max(row["started_at"] for row in log.plays).replace(second=0, microsecond=0) + MINUTE
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=5)))
    before, _ = written(log, tmp_path / "before", span)
    assert_same_knowledge(before, before)
    one_more = play((cutoff - BASE) / MINUTE - 0.5, 5, track_id="t4", user_id="u2", position=99)
    after, _ = written(log.with_plays([*log.plays, one_more]), tmp_path / "after", span)
    one, other = named(before), named(after)
    for name in ("candidates", "users", "tracks"):
        assert not one[name].equals(other[name])
    with pytest.raises(AssertionError):
        assert_same_knowledge(before, after)


def test_a_play_counts_from_its_start_and_its_outcome_from_its_end(tmp_path: Path) -> None:
    """At the cutoff itself a play is in the window; a label or an end at the cutoff is known."""
    cutoff = BASE + timedelta(minutes=10)
    log = Log(
        [
            play(7, 180, skipped=True),  # ends at the cutoff
            play(9, 61, skipped=True, track_id="t1"),  # a second later
            play(10, 60, track_id="t2"),  # starts at it
        ],
        [],
        logs.random_log(0, 1).settings,
        "time",
    )
    place, facts = written(log, tmp_path, Span(ms(cutoff), ms(cutoff) + 1))
    told = named(place)
    assert set(told["tracks"]["track_id"]) == {"t0", "t1"}
    assert told["users"]["user_plays"].to_list() == pytest.approx([math.log1p(2)])
    assert told["users"]["previous_completed"].to_list() == [0.0]
    known = dict(told["tracks"].select("track_id", "track_completion_rate").iter_rows())
    assert known["t0"] < known["t1"]  # the second outcome is not known: a rate of everybody's
    assert facts["played_pairs"] == 1  # of a track that nobody could know
    assert facts["reachable_pairs"] == 0


# One declaration serves a play, a probe and a candidate.


@modest
@given(st.one_of(timed, ordered), seeds)
@example(logs.random_log(4, 60, "repeat", "mixed"), 2)
@example(logs.random_order_log(4, 60), 5)
def test_a_pair_has_the_features_of_a_probe(scratch: Path, log: Log, seed: int) -> None:
    rng = np.random.default_rng(seed)
    history = logs.write(log, scratch)
    at = ms(cutoff_of(log, rng)) if log.clock == "time" else int(rng.integers(0, len(log.plays) + 2))
    users, tracks = (rng.permutation(size).astype(np.int32) for size in (3, 5))  # numbers of sides
    pairs = (
        rng.integers(0, 3, 30).astype(np.int32),
        rng.integers(0, 5, 30).astype(np.int32),
    )  # places in them
    with logs.warehouse(scratch) as house:
        sides = Sides.read(history.users, history.tracks, house)
        events = moments.read(history.plays, sides, history.timezone, house)
        found = featurize.probe_pairs(history, sides, events, users, tracks, pairs, at, house, 2)
        together = pl.concat(
            [found.users[pairs[0]], found.tracks[pairs[1]], found.pairs], how="horizontal"
        )
        ids = pl.DataFrame(
            {
                "user_id": [f"u{users[place]}" for place in pairs[0]],
                "track_id": [f"t{tracks[place]}" for place in pairs[1]],
            }
        )
        probes = moments.starting(ids, at, log.clock)
        probed = featurize.probe(history, probes, together.columns, house)
    texts = pl.col(pl.Categorical).cast(pl.String)
    assert_frame_equal(together.with_columns(texts), probed.with_columns(texts), check_exact=True)


@pytest.mark.parametrize("log", [logs.random_log(3, 40, "repeat"), logs.random_order_log(1, 40)])
def test_candidates_have_every_feature_that_needs_no_context(tmp_path: Path, log: Log) -> None:
    declarations = {
        need: {each.name for each in declared(log.clock) if each.needs == need}
        for need in ("user", "track", "pair")
    }
    end = ms(BASE + timedelta(days=90)) if log.clock == "time" else 40
    place, _ = written(log, tmp_path, Span(end, end))
    for name, need in (("users", "user"), ("tracks", "track"), ("candidates", "pair")):
        have = set(pl.read_parquet_schema(place / f"{name}.parquet"))
        assert declarations[need] <= have
        assert not have & {other for key in declarations if key != need for other in declarations[key]}
    features = {column.name: column.category for column in candidates.columns(place, log.clock)}
    own = {f"{name}_{what}" for name in CONFIG.retrieval.retrievers for what in ("score", "rank")}
    expected = own.union(*declarations.values())
    assert expected <= features.keys()
    for name in features.keys() - expected:  # what else retrievers say
        assert name.startswith(tuple(f"{each}_" for each in CONFIG.retrieval.retrievers))
    assert {name for name, category in features.items() if category} == {
        each.name for each in declared(log.clock) if each.category and each.needs != "context"
    }


# Against a slow reference.


@modest
@given(st.one_of(timed, ordered), seeds, st.integers(1, 12))
@example(logs.random_log(4, 60, "completed", "mixed"), 2, 6)
@example(logs.random_order_log(4, 60), 2, 3)
def test_labels_by_a_slow_reference(scratch: Path, log: Log, seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    if log.clock == "time":
        cutoff = ms(cutoff_of(log, rng))
        span = Span(cutoff, cutoff + int(rng.choice([0, 1, 60, 3_000])) * 60_000)
        starts = [(ms(row["started_at"]), row["user_id"], row["track_id"]) for row in log.plays]
    else:
        cutoff = int(rng.integers(1, len(log.plays)))
        span = Span(cutoff, cutoff + int(rng.integers(0, 9)))
        starts = [(row["position"], row["user_id"], row["track_id"]) for row in log.plays]
    heard = {(user, track) for start, user, track in starts if start < span.cutoff}
    users, tracks = {user for user, _ in heard}, {track for _, track in heard}
    played = {(user, track) for start, user, track in starts if span.cutoff <= start < span.end}
    reachable = {(user, track) for user, track in played if user in users and track in tracks}

    config = with_retrieval(candidates=most)
    place, facts = written(log, scratch, span, config)
    told = named(place)
    assert told["users"]["user_id"].to_list() == sorted(users)
    assert told["tracks"]["track_id"].to_list() == sorted(tracks)
    assert sorted(told["heard"].rows()) == sorted(heard)
    assert sorted(told["relevant"].rows()) == sorted((*pair, pair in heard) for pair in reachable)
    assert facts == {
        "cutoff": span.cutoff, "end": span.end, "candidates": told["candidates"].height,
        "users": len(users), "catalogue": len(tracks), "played_pairs": len(played),
        "reachable_pairs": len(reachable),
    }  # fmt: skip
    found = told["candidates"].select("user", "track", "heard", "target").rows()
    assert len({pair[:2] for pair in found}) == len(found)
    for user, track, was_heard, target in found:
        assert was_heard == ((user, track) in heard)
        assert target == (((user, track) in played) if span.end > span.cutoff else None)
    sizes, own = Counter(user for user, *_ in found), Counter(user for user, _, yes, _ in found if yes)
    for user in users:
        mine = sum(who == user for who, _ in heard)
        assert own[user] == min(mine, most // 2)  # again alone brings them all
        assert sizes[user] - own[user] <= min(len(tracks) - mine, most - own[user])
        assert sizes[user] <= most


def with_retrieval(retrievers: tuple[RetrieverName, ...] = (), **changes: Any) -> Config:
    """CONFIG with other settings of retrieval."""
    changes |= {"retrievers": retrievers} if retrievers else {}
    return CONFIG.model_copy(update={"retrieval": CONFIG.retrieval.model_copy(update=changes)})


def test_training_takes_the_same_candidates_of_fewer_users(tmp_path: Path) -> None:
    """Of users who played in the window, drawn by the seed; only they are judged."""
    log = logs.random_log(8, 120)
    cutoff = BASE + timedelta(days=4)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=30)))
    whole = named(written(log, tmp_path / "whole", span)[0])
    assert whole["relevant"]["user"].n_unique() == 3
    everyone = set()
    for seed in range(6):
        models = CONFIG.models.model_copy(update={"seed": seed})
        config = with_retrieval(("popular", "again", "covisit")).model_copy(update={"models": models})
        place, facts = written(log, tmp_path / f"part{seed}", span, config, most_users=1)
        again, _ = written(log, tmp_path / f"again{seed}", span, config, most_users=1)
        part = named(place)
        assert_frame_equal(part["candidates"], named(again)["candidates"])
        (drawn,) = part["candidates"]["user"].unique()
        assert facts["users"] == 1
        # what others played, who were not asked, says nothing; what they have heard does
        assert set(part["relevant"]["user"]) == {drawn}
        assert_frame_equal(part["heard"], whole["heard"])
        everyone.add(drawn)
    assert len(everyone) > 1
    drawn_two = named(written(log, tmp_path / "own", span, most_users=2)[0])["candidates"]
    theirs = whole["candidates"].filter(pl.col("user").is_in(drawn_two["user"].implode()))
    assert drawn_two["user"].n_unique() == 2
    assert_frame_equal(drawn_two, theirs, check_exact=True)


# Features lie beside the right pair.


def test_each_candidate_has_its_own_users_and_tracks_features(tmp_path: Path) -> None:
    log = logs.random_log(8, 60)
    cutoff = max(row["started_at"] for row in log.plays) - timedelta(days=2)
    cutoff = cutoff.replace(second=0, microsecond=0)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=9)))
    place, _ = written(log, tmp_path, span, with_retrieval(candidates=30))
    names = ["track_year", "user_age", "pair_plays", "user_plays", "track_plays", "again_rank"]
    rows = candidates.rows(place, names)
    assert rows.columns == [*candidates.KEYS, *names]
    past = [row for row in log.plays if row["started_at"] < cutoff]
    by_user, by_track = Counter(row["user_id"] for row in past), Counter(row["track_id"] for row in past)
    by_pair = Counter((row["user_id"], row["track_id"]) for row in past)
    age = {row["user_id"]: row.get("age") for row in USERS}
    year = {row["track_id"]: row.get("year") for row in TRACKS}
    table = named(place)["candidates"].select("user", "track")
    assert rows.height == table.height > 10
    assert table["user"].n_unique() > 1
    for (user, track), row in zip(table.rows(), rows.iter_rows(named=True), strict=True):
        assert row["user_age"] == age[user]
        assert row["track_year"] == year[track]
        assert row["pair_plays"] == pytest.approx(math.log1p(by_pair[user, track]), abs=1e-6)
        assert row["user_plays"] == pytest.approx(math.log1p(by_user[user]), abs=1e-6)
        assert row["track_plays"] == pytest.approx(math.log1p(by_track[track]), abs=1e-6)
        assert (row["again_rank"] is not None) == row["heard"]


# Bad input.

ODD = ["comma, \"quote\" and 'quote'", "new\nline\r\n\ttab", "x" * 10_240, "\u00e4\U0001f3b5 ", ";--"]


def test_ids_of_any_characters(tmp_path: Path) -> None:
    """Commas, quotes, newlines, 10 KB: the same candidates as under plain names in the same order."""
    log = logs.random_log(8, 60)
    cutoff = BASE + timedelta(days=4)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=30)))
    of = {
        **{f"t{place}": name for place, name in enumerate(sorted(ODD))},
        **{f"u{place}": name for place, name in enumerate(sorted(ODD)[:3])},
    }
    renamed = [{**row, "user_id": of[row["user_id"]], "track_id": of[row["track_id"]]}
               for row in log.plays]  # fmt: skip
    plain, _ = written(log, tmp_path / "plain", span)
    odd, _ = written(
        log.with_plays(renamed), tmp_path / "odd", span,
        tracks=[{**row, "track_id": of[row["track_id"]]} for row in TRACKS],
        users=[{**row, "user_id": of[row["user_id"]]} for row in USERS],
    )  # fmt: skip
    for name in ("candidates", "heard", "relevant"):
        assert_frame_equal(
            pl.read_parquet(plain / f"{name}.parquet"), pl.read_parquet(odd / f"{name}.parquet")
        )
    for side in ("user", "track"):
        ids, others = (
            pl.read_parquet(place / f"{side}s.parquet")[f"{side}_id"].to_list() for place in (plain, odd)
        )
        assert others == [of[each] for each in ids]


@pytest.mark.parametrize(
    "retrievers",
    [("popular",), ("again",), ("covisit",), ("item_knn",), ("als",), ("linear",), ("tags",), None],
)
@pytest.mark.parametrize("most", [1, 2, 200])
def test_one_play_of_one_track(
    tmp_path: Path, retrievers: tuple[RetrieverName, ...] | None, most: int
) -> None:
    """A catalogue with one track, a user with one play: at most their own track, or nothing."""
    config = with_retrieval(retrievers or CONFIG.retrieval.retrievers, candidates=most)
    log = Log([play(0, 60)], [], logs.random_log(0, 1).settings, "time")
    span = Span(ms(BASE + MINUTE), ms(BASE + 2 * MINUTE))
    place, facts = written(log, tmp_path, span, config, tracks=[{"track_id": "t0"}])
    found = candidates.rows(place, [column.name for column in candidates.columns(place, "time")])
    assert found.select("user", "track", "heard", "target").rows() in (
        [],
        [(0, 0, True, False)],
    )
    assert found.height == 0 or most > 1
    assert facts["reachable_pairs"] == facts["played_pairs"] == 0


def test_nobody_played_in_the_window(tmp_path: Path) -> None:
    """Training draws no user then, and still writes whole tables."""
    log = logs.random_log(8, 30)
    cutoff = BASE + timedelta(days=60)
    span = Span(ms(cutoff), ms(cutoff + timedelta(days=1)))
    place, facts = written(log, tmp_path, span, most_users=10)
    assert facts["users"] == facts["candidates"] == 0
    names = [column.name for column in candidates.columns(place, "time")]
    empty = candidates.rows(place, names)
    assert empty.height == 0
    full, _ = written(log, tmp_path, span)
    assert candidates.rows(full, names).schema == empty.schema
    assert candidates.rows(full, names)["target"].any() is False


def test_users_without_a_play_get_what_is_popular_where_they_are(tmp_path: Path) -> None:
    """And change nothing for the others; those who are not named get nothing."""
    log = logs.random_log(8, 60)
    cutoff = ms(BASE + timedelta(days=60))
    users = [*USERS, {"user_id": "a0", "country": "SE"}, {"user_id": "zz"}]
    names = ("popular", "again", "covisit", "item_knn")
    config = CONFIG.model_copy(update={"retrieval": Retrieval(retrievers=names, candidates=20)})
    span = Span(cutoff, cutoff)
    without = named(written(log, tmp_path / "one", span, config, users=users)[0])
    place, facts = written(log, tmp_path / "two", span, config, silent=("a0",), users=users)
    found = named(place)
    assert facts["users"] == without["users"].height + 1
    new = found["candidates"].filter(pl.col("user") == "a0")
    assert new.height == 5  # all tracks, as each was played by somebody
    assert not new["heard"].any()
    assert new["popular_rank"].to_list() == [1, 2, 3, 4, 5]
    assert new.select("again_rank", "covisit_rank", "item_knn_rank").null_count().row(0) == (5, 5, 5)
    assert "zz" not in found["users"]["user_id"]
    others = found["candidates"].filter(pl.col("user") != "a0")
    assert_frame_equal(others, without["candidates"], check_exact=True)
    assert candidates.rows(place, ["user_plays", "popular_score"]).null_count().row(0)[-1] == 0


@pytest.mark.parametrize("clock", ["time", "order"])
def test_tracks_and_users_without_any_metadata(tmp_path: Path, clock: str) -> None:
    log = logs.random_log(8, 60) if clock == "time" else logs.random_order_log(8, 60)
    cutoff = ms(BASE + timedelta(days=4)) if clock == "time" else 40
    span = Span(cutoff, cutoff + (30 * 86_400_000 if clock == "time" else 20))
    place, _ = written(
        log, tmp_path, span,
        tracks=[{"track_id": row["track_id"]} for row in TRACKS],
        users=[{"user_id": row["user_id"]} for row in USERS],
    )  # fmt: skip
    names = {column.name for column in candidates.columns(place, clock)}
    assert {"user_age", "track_year", "artist_plays", "user_genre_share"}.isdisjoint(names)
    assert {"user_plays", "track_plays", "popular_score"} <= names
    assert candidates.rows(place, sorted(names)).height
