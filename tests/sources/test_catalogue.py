"""Catalogues: three layouts, united genres, what is refused, and what they change of the source."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import tables
from schemas.config import Config, Labels, Store
from tasks import labels
from tasks.ingest import ingest
from tasks.warehouse import Warehouse
from tests.sources.staged import NOW, Frames, lines, refused

NOON = datetime(2020, 5, 1, 12, tzinfo=UTC)
ID = "6f807x0ima9a1j3VPbc7VN"
SONGS = (
    "track_id,track_name,track_artist,track_popularity,track_album_name,track_album_release_date,"
    "playlist_genre,playlist_subgenre,danceability,energy,key,loudness,mode,speechiness,acousticness,"
    "instrumentalness,liveness,valence,tempo,duration_ms\n"
)
SOUND = ".7,.9,6,-2.6,1,.06,.1,0,.07,.5,122,194754"
DATASET = (
    "track,artist,uri,danceability,energy,key,loudness,mode,speechiness,acousticness,instrumentalness,"
    "liveness,valence,tempo,duration_ms,time_signature,chorus_hit,sections,target,decade\n"
)


def written(folder: Path, **files: str) -> Path:
    """A folder of CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def heard(place: Path, *rows: tuple[str, str, int]) -> Path:
    """Scrobbles of (artist, title, ms_played), five minutes apart."""
    lines = ["listened_at,artist_name,track_name,ms_played"]
    for number, (artist, title, length) in enumerate(rows):
        lines.append(f"{(NOON + timedelta(minutes=5 * number)).isoformat()},{artist},{title},{length}")
    (place / "listens.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place / "listens.csv"


def configured(place: Path, source: Path, *paths: Path, share: float = 0.05) -> Config:
    return Config.model_validate(
        {
            "source": {"kind": "scrobbles", "path": source, "max_refused_share": share},
            "catalogue": {"path": list(paths)},
            "store": {"path": place / "store"},
        }
    )


def ingested(place: Path, config: Config) -> tuple[Frames, dict[str, Any], Path]:
    folder = Path(tempfile.mkdtemp(dir=place))
    facts = ingest(config, NOW, folder)
    return {each.stem: pl.read_parquet(each) for each in folder.glob("*.parquet")}, facts, folder


def by_name(frames: Frames) -> dict[str, dict[str, Any]]:
    """Tracks with what is measured of them, by title."""
    both = frames["tracks"].join(
        frames["audio"].with_columns(there=True).rename({"duration_ms": "length"}),
        on="track_id", how="left",
    )  # fmt: skip
    return {row["name"]: row for row in both.iter_rows(named=True)}


def test_three_layouts_make_tracks_of_the_same_ids(tmp_path: Path) -> None:
    """What the source has is completed, what nobody heard appended; genres of all records are united."""
    source = heard(tmp_path, ("Björk", "Jóga", 60_000), ("Nobody", "Here", 60_000))
    folder = written(
        tmp_path / "catalogue",
        songs=SONGS
        + f"{ID},jóga,BJÖRK,99,Homogenic,1997-09-22,pop,Art Pop,{SOUND}\n"
        + f"{ID},jóga,BJÖRK,99,Homogenic,1997-09-22,r&b,art pop,{SOUND}\n"
        + f"{ID},jóga,BJÖRK,99,Homogenic,1997-09-22,pop,dance pop,{SOUND}\n"
        + f"{ID[::-1]},Unravel,BJÖRK,99,Homogenic,0000,pop,art pop,{SOUND}\n",
        dataset=DATASET
        + "Rez,Underworld,spotify:track:abc,.5,.8,-1,-7,0,0,0,.8,.1,.3,140,590000,4,30,9,1,1990\n",
        other="artists,name,id,genres,year\n"
        + "\"['Orbital', 'Kirk H.']\",Belfast,not-an-id,\"['techno', 'ambient']\",1991\n",
        genres="genres,artists\n[],Nobody\n"
        + '"idm, ""wonky techno"", techno",underworld\nicelandic,Björk\n',
    )  # fmt: skip
    frames, facts, _ = ingested(tmp_path, configured(tmp_path, source, folder))
    tracks = by_name(frames)
    assert set(tracks) == {"Jóga", "Here", "Unravel", "Rez", "Belfast"}
    joga = tracks["Jóga"]
    assert (joga["artist"], joga["album"], joga["year"], joga["uri"]) == (
        "Björk", "Homogenic", 1997, f"spotify:track:{ID}",
    )  # fmt: skip
    # broad ones first, the more frequent before; then the artist's
    assert joga["genres"] == ["pop", "r&b", "art pop", "dance pop", "icelandic"]
    assert joga["duration_ms"] is None
    assert (joga["length"], joga["energy"], joga["tempo"]) == (194_754, 0.9, 122.0)
    assert tracks["Here"]["there"] is None
    assert tracks["Here"]["genres"] is None
    assert tracks["Unravel"]["artist"] == "Björk"  # as the source spells it
    assert tracks["Unravel"]["year"] is None
    rez, belfast = tracks["Rez"], tracks["Belfast"]
    assert (rez["uri"], rez["key"], rez["time_signature"]) == ("spotify:track:abc", -1.0, 4.0)
    assert rez["genres"] == ["idm", "wonky techno", "techno"]
    assert (belfast["artist"], belfast["uri"], belfast["year"]) == ("Orbital", None, 1991)
    assert belfast["genres"] == ["techno", "ambient"]
    assert belfast["energy"] is None
    assert belfast["there"]
    assert facts["catalogue"]["tracks"] == frames["audio"].height == 4
    assert facts["catalogue"]["unheard"] == 3
    assert facts["read"]["catalogue"] == 6
    assert facts["rows"]["audio"] == 4
    assert facts["catalogue"]["files"]["catalogue/songs.csv"]["records"] == 4
    assert frames["audio"].schema == pl.Schema(tables.columns(tables.Audio))
    assert frames["tracks"].schema == pl.Schema(tables.columns(tables.Tracks))


def test_popularity_is_not_read(tmp_path: Path) -> None:
    """It is from the time of the crawl: of two catalogues that differ in it alone, nothing differs."""
    source = heard(tmp_path, ("A", "a", 60_000))
    made = []
    for popularity in (0, 99):
        row = f"{ID},x,B,{popularity},Album,2001-01-01,pop,art pop,{SOUND}\n"
        folder = written(tmp_path / str(popularity), songs=SONGS + row)
        frames, _, _ = ingested(tmp_path, configured(tmp_path, source, folder))
        made.append(frames)
    for name in ("tracks", "audio"):
        assert made[0][name].equals(made[1][name])


def test_the_source_s_tracks_keep_their_ids_and_their_own_metadata(tmp_path: Path) -> None:
    (tmp_path / "listens.csv").write_text(
        "listened_at,artist_name,track_name,release_name,track_id,duration_ms\n"
        "1588334400,A,a,Own album,own-1,200000\n1588334700,a,A,,own-2,\n1588335000,,,,own-3,\n",
        encoding="utf-8",
    )
    folder = written(tmp_path / "c", songs=SONGS + f"{ID},a,A,1,Other,2001,pop,art pop,{SOUND}\n")
    config = configured(tmp_path, tmp_path / "listens.csv", folder, share=0.9)
    frames, facts, _ = ingested(tmp_path, config)
    tracks = frames["tracks"].sort("track_id")
    assert tracks["track_id"].to_list() == ["own-1", "own-2", "own-3"]
    assert tracks["album"].to_list() == ["Own album", "Other", None]
    assert tracks["duration_ms"].to_list() == [200_000, None, None]
    assert tracks["year"].to_list() == [2001, 2001, None]
    assert sorted(frames["audio"]["track_id"]) == ["own-1", "own-2"]
    assert facts["catalogue"]["unheard"] == 0


def test_labels_are_the_same_with_and_without(tmp_path: Path) -> None:
    """A length from the catalogue would say of a short play that it was not heard out."""
    source = heard(
        tmp_path, ("A", "a", 40_000), ("A", "a", 35_000), ("A", "a", 90_000), ("B", "b", 31_000)
    )
    folder = written(tmp_path / "c", songs=SONGS + f"{ID},a,A,1,Other,2001,pop,art pop,{SOUND}\n")
    told = []
    for paths in ((), (folder,)):
        frames, facts, place = ingested(tmp_path, configured(tmp_path, source, *paths))
        assert ("audio" in frames) == bool(paths) == bool(facts["catalogue"])
        with Warehouse(Store(path=tmp_path / "store")) as house:
            labels.write(
                place / "plays.parquet", place / "tracks.parquet", "time", Labels(), house, place
            )
        told.append((frames["plays"], pl.read_parquet(place / "completed.parquet")))
    assert told[0][0].equals(told[1][0])
    assert told[0][1].equals(told[1][1])
    assert told[0][1]["target"].to_list() == [None, True, True, None]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (f"{ID},,A,1,Al,2001,pop,p,{SOUND}", "title", "title: missing"),
        (f"{ID},a, ,1,Al,2001,pop,p,{SOUND}", "artist", "artist: missing"),
        (f"{ID},a,A,1,Al,2001,pop,p,{SOUND.replace('.9', 'high')}", "energy", "energy: not in 0..1"),
        (f"{ID},a,A,1,Al,2001,pop,p,{SOUND.replace('122', '1220')}", "tempo", "tempo: not in 0..300"),
        (f"{ID},a,A,1,Al,2001,pop,p,{SOUND.replace('194754', 'x')}", "duration_ms",
         "duration_ms: not in 1..86400000"),
        (f"{ID},a,A,1,Al,20th,pop,p,{SOUND}", "year", "year: not in 1900..2100"),
        (f"{ID},a,A,1", "title", "title: missing"),
    ],
)  # fmt: skip
def test_bad_records_are_refused_with_their_place(
    tmp_path: Path, row: str, column: str, reason: str
) -> None:
    source = heard(tmp_path, ("A", "a", 60_000))
    good = f"{ID},good,G,1,Al,2001,pop,p,{SOUND}\n"
    folder = written(tmp_path / "c", songs=f"{SONGS}{good}{row}\n{good}")
    frames, facts, _ = ingested(tmp_path, configured(tmp_path, source, folder, share=0.5))
    assert frames["quarantine"].rows() == [("catalogue", "c/songs.csv", 1, column, reason)]
    assert facts["refused"] == [{"table": "catalogue", "column": column, "reason": reason, "rows": 1}]
    assert frames["audio"].height == 1
    with refused("1 of 3 records of the catalogue", reason, "record 1", "source.max_refused_share"):
        ingested(tmp_path, configured(tmp_path, source, folder, share=0.3))


