"""The world's shape against a real export, and its truth against what happened."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from schemas.config import Simulation
from schemas.errors import InputError
from tasks.simulation import scene
from tasks.simulation.catalogue import GENRES
from tasks.simulation.world import World, simulate


def plays_of(world: World) -> pl.DataFrame:
    """All plays of tracks with their listener, as a frame."""
    user = np.repeat(np.arange(len(world.first) - 1), np.diff(world.first))
    return pl.DataFrame({"user": user} | world.log._asdict()).filter(pl.col("track") >= 0)


@pytest.fixture(scope="module")
def busy() -> World:
    """Listeners as busy as the one of the real export, for as many days."""
    return simulate(Simulation(users=8, plays=8 * 29_632, tracks=80_000, days=376))


@pytest.fixture(scope="module")
def default() -> World:
    return simulate(Simulation())


def test_shape_is_that_of_the_real_export(busy: World) -> None:
    plays = (
        plays_of(busy)
        .with_columns(end=pl.col("ended") // 60_000 * 60_000)
        .with_columns(start=pl.col("end") - pl.col("ms_played"))
        .with_columns(
            heard=pl.int_range(pl.len()).over("user", "track"),
            new=(pl.col("start") - pl.col("end").shift(1).over("user")).fill_null(10**12) > 1_800_000,
            since=(pl.col("end") - pl.col("end").shift(1).over("user", "track")) / 86_400_000,
        )
    )
    lengths = plays.group_by(pl.col("new").cum_sum().alias("session")).len()["len"]
    short = (plays["ms_played"] < 30_000).cast(pl.Float64).to_numpy()
    found = {
        "repeats": (plays["heard"] > 0).mean(),
        "under 30 s": short.mean(),
        "under 5 s": (plays["ms_played"] < 5_000).mean(),
        "0 ms": (plays["ms_played"] == 0).mean(),
        "under 3 min": (plays["ms_played"] < 180_000).mean(),
        "session mean": lengths.mean(),
        "session median": lengths.median(),
        "session 90 %": lengths.quantile(0.9),
        "single": (lengths == 1).mean(),
        "same track": (plays["track"] == plays["track"].shift(1)).mean(),
        "days since, median": plays["since"].median(),
        "run of skips": np.corrcoef(short[1:], short[:-1])[0, 1],
    }
    # the real export's number, and how far off a world may be
    real = {
        "repeats": (0.772, 0.05),
        "under 30 s": (0.390, 0.05),
        "under 5 s": (0.320, 0.05),
        "0 ms": (0.096, 0.02),
        "under 3 min": (0.556, 0.06),
        "session mean": (23.1, 2.0),
        "session median": (14.0, 3.0),
        "session 90 %": (54.0, 6.0),
        "single": (0.104, 0.03),
        "same track": (0.031, 0.015),
        "days since, median": (5.8, 2.5),
        "run of skips": (0.559, 0.21),
    }
    off = {
        name: (found[name], number)
        for name, (number, by) in real.items()
        if abs(found[name] - number) > by
    }
    assert not off


def test_hours_are_those_of_the_real_export(busy: World) -> None:
    # share of plays by hour of the real export, UTC; its listener lived in central Europe
    real = np.array([
        9, 6, 2, 3, 4, 9, 34, 67, 70, 64, 48, 66, 64, 56, 52, 69, 82, 63, 68, 55, 36, 33, 24, 17,
    ]) / 1000  # fmt: skip
    country = busy.people.users["country"]
    central = np.flatnonzero(country.is_in(["AT", "DE", "SE"]).to_numpy())
    hour = plays_of(busy).filter(pl.col("user").is_in(central))["ended"] // 3_600_000 % 24
    found = np.bincount(hour, minlength=24) / len(hour)
    assert np.abs(found - real).sum() / 2 < 0.17


def test_few_tracks_get_most_plays(busy: World) -> None:
    for (_,), plays in plays_of(busy).group_by("user"):
        counts = plays["track"].value_counts()["count"].sort(descending=True)
        assert 0.35 < counts.head(len(counts) // 10).sum() / len(plays) < 0.7  # real: .515
        assert counts[0] / len(plays) < 0.05


def test_truth_is_calibrated(default: World) -> None:
    plays = plays_of(default).with_columns(done=pl.col("end") == scene.ENDS.index("trackdone"))
    tenths = plays.group_by(tenth=(pl.col("probability") * 10).cast(pl.Int64)).agg(
        pl.len(), pl.col("done").mean(), pl.col("probability").mean()
    )
    spread = (tenths["probability"] * (1 - tenths["probability"]) / tenths["len"]).sqrt()
    assert ((tenths["done"] - tenths["probability"]).abs() < 4.5 * spread).all()
    assert 0.45 < plays["done"].mean() < 0.62


def test_truth_ranks_plays_as_well_as_expected(default: World) -> None:
    plays = plays_of(default).filter(pl.col("end") <= scene.ENDS.index("backbtn"))
    done = (plays["end"] == scene.ENDS.index("trackdone")).to_numpy()
    assert 0.82 < roc_auc_score(done, plays["probability"].to_numpy()) < 0.88


def test_taste_shows_in_the_past(default: World) -> None:
    """What a listener did with a track before tells what they do now."""
    plays = (
        plays_of(default)
        .with_columns(done=(pl.col("end") == scene.ENDS.index("trackdone")).cast(pl.Float64))
        .with_columns(
            earlier=pl.int_range(pl.len()).over("user", "track"),
            rate=(pl.col("done").cum_sum() - pl.col("done")).over("user", "track"),
        )
        .filter(pl.col("earlier") >= 5)
        .with_columns(pl.col("rate") / pl.col("earlier"))
    )
    liked, disliked = plays.filter(pl.col("rate") > 0.7), plays.filter(pl.col("rate") < 0.3)
    assert liked["done"].mean() > disliked["done"].mean() + 0.15


def test_errors_before_a_play_foretell_trouble(default: World) -> None:
    plays = plays_of(default).with_columns(
        before=pl.col("connection_errors").cast(pl.Int64).shift(1).rolling_sum(5).over("user"),
        done=pl.col("end") == scene.ENDS.index("trackdone"),
    )
    calm, trouble = plays.filter(pl.col("before") == 0), plays.filter(pl.col("before") >= 2)
    assert len(trouble) > 1000
    assert trouble["done"].mean() < calm["done"].mean() - 0.1
    assert plays["playback_errors"].sum() > 100


def test_plays_of_a_listener_do_not_overlap(default: World, busy: World) -> None:
    for world in (default, busy):
        user = np.repeat(np.arange(len(world.first) - 1), np.diff(world.first))
        ended, started = world.log.ended, world.log.ended - world.log.ms_played
        same = user[1:] == user[:-1]
        assert (started[1:] >= ended[:-1])[same].all()
        assert (ended % 1000 == 0).all()
        assert started.min() >= world.start_ms
        assert ended.max() <= world.end_ms


def test_a_finished_track_was_played_for_its_length(default: World) -> None:
    plays = plays_of(default)
    length = default.music.tracks["duration_ms"].gather(plays["track"])
    done = plays["end"] == scene.ENDS.index("trackdone")
    assert (plays["ms_played"] <= length).all()
    assert ((length - plays["ms_played"]).filter(done) < 1000).all()


def test_tracks_are_named_apart_even_when_normalised() -> None:
    music = simulate(Simulation(users=1, plays=50, tracks=60_000, days=30)).music
    artist = music.artists["artist"].gather(music.tracks["artist"])
    letters = pl.all().str.normalize("NFKD").str.replace_all(r"[^\p{L}\p{N}]", "").str.to_lowercase()
    names = pl.DataFrame({"artist": artist, "title": music.tracks["title"]}).select(letters)
    assert not names.is_duplicated().any()
    assert not music.tracks["uri"].is_duplicated().any()
    titles = music.tracks["title"]
    assert titles.str.contains(",").any()
    assert titles.str.contains('"').any()
    assert not titles.str.contains(r"^\p{ASCII}*$").all()
    assert set(music.artists["genre"].unique()) == set(range(len(GENRES)))


def test_popularity_has_a_long_tail(default: World) -> None:
    plays = plays_of(default)
    counts = plays["track"].value_counts()["count"].sort(descending=True)
    assert 0.07 < counts.head(len(counts) // 100).sum() / counts.sum() < 0.2
    assert (counts == 1).mean() > 0.12
    # what is popular with one listener is so with others
    listeners = plays.group_by("track").agg(pl.col("user").n_unique())["user"]
    assert listeners.max() > 15
    assert listeners.median() <= 2


@pytest.mark.parametrize(
    "settings",
    [
        {"users": 1, "plays": 1, "tracks": 1, "days": 1},
        {"users": 5, "plays": 2, "tracks": 3, "days": 10},
        {"users": 2, "plays": 300, "tracks": 2, "days": 3, "start": date(2024, 2, 28)},
    ],
)
def test_tiny_worlds_live(settings: dict[str, object]) -> None:
    settings = Simulation.model_validate(settings)
    world = simulate(settings)
    assert len(world.log.track) <= settings.plays
    assert (world.log.track < settings.tracks).all()


def test_more_plays_than_the_days_hold_are_refused() -> None:
    with pytest.raises(InputError, match=r"simulation\.plays.*found: 1000000"):
        simulate(Simulation(users=2, plays=1_000_000, days=30))
