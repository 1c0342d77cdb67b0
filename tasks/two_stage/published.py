"""The published lists in the output folder: one set of files, which changes as a whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.store import in_use
from tasks.two_stage import playlists

FILES = ("recommendations.parquet", "recommendations.csv", "recommendations.json")
PLACE, SHOWN = ".recommendations", "now"
MINE = ".encore-{}-"  # of a process, as `in_use` knows it


@contextmanager
def exchanged(folder: Path) -> Iterator[Path]:
    """A fresh folder for the set; on leaving, what was written there is the set that ``folder`` shows.

    Each file of the set is in ``folder`` a symbolic link through ``.recommendations/now``, itself a
    link to the folder that was written. One rename of it shows the new set: who is killed at any
    moment leaves the old set or the new one. What only the old set had goes; other files stay. The
    former set is kept until the next one, for who has just opened it. When the body raises, the old
    set stays. Raises ``InputError`` where the folder cannot be written, its file system has no
    symbolic links, or the disk is full.
    """
    from tasks.report.files import relative, writing  # loads what draws figures

    with writing(folder):
        place = folder / PLACE
        place.mkdir(parents=True, exist_ok=True)
        for each in others(folder):
            if not in_use(each) or each.name.startswith(MINE.format(os.getpid())):
                _remove(each)
        made = _fresh(place)
        try:
            yield made
            old, new = there(folder), set(relative(made))
            _adopt(folder, old)
            for path in new:
                _link(folder, path)
            _show(made)
            for path in old - new:
                (folder / path).unlink()
        finally:
            if made in others(folder):
                _remove(made)


def there(folder: Path) -> set[Path]:
    """The set's files in ``folder``, relative to it; of links also those that lead nowhere."""
    names = {Path(name) for name in FILES if os.path.lexists(folder / name)}
    return names | {path.relative_to(folder) for path in playlists.there(folder)}


def others(folder: Path) -> list[Path]:
    """Where sets lie that ``folder`` does not show: the former, and what is being written or was."""
    place = folder / PLACE
    return [each for each in place.glob(".encore-*") if each.name != _target(place / SHOWN)]


def _fresh(place: Path) -> Path:
    made = Path(tempfile.mkdtemp(prefix=MINE.format(os.getpid()), dir=place))
    made.chmod(place.stat().st_mode)  # as open to others as what is made without care
    return made


def _adopt(folder: Path, paths: Iterable[Path]) -> None:
    """Make a set of what lies there, where not all of it is one: plain files of an earlier version."""
    if all(_target(folder / path) == _through(path) for path in paths):
        return
    made = _fresh(folder / PLACE)
    for path in paths:
        if (folder / path).is_file():
            (made / path).parent.mkdir(exist_ok=True)
            shutil.copy2(folder / path, made / path)
    _show(made)
    for path in paths:
        _link(folder, path)


def _show(made: Path) -> None:
    shown = made.parent / SHOWN
    if not shown.is_symlink():  # after a copy that followed links all is plain, and nothing leads here
        _remove(shown)
    _point(shown, made.name, made.parent)


def _link(folder: Path, path: Path) -> None:
    if _target(folder / path) != _through(path):
        (folder / path).parent.mkdir(exist_ok=True)
        _point(folder / path, _through(path), folder / PLACE)


def _point(link: Path, target: str, place: Path) -> None:
    """Make a link, or point it elsewhere, in one step."""
    beside = place / f"{MINE.format(os.getpid())}link"
    _remove(beside)
    beside.symlink_to(target)
    beside.replace(link)


def _through(path: Path) -> str:
    """What the link of a file of the set says: where it is, as seen from the folder it is in."""
    return str(Path(*[".."] * (len(path.parts) - 1), PLACE, SHOWN, path))


def _target(link: Path) -> str | None:
    return str(link.readlink()) if link.is_symlink() else None


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