def test_files_that_are_no_catalogue_are_refused(tmp_path: Path) -> None:
    source = heard(tmp_path, ("A", "a", 60_000))

    def read(*paths: Path) -> None:
        ingested(tmp_path, configured(tmp_path, source, *paths))

    with refused("catalogue.path is not there", "nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with refused("no catalogue found", ".csv, .csv.gz, .parquet", "catalogue.path"):
        read(tmp_path / "empty")
    for text, missing in (("name,energy\nx,.5\n", "artist"), ("artist,energy\nx,.5\n", "title")):
        folder = written(tmp_path / missing, tracks=text)
        with refused("columns are missing", "tracks.csv", f"for {missing} one of", "leave the file out"):
            read(folder)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with refused("not readable as Parquet", "broken.parquet"):
        read(tmp_path / "broken.parquet")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("name,artist\nJóga,Björk\n".encode("latin-1"))
    with refused("not UTF-8", "latin.csv"):
        read(latin)


def test_parquet_and_lists_in_it(tmp_path: Path) -> None:
    source = heard(tmp_path, ("A", "a", 60_000))
    path = tmp_path / "tracks.parquet"
    pl.DataFrame(
        {"Name": ["b", "c"], "Artists": [["B", "A"], ["C"]], "genres": [["techno", "idm"], []],
         "energy": [0.5, None], "release_date": [datetime(1999, 5, 1).date(), None]}
    ).write_parquet(path)  # fmt: skip
    frames, facts, _ = ingested(tmp_path, configured(tmp_path, source, path))
    tracks = by_name(frames)
    told = [tracks["b"][name] for name in ("artist", "genres", "year", "energy")]
    assert told == ["B", ["techno", "idm"], 1999, 0.5]
    assert tracks["c"]["genres"] is None
    assert facts["catalogue"]["files"] == {"tracks.parquet": {"records": 2}}


def test_the_catalogue_names_the_work(tmp_path: Path) -> None:
    """Its files' digests and names are among the inputs; where it lies does not count."""
    source = heard(tmp_path, ("A", "a", 60_000))
    here, there = (
        written(tmp_path / place / "c", a="name,artist\nx,X\n", b="name,artist\ny,Y\n")
        for place in ("here", "there")
    )
    without = lines(configured(tmp_path, source))
    named = lines(configured(tmp_path, source, here))
    assert named == lines(configured(tmp_path, source, there))
    added = sorted(line.split(" ")[1] for line in named if line not in without)
    assert added == ["catalogue/0/c/a.csv", "catalogue/0/c/b.csv"]
    (there / "a.csv").write_text("name,artist\nx,Z\n", encoding="utf-8")
    assert named != lines(configured(tmp_path, source, there))


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.data())
def test_each_title_of_an_artist_is_one_track(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    """However often and in whichever spelling; the source's tracks keep theirs."""
    rows = [(artist.strip() or "x", title.strip() or "y") for artist, title in rows]
    played = data.draw(st.lists(st.sampled_from(rows), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pl.DataFrame(
            {"artist_name": [row[0] for row in played], "track_name": [row[1] for row in played],
             "listened_at": [NOON + timedelta(minutes=at) for at in range(len(played))]}
        ).write_parquet(place / "listens.parquet")  # fmt: skip
        pl.DataFrame(
            {"artist": [row[0].upper() for row in rows] + [row[0] for row in rows],
             "name": [f" {row[1]} " for row in rows] + [row[1] for row in rows],
             "energy": [0.5] * 2 * len(rows)}
        ).write_parquet(place / "tracks.parquet")  # fmt: skip
        config = configured(place, place / "listens.parquet", place / "tracks.parquet")
        frames, facts, _ = ingested(place, config)
    ids = set(frames["tracks"]["track_id"])
    own = set(frames["plays"]["track_id"])
    assert len(ids) == frames["tracks"].height
    assert own <= set(frames["audio"]["track_id"]) == ids
    assert facts["catalogue"]["unheard"] == len(ids) - len(own)


def test_real_catalogues(real_data: Path, tmp_path: Path) -> None:
    """All files of audio features beside a person's export: nothing is refused."""
    config = Config.model_validate(
        {
            "source": {"kind": "spotify_export", "path": real_data / "spotify_account"},
            "catalogue": {"path": real_data / "audio_features"},
            "store": {"path": tmp_path / "store"},
        }
    )
    frames, facts, _ = ingested(tmp_path, config)
    assert facts["read"]["catalogue"] == 73_939
    assert facts["read"]["artists"] == 28_680
    assert facts["refused"] == []
    assert facts["catalogue"]["tracks"] == 63_641
    assert facts["catalogue"]["unheard"] == 62_906
    assert frames["tracks"]["genres"].count() > 50_000
