"""Taking a listener out of what lies in the output folder, where only Encore's own files are touched."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from tasks import parts
from tasks.forgetting.tombstones import INSTEAD
from tasks.two_stage import playlists
from tasks.two_stage.published import FILES, PLACE, exchanged, others, there

LISTENER = ("user_id", "user")  # what the columns with ids of listeners are called
# Tables with rows by listener: those of others stay.
TABLES = ("scored_samples.csv", "top_resume_playlist.csv", "mistakes.csv")
*LISTS, LINEAGE = FILES
# Reports, computed with everybody: of one listener among few, an average tells nearly as much.
REPORTS = (
    "RESULTS.md", "feature_importance.csv", "model_comparison.csv", "model_comparison.json",
    "model_metrics.json", "resume_project_summary.md", "visualization_summary.md", "submission.csv",
    "EVALUATION.md", "evaluation.json", "MONITOR.md", "monitor.html", "monitor.json", "BACKTEST.md",
    "backtest.json", "lists_comparison.csv", "recall.csv", "cohorts.csv", "importance.csv",
    "TUNING.md", "EXPLORE.md", "explore.html", "figures/dashboard.html", "lists/dashboard.html",
)  # fmt: skip
FIGURES = {
    "figures": (
        "model_comparison", "feature_importance", "explore_balance", "explore_repeats",
        "explore_long_tail", "explore_account_age", "explore_hours", "explore_sessions",
        "explore_plays_per_user", "explore_artists", "explore_missing", "explore_quarantine",
        "score_distribution", "tuning_search", "monitor_drift", "monitor_calibration", "roc",
        "precision_recall", "calibration", "confusion", "target_by_hour", "target_by_artist",
        "over_time", "platform_mix",
    ),
    "lists": (
        "ndcg", "accuracy", "recall", "coverage", "long_tail", "confusion", "importance_gain",
        "importance_shap", "cohorts", "cohort_gains", "precision_recall", "roc", "calibration",
    ),
}  # fmt: skip
# Where the report of a second command goes, and where `staged` writes before it renames.
BELOW = ("backtest", "monitor", "visualize", "evaluate-v*", ".encore-*")
PAGE = re.compile(r"listener-\d+\.html")
SEARCHED = 64 * 1024 * 1024  # bytes of a file of the person's own that are looked into


@dataclass(frozen=True)
class Cleaned:
    """What was done, as paths below the folder; no file's name holds an id."""

    rewritten: list[str]
    removed: list[str]
    left: list[str]


def holds(folder: Path, ids: Sequence[str]) -> bool:
    """Whether a published table or playlist is about one of these listeners."""
    for place in _everywhere(folder):
        if any(_rows(place / name, ids) for name in (*TABLES, *LISTS)):
            return True
        if any(path.is_file() for path in _playlists(place, ids)):
            return True
    return False


def clean(folder: Path, ids: Sequence[str], at: datetime) -> Cleaned:
    """Take their rows out of tables, remove their playlists, and reports written before ``at``.

    A report that was written later, and knows nothing of them, stays, unless it names them. Tables
    are written beside and renamed, the lists as one set. Raises ``ValueError`` where a file of
    Encore's names them still.
    """
    rewritten, removed = [], []
    for place in _places(folder):
        inner = place.relative_to(folder)
        for name in TABLES:
            if _rows(place / name, ids):
                _without(place / name, ids)
                rewritten.append(str(inner / name))
        lists = [name for name in LISTS if _rows(place / name, ids)]
        rewritten += [str(inner / name) for name in lists]
        own = [path for path in _playlists(place, ids) if path.is_file()]
        if lists or own or ((place / LINEAGE).is_file() and _named(place / LINEAGE, ids)):
            _exchange(place, ids, {path.relative_to(place) for path in own})
        for former in others(place):
            shutil.rmtree(former, ignore_errors=True)
        if own:
            removed.append(f"{inner / playlists.FOLDER}: {len(own)} files")
        for path in _reports(place):
            if path.stat().st_mtime < at.timestamp() or _named(path, ids):
                path.unlink()
                removed.append(str(path.relative_to(folder)))
    _check(folder, ids)
    ours = {path for place in _everywhere(folder) for path in _ours(place)}
    left = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in ours and _named(path, ids)
    ]
    return Cleaned(rewritten, removed, [_plain(name, ids) for name in left])


def names(ids: Sequence[str]) -> re.Pattern[str]:
    """What names them in a text: the id as a word; a short one or a number only as part of a path or
    in quotes, for as a word it means everything.
    """
    either = "|".join(re.escape(each) for each in ids)
    if all(len(each) > 3 and not each.isdigit() for each in ids):
        return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])")
    return re.compile(rf"(?<=[/\"])(?:{either})(?=[/\"]|\.(?:zip|json|csv|parquet)\b)")


