"""The published set: all of it is the old one or the new one, whenever who writes it is killed."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import InputError
from tasks.two_stage import playlists
from tasks.two_stage.published import FILES, exchanged, others, there

# What changes a file system, as Python's audit events tell of it.
CHANGES = {
    "open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "shutil.copyfile",
    "shutil.rmtree",
}  # fmt: skip
KILLED = 9


def files(*users: str) -> list[str]:
    return [*FILES, *(f"playlists/{playlists.name(user)}.m3u8" for user in users)]


def write(folder: Path, text: str, *users: str) -> None:
    for name in files(*users):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text} {name}", encoding="utf-8")


def publish(folder: Path, text: str, *users: str) -> None:
    with exchanged(folder) as scratch:
        write(scratch, text, *users)


def seen(folder: Path) -> dict[str, str]:
    """What who opens the set's files gets, by name."""
    paths = sorted(path for path in there(folder) if (folder / path).is_file())
    return {str(path): (folder / path).read_text(encoding="utf-8") for path in paths}


def expected(text: str, *users: str) -> dict[str, str]:
    return {name: f"{text} {name}" for name in sorted(files(*users))}


def dies(work: Callable[[], None], change: int) -> bool:
    """Whether a process doing ``work`` died, at once and for good, right before this change of files."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    left = itertools.count(-change)

    def watch(event: str, _: object) -> None:
        if event in CHANGES and next(left) == 0:
            os._exit(KILLED)

    try:
        sys.addaudithook(watch)
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


@pytest.fixture(params=["nothing", "plain files", "a set", "a set and a plain file"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An output folder: as new, as an earlier version left it, as this one does, and touched by hand."""
    folder = tmp_path / "before"
    (folder / "playlists").mkdir(parents=True)
    for mine in ("RESULTS.md", "playlists/mine.m3u8"):
        (folder / mine).write_text("of another", encoding="utf-8")
    if request.param == "plain files":
        write(folder, "old", "a", "b")
    elif request.param != "nothing":
        publish(folder, "old", "a", "b")
    if request.param == "a set and a plain file":
        shutil.copy(folder / FILES[1], folder / "copy")
        (folder / "copy").replace(folder / FILES[1])
    return folder


def test_killed_between_any_two_changes_it_is_the_old_set_or_the_new(
    before: Path, tmp_path: Path
) -> None:
    old, new = seen(before), expected("new", "b", "c")
    assert old in ({}, expected("old", "a", "b"))
    found = []
    for change in itertools.count():
        folder = tmp_path / "output"
        shutil.copytree(before, folder, symlinks=True)
        died = dies(lambda: publish(folder, "new", "b", "c"), change)  # noqa: B023 - called at once
        found.append(seen(folder))
        for text in ("third", "fourth"):  # who comes next is not hindered, and clears up
            publish(folder, text, "c")
            assert seen(folder) == expected(text, "c")
        assert len(others(folder)) == 1  # the former
        assert {path.name for path in (folder / "playlists").iterdir()} == {
            "mine.m3u8", f"{playlists.name('c')}.m3u8",
        }  # fmt: skip
        assert (folder / "RESULTS.md").read_text(encoding="utf-8") == "of another"
        shutil.rmtree(folder)
        if not died:
            break
    assert len(found) > 20
    turn = found.index(new)
    assert found == [old] * turn + [new] * (len(found) - turn)


def test_what_raises_leaves_the_old_set(tmp_path: Path) -> None:
    publish(tmp_path, "old", "a")

    def half() -> None:
        with exchanged(tmp_path) as scratch:
            write(scratch, "half", "b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert seen(tmp_path) == expected("old", "a")
    assert not others(tmp_path)


def test_the_folder_can_be_moved_and_copied(tmp_path: Path) -> None:
    publish(tmp_path / "one", "old", "a")
    (tmp_path / "one").rename(tmp_path / "two")
    assert seen(tmp_path / "two") == expected("old", "a")
    shutil.copytree(tmp_path / "two", tmp_path / "three")  # as plain files
    publish(tmp_path / "three", "new")
    assert seen(tmp_path / "three") == expected("new")
    assert seen(tmp_path / "two") == expected("old", "a")


def test_a_set_that_a_living_process_writes_stays(tmp_path: Path) -> None:
    busy, dead = (
        tmp_path / ".recommendations" / f".encore-{pid}-x" for pid in (os.getppid(), 2**22 + 1)
    )
    for each in (busy, dead):
        each.mkdir(parents=True)
    publish(tmp_path, "new")
    assert others(tmp_path) == [busy]


def test_who_has_just_found_the_set_can_still_read_all_of_it(tmp_path: Path) -> None:
    publish(tmp_path, "old", "a")
    found = (tmp_path / FILES[0]).resolve().parent
    publish(tmp_path, "new", "b")
    assert (found / FILES[1]).read_text(encoding="utf-8") == f"old {FILES[1]}"
    assert found.stat().st_mode == tmp_path.joinpath(".recommendations").stat().st_mode
    publish(tmp_path, "newer", "b")
    assert not found.exists()


def test_without_symbolic_links_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "old")

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    with pytest.raises(InputError, match=r"output\.dir"):
        publish(tmp_path, "new")
    assert seen(tmp_path) == expected("old")
