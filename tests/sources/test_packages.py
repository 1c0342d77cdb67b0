"""Folders and archives: whose files they are, and what a hostile archive may not do."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from schemas.config import Source
from schemas.errors import InputError
from tasks.sources.packages import NESTED, _account, raw_paths, unpack

RECORDS = json.dumps([{"endTime": "2021-03-04 05:06"}])


def source(*paths: Path, megabytes: int = 100) -> Source:
    return Source(kind="spotify_export", path=paths, max_unzipped_mb=megabytes)


def zipped(path: Path, members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpacked(settings: Source, scratch: Path) -> dict[str, str]:
    """The account of each file."""
    found, _, _ = unpack(settings, scratch)
    assert all(raw.path.is_file() for raw in found)
    return {raw.file: raw.user_id for raw in found}


@pytest.mark.parametrize(
    ("inner", "account"),
    [
        ("StreamingHistory0.json", "me"),
        ("MyData/StreamingHistory0.json", "me"),
        ("Spotify Account Data/StreamingHistory0.json", "me"),
        ("Spotify Extended Streaming History/endsong_0.json", "me"),
        ("Spotify Technical Log Information/ConnectionError.json", "me"),
        ("alice/StreamingHistory0.json", "alice"),
        ("alice/MyData/StreamingHistory0.json", "alice"),
        ("alice/2021/MyData/StreamingHistory0.json", "alice"),
        ("alice.zip", "alice"),
        ("alice/my_spotify_data.zip", "alice"),
        ("MyData.zip", "me"),
        ("Jose\u0301/a.json", "José"),
    ],
)
def test_account(inner: str, account: str) -> None:
    assert _account(PurePosixPath(inner)) == account


def test_archives_beside_and_inside_of_accounts(tmp_path: Path) -> None:
    export = tmp_path / "export"
    zipped(
        export / "alice.zip",
        {"MyData/StreamingHistory0.json": RECORDS, "MyData/Read_Me_First.pdf": "%PDF"},
    )
    zipped(
        export / "bob" / "my_spotify_data.zip",
        {
            "Spotify Account Data/StreamingHistory_music_0.json": RECORDS,
            "Spotify Account Data/Userdata.json": "{}",
            "__MACOSX/Spotify Account Data/._StreamingHistory_music_0.json": "x",
            "Spotify Account Data/._StreamingHistory_music_0.json": "x",
            ".hidden.json": "x",
        },
    )
    assert unpacked(source(export), tmp_path / "scratch") == {
        "export/alice.zip/MyData/StreamingHistory0.json": "alice",
        "export/bob/my_spotify_data.zip/Spotify Account Data/StreamingHistory_music_0.json": "bob",
    }
    assert raw_paths(source(export)) == [export / "alice.zip", export / "bob" / "my_spotify_data.zip"]


def test_an_archive_as_the_source_itself(tmp_path: Path) -> None:
    one = zipped(tmp_path / "my_spotify_data.zip", {"MyData/StreamingHistory0.json": RECORDS})
    two = zipped(
        tmp_path / "all.zip", {"alice/endsong_0.json": RECORDS, "bob\\MyData\\endsong_0.json": RECORDS}
    )
    assert unpacked(source(one, two), tmp_path / "scratch") == {
        "my_spotify_data.zip/MyData/StreamingHistory0.json": "me",
        "all.zip/alice/endsong_0.json": "alice",
        "all.zip/bob/MyData/endsong_0.json": "bob",
    }


def test_archives_inside_of_archives_are_counted_and_not_unpacked(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"MyData/StreamingHistory1.json": RECORDS}).read_bytes()
    export = tmp_path / "export"
    zipped(
        export / "alice.zip",
        {
            "MyData/StreamingHistory0.json": RECORDS, "MyData/Userdata.json": "{}",
            "again.zip": inner, "deep/AGAIN.ZIP": inner, "__MACOSX/._again.zip": "x", "folder.zip/": "",
        },
    )  # fmt: skip
    zipped(export / "bob" / "data.zip", {"endsong_0.json": RECORDS, "more.zip": inner})
    found, _, unopened = unpack(source(export), tmp_path / "scratch")
    assert sorted(raw.file for raw in found) == [
        "export/alice.zip/MyData/StreamingHistory0.json", "export/bob/data.zip/endsong_0.json"
    ]  # fmt: skip
    assert +unopened == {NESTED: 3, "userdata": 1}


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    text = json.dumps([{"n": n} for n in range(300_000)])  # several blocks
    archive = zipped(tmp_path / "a.zip", {"endsong_0.json": text})
    (raw,), _, _ = unpack(source(archive), tmp_path / "scratch")
    assert raw.path.read_text() == text


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "a/../../x.json",
        "/etc/x.json",
        "C:/x.json",
        "..\\x.json",
        "a/b.json\0.png",
        "../x.pdf",
    ],
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    placeholder = "N" * len(name)  # the module would clean the name: it is put in afterwards
    archive = zipped(tmp_path / "in" / "bad.zip", {"endsong_0.json": RECORDS, placeholder: RECORDS})
    archive.write_bytes(archive.read_bytes().replace(placeholder.encode(), name.encode()))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"unsafe archive.*file: bad\.zip"):
        unpack(source(archive), tmp_path / "scratch")
    after = set(tmp_path.rglob("*")) - before
    assert all(tmp_path / "scratch" in (path, *path.parents) for path in after)


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("endsong_0.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="a member is a link"):
        unpack(source(tmp_path / "link.zip"), tmp_path / "scratch")


def test_a_bomb_stops_at_the_bound(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {f"endsong_{n}.json": b" " * 3_000_000 for n in range(4)})
    assert bomb.stat().st_size < 50_000
    with pytest.raises(
        InputError, match=r"archive holds too much.*endsong_3\.json.*more than 10 MB.*max_unzipped_mb"
    ):
        unpack(source(bomb, megabytes=10), tmp_path / "scratch")
    assert sum(path.stat().st_size for path in (tmp_path / "scratch").rglob("*.json")) <= 10_000_000
    assert len(unpacked(source(bomb, megabytes=12), tmp_path / "again")) == 4


def test_a_header_that_lies_about_the_size_gains_nothing(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"endsong_0.json": b" " * 5_000_000})
    true, claimed = struct.pack("<I", 5_000_000), struct.pack("<I", 100)
    bomb.write_bytes(bomb.read_bytes().replace(true, claimed))
    with pytest.raises(InputError):
        unpack(source(bomb, megabytes=1), tmp_path / "scratch")
    assert sum(path.stat().st_size for path in (tmp_path / "scratch").rglob("*.json")) <= 1_000_000


def test_an_encrypted_archive(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "locked.zip", {"endsong_0.json": RECORDS}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flag in the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"encrypted archive.*password"):
        unpack(source(archive), tmp_path / "scratch")


def test_not_an_archive_cut_archive_and_damaged_archive(tmp_path: Path) -> None:
    whole = zipped(
        tmp_path / "whole.zip", {"endsong_0.json": os.urandom(9_000)}, zipfile.ZIP_STORED
    ).read_bytes()
    damaged = bytearray(whole)
    damaged[2_000] ^= 255
    for name, content in {
        "text": b"hello",
        "empty": b"",
        "cut": whole[:-200],
        "damaged": bytes(damaged),
    }.items():
        (tmp_path / f"{name}.zip").write_bytes(content)
        with pytest.raises(InputError, match=rf"not a whole \.zip archive.*{name}\.zip"):
            unpack(source(tmp_path / f"{name}.zip"), tmp_path / f"scratch {name}")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("endsong_0.json", RECORDS)
        archive.writestr("endsong_0.json", "[]")
    (tmp_path / "twice.zip").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="two members of one name"):
        unpack(source(tmp_path / "twice.zip"), tmp_path / "scratch")


def test_paths_that_are_no_export(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for path, message in ((tmp_path / "none", "not there"), (tmp_path / "a.txt", "a folder or a .zip")):
        with pytest.raises(InputError, match=message):
            raw_paths(source(path))


def test_links_in_folders_are_followed_once(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "endsong_0.json"
    real.parent.mkdir()
    real.write_text(RECORDS)
    export = tmp_path / "export"
    export.mkdir()
    (export / "alice").symlink_to(real.parent)
    (export / "loop").symlink_to(export)
    assert unpacked(source(export), tmp_path / "scratch") == {"export/alice/endsong_0.json": "alice"}


def test_a_relative_path_and_an_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("exports") / "alice" / "endsong_0.json"
    file.parent.mkdir(parents=True)
    file.write_text(RECORDS)
    settings = source(Path("exports"), Path("exports/../exports/alice"))
    assert raw_paths(settings) == [file]  # as given: what is below source.path names the account
    assert unpacked(settings, tmp_path / "scratch") == {"exports/alice/endsong_0.json": "alice"}