def _check(folder: Path, ids: Sequence[str]) -> None:
    for place in _everywhere(folder):
        for path in _ours(place):
            table = path.name in (*TABLES, *LISTS)
            if (_rows(path, ids) if table else _named(path, ids)) or _named_after(path, ids):
                raise ValueError(f"{_plain(str(path), ids)} still names the forgotten listener")


def _places(folder: Path) -> Iterator[Path]:
    """The output folder, and the folders of second reports in it."""
    yield folder
    for name in BELOW:
        yield from sorted(path for path in folder.glob(name) if path.is_dir())


def _everywhere(folder: Path) -> Iterator[Path]:
    """These, and where the lists that they show lie."""
    for place in _places(folder):
        yield place
        yield from (path for path in (place / PLACE).glob(".encore-*") if path.is_dir())


def _ours(place: Path) -> Iterator[Path]:
    """Encore's own files in a folder of reports."""
    yield from (place / name for name in TABLES if (place / name).is_file())
    yield from (place / path for path in there(place) if (place / path).is_file())
    yield from _reports(place)


def _reports(place: Path) -> Iterator[Path]:
    figures = [f"{inner}/{name}.svg" for inner, drawn in FIGURES.items() for name in drawn]
    yield from (place / name for name in (*REPORTS, *figures) if (place / name).is_file())
    yield from (path for path in place.glob("lists/pages/*.html") if PAGE.fullmatch(path.name))


def _playlists(place: Path, ids: Sequence[str]) -> list[Path]:
    inside = place / playlists.FOLDER
    return [inside / f"{playlists.name(each)}.{kind}" for each in ids for kind in ("m3u8", "csv")]


def _named_after(path: Path, ids: Sequence[str]) -> bool:
    return any(path.stem == playlists.name(each) for each in ids)


def _named(path: Path, ids: Sequence[str]) -> bool:
    """Whether a text names them; what is no text is not looked into."""
    with path.open("rb") as file:
        content = file.read(SEARCHED)
    table = path.name in (*TABLES, *LISTS)
    if b"\0" in content[:8192] or table or path.parent.name == playlists.FOLDER:
        return False
    text = content.decode("utf-8", "replace")
    escaped = [json.dumps(each)[1:-1] for each in ids]
    return names(tuple(dict.fromkeys((*ids, *escaped)))).search(text) is not None


def _scan(path: Path) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path)
    return pl.scan_csv(path, infer_schema=False)  # texts stay as they are


def _theirs(path: Path, ids: Sequence[str]) -> pl.Expr | None:
    """Condition on their rows; None where the table has no column of listeners."""
    if not path.is_file() or path.stat().st_size == 0:
        return None
    there = [name for name in LISTENER if name in _scan(path).collect_schema()]
    wanted = pl.Series(ids, dtype=pl.String).implode()
    return pl.any_horizontal(pl.col(there).is_in(wanted)) if there else None


def _rows(path: Path, ids: Sequence[str]) -> int:
    theirs = _theirs(path, ids)
    if theirs is None:
        return 0
    return int(_scan(path).select(theirs.sum()).collect(engine="streaming").item())


def _without(path: Path, ids: Sequence[str]) -> None:
    from tasks.report.files import staged  # loads what draws figures

    with staged(path.parent) as scratch:
        _others(path, ids, scratch / path.name)


def _others(path: Path, ids: Sequence[str], target: Path) -> None:
    """Write the rows of others as a table of the same kind."""
    theirs = _theirs(path, ids)
    assert theirs is not None, "only a table with such rows is rewritten"
    rows = _scan(path).filter(~theirs.fill_null(value=False))
    if path.suffix == ".parquet":
        rows.sink_parquet(target)
    else:
        rows.sink_csv(target)


def _exchange(place: Path, ids: Sequence[str], theirs: Set[Path]) -> None:
    """Publish the lists that lie there once more, without their rows and their playlists."""
    kept = [path for path in there(place) - theirs if (place / path).is_file()]
    with exchanged(place) as scratch:
        for path in kept:
            (scratch / path).parent.mkdir(exist_ok=True)
            if path.name in LISTS and _rows(place / path, ids):
                _others(place / path, ids, scratch / path)
            else:
                shutil.copy2(place / path, scratch / path)
        if (scratch / LINEAGE).is_file() and (scratch / LISTS[0]).is_file():
            _correct_lineage(scratch / LINEAGE, ids)


def _correct_lineage(path: Path, ids: Sequence[str]) -> None:
    """Rows and digest of the table beside it; no raw file's name names them."""
    told = json.loads(path.read_text(encoding="utf-8"))
    lists = parts.contents(path.with_name(LISTS[0]), {})
    files = [names(ids).sub(INSTEAD, each) for each in told["raw_files"]]
    corrected = told | {"rows": lists.rows, "digest": lists.digest, "raw_files": files}
    path.write_text(json.dumps(corrected, indent=1), encoding="utf-8")


def _plain(name: str, ids: Sequence[str]) -> str:
    return names(ids).sub(INSTEAD, name)
