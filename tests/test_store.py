"""The store: work is done once, appears whole or not at all, and is named by all that it reads."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from tasks import parts, store
from tasks.store import Entry, Store, digest_files, key


def numbers(values: list[int]) -> Callable[[Path], Mapping[str, Any]]:
    """Work that writes ``values`` and counts how often it was done."""

    def work(folder: Path) -> Mapping[str, Any]:
        work.calls += 1  # type: ignore[attr-defined]
        pl.DataFrame({"n": values}).write_parquet(folder / "numbers.parquet")
        (folder / "notes").mkdir()
        (folder / "notes" / "note.txt").write_text("kept", encoding="utf-8")
        return {"largest": max(values)}

    work.calls = 0  # type: ignore[attr-defined]
    return work


def made(root: Path, name: str = "a", values: tuple[int, ...] = (1, 2)) -> Entry:
    return Store(root).once("step", name, numbers(list(values)))


# once


def test_work_is_done_once(tmp_path: Path) -> None:
    work = numbers([3, 1])
    first, second = (Store(tmp_path).once("step", "a", work) for _ in range(2))
    assert work.calls == 1  # type: ignore[attr-defined]
    assert (first.reused, second.reused) == (False, True)
    assert first.facts == second.facts == {"largest": 3}
    assert first.tables == second.tables
    assert first.rows == 2
    assert first.tables["numbers"].path == tmp_path / "step" / "a" / "numbers.parquet"
    assert (second.path / "notes" / "note.txt").read_text(encoding="utf-8") == "kept"


def test_another_key_and_another_step_are_other_work(tmp_path: Path) -> None:
    work = numbers([1])
    for step, name in [("one", "a"), ("one", "b"), ("two", "a")]:
        Store(tmp_path).once(step, name, work)
    assert work.calls == 3  # type: ignore[attr-defined]


def test_a_crash_leaves_nothing(tmp_path: Path) -> None:
    def crash(folder: Path) -> Mapping[str, Any]:
        (folder / "half.parquet").write_bytes(b"PAR1")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        Store(tmp_path).once("step", "a", crash)
    assert list((tmp_path / "step").iterdir()) == []
    assert Store(tmp_path).find("step", "a") is None
    assert not made(tmp_path).reused


def test_a_kill_leaves_only_what_the_next_sweep_removes(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from tasks.store import Store\n"
        "def work(folder):\n"
        "    (folder / 'half.parquet').write_bytes(b'PAR1')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store(Path(sys.argv[1])).once('step', 'a', work)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=store.ROOT, check=False)
    assert ended.returncode == -9
    assert Store(tmp_path).find("step", "a") is None
    assert not made(tmp_path).reused
    assert len(list((tmp_path / "step").iterdir())) == 2
    assert Store(tmp_path).sweep(keep=1) == (1, 4)
    assert [path.name for path in (tmp_path / "step").iterdir()] == ["a"]


def truncate(entry: Path) -> None:
    with (entry / "numbers.parquet").open("r+b") as file:
        file.truncate(20)


def garble(entry: Path) -> None:
    (entry / "entry.json").write_text('{"facts": {', encoding="utf-8")


def empty(entry: Path) -> None:
    (entry / "entry.json").write_text("", encoding="utf-8")


def unlist(entry: Path) -> None:
    (entry / "entry.json").write_text("{}", encoding="utf-8")


def remove_table(entry: Path) -> None:
    (entry / "numbers.parquet").unlink()


def remove_note(entry: Path) -> None:
    (entry / "notes" / "note.txt").unlink()


def remove_entry(entry: Path) -> None:
    (entry / "entry.json").unlink()


@pytest.mark.parametrize(
    "damage", [truncate, garble, empty, unlist, remove_table, remove_note, remove_entry]
)
def test_a_broken_entry_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    before = made(tmp_path)
    damage(before.path)
    again = made(tmp_path)
    assert not again.reused
    assert again.tables == before.tables
    assert pl.read_parquet(again.tables["numbers"].path)["n"].to_list() == [1, 2]
    assert made(tmp_path).reused
    assert [path.name for path in (tmp_path / "step").iterdir() if path.is_dir()] == ["a"]


def _slow(root: str, gate: Any, told: Any) -> None:
    def work(folder: Path) -> Mapping[str, Any]:
        pl.DataFrame({"n": [1, 2]}).write_parquet(folder / "numbers.parquet")
        gate.wait()  # both are in the middle of it
        return {"by": os.getpid()}

    entry = Store(Path(root)).once("step", "a", work)
    told.put((entry.tables["numbers"].digest, pl.read_parquet(entry.tables["numbers"].path).height))


def test_two_processes_at_once_end_with_one_whole_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, told = context.Barrier(2), context.Queue()
    racers = [context.Process(target=_slow, args=(str(tmp_path), gate, told)) for _ in range(2)]
    for racer in racers:
        racer.start()
    results = {told.get(timeout=60) for _ in racers}
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert len(results) == 1
    assert [path.name for path in (tmp_path / "step").iterdir() if path.is_dir()] == ["a"]
    assert made(tmp_path).reused


def test_an_entry_that_came_first_stays(tmp_path: Path) -> None:
    """Another run reads it already: it is not replaced under its eyes."""

    def overtaken(folder: Path) -> Mapping[str, Any]:
        made(tmp_path, values=(1, 2))
        pl.DataFrame({"n": [2, 1]}).write_parquet(folder / "numbers.parquet")
        return {"largest": 0}

    entry = Store(tmp_path).once("step", "a", overtaken)
    assert entry.facts == {"largest": 2}
    assert pl.read_parquet(entry.tables["numbers"].path)["n"].to_list() == [1, 2]


def test_an_unwritable_root_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot write to the store.*file: .*file.*what to do"):
        made(tmp_path / "file")


# key


def work_here(folder: Path) -> Mapping[str, Any]:
    return {}


def test_inputs_and_settings_name_the_work() -> None:
    plain = key(store.digest_files, ["a 1", "b 2"], {"x": 1})
    assert len(plain) == 32
    assert key(store.digest_files, ["b 2", "a 1"], {"x": 1}) == plain
    assert key(store.digest_files, ["a 1", "b 3"], {"x": 1}) != plain
    assert key(store.digest_files, ["a 1"], {"x": 1}) != plain
    assert key(store.digest_files, ["a 1", "b 2"], {"x": 2}) != plain
    assert key(store.digest_files, ["a 1", "b 2"], {"y": 1}) != plain
    assert key(store.write_durably, ["a 1", "b 2"], {"x": 1}) != plain


def test_settings_in_another_order_are_the_same() -> None:
    moments = {"at": datetime(2020, 1, 1, tzinfo=UTC)}
    assert key(store.key, [], {"x": 1, **moments}) == key(store.key, [], {**moments, "x": 1})


def test_an_engines_version_names_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(store.key, [], {})
    real = store.version
    monkeypatch.setattr(store, "version", lambda name: "0" if name == "duckdb" else real(name))
    assert key(store.key, [], {}) != before


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small source tree in place of Encore's own."""
    for name, text in {
        "tasks/__init__.py": "",
        "tasks/work.py": (
            "import math\nfrom tasks import helper\nfrom tasks.ranks import one\nA = 'marts/a'\n"
        ),
        "tasks/helper.py": "def help():\n    from schemas import words\n    return 'marts/absent'\n",
        "tasks/ranks/__init__.py": "",
        "tasks/ranks/one.py": "",
        "tasks/stranger.py": "B = 'marts/b'\n",
        "schemas/__init__.py": "",
        "schemas/words.py": "",
        "sql/marts/a.sql": "select 1",
        "sql/marts/b.sql": "select 2",
        "flows/wiring.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(store, "ROOT", tmp_path)
    store._code.cache_clear()
    store._read.cache_clear()
    yield tmp_path
    store._code.cache_clear()
    store._read.cache_clear()


def named() -> str:
    """Key of work in the module ``tasks.work`` of the small tree, read anew."""
    store._code.cache_clear()
    store._read.cache_clear()

    def work(folder: Path) -> Mapping[str, Any]:
        return {}

    work.__module__ = "tasks.work"
    return key(work, [], {})


@pytest.mark.parametrize(
    "name",
    ["tasks/work.py", "tasks/helper.py", "tasks/ranks/one.py", "tasks/ranks/__init__.py",
     "schemas/words.py", "sql/marts/a.sql"],
)  # fmt: skip
def test_what_the_work_reads_of_the_source_names_it(house: Path, name: str) -> None:
    """Its module, what that imports (inside a function too, and from there on), and its SQL."""
    before = named()
    with (house / name).open("a", encoding="utf-8") as file:
        file.write("\n# changed\n" if name.endswith(".py") else "\n-- changed\n")
    assert named() != before


@pytest.mark.parametrize("name", ["tasks/stranger.py", "sql/marts/b.sql", "flows/wiring.py"])
def test_what_the_work_does_not_read_does_not(house: Path, name: str) -> None:
    before = named()
    (house / name).write_text("", encoding="utf-8")
    (house / "tasks" / "new.py").write_text("", encoding="utf-8")
    assert named() == before


def test_sql_that_appears_names_the_work(house: Path) -> None:
    before = named()
    (house / "sql" / "marts" / "absent.sql").write_text("select 3", encoding="utf-8")
    assert named() != before


def test_every_sql_file_is_named_by_some_module() -> None:
    """A name put together at run time would escape the key: all are spelled out."""
    sources = "".join(path.read_text(encoding="utf-8") for path in store.ROOT.glob("tasks/**/*.py"))
    names = {
        str(path.relative_to(store.ROOT / "sql").with_suffix(""))
        for path in store.ROOT.glob("sql/*/*.sql")
    }
    assert [name for name in sorted(names) if f'"{name}"' not in sources] == []


# digest


def digest(frame: pl.DataFrame, path: Path, **options: Any) -> str:
    frame.write_parquet(path, **options)
    found = parts.contents(path, {})
    assert found.rows == frame.height
    return found.digest


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.text(max_size=2) | st.none()), min_size=2, max_size=12),
    st.randoms(),
)
def test_the_digest_is_of_the_rows_whatever_their_order(
    rows: list[tuple[int, str]], shuffler: random.Random
) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"digest-{os.getpid()}.parquet"
    schema = {"n": pl.Int64, "s": pl.String}
    before = digest(pl.DataFrame(rows, schema=schema, orient="row"), path)
    shuffled = rows.copy()
    shuffler.shuffle(shuffled)
    assert (
        digest(
            pl.DataFrame(shuffled, schema=schema, orient="row"),
            path,
            row_group_size=3,
            compression="lz4",
        )
        == before
    )
    changed = [(rows[0][0] + 10, rows[0][1]), *rows[1:]]
    assert digest(pl.DataFrame(changed, schema=schema, orient="row"), path) != before
    path.unlink()


def test_the_digest_sees_what_hides_in_a_sum(tmp_path: Path) -> None:
    """Multiplicity, pairs that cancel, values that change places, names, types and nulls."""
    path = tmp_path / "t.parquet"
    frames = [
        pl.DataFrame({"a": [1, 1, 2, 2]}),
        pl.DataFrame({"a": [3, 3, 4, 4]}),
        pl.DataFrame({"a": [1, 2]}),
        pl.DataFrame({"a": [1, 2, 2, 2]}),
        pl.DataFrame({"b": [1, 2]}),
        pl.DataFrame({"a": [1.0, 2.0]}),
        pl.DataFrame({"a": ["1", "2"]}),
        pl.DataFrame({"a": [1, None]}, schema={"a": pl.Int64}),
        pl.DataFrame({"a": [], "b": []}),
        pl.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pl.DataFrame({"a": [1, 2], "b": [4, 3]}),
        pl.DataFrame({"a": [3, 4], "b": [1, 2]}),
    ]
    found = [digest(frame, path) for frame in frames]
    assert len(set(found)) == len(found)


def test_files_are_digested_by_their_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, text in zip(paths, ["x", "x", "y"], strict=True):
        path.write_text(text, encoding="utf-8")
    (first, _), (second, _), (third, _) = digest_files(paths).values()
    assert first == second != third
    assert first == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


# sweep


def used(entry: Entry, ago: float) -> None:
    os.utime(entry.path, (time.time() - ago,) * 2)


def test_sweep_keeps_the_newest_of_each_step(tmp_path: Path) -> None:
    for age, name in enumerate("abcd"):
        used(made(tmp_path, name), ago=100 * age)
    used(Store(tmp_path).once("other", "z", numbers([1])), ago=10_000)
    size = sum(
        p.stat().st_size for name in "cd" for p in (tmp_path / "step" / name).rglob("*") if p.is_file()
    )
    assert Store(tmp_path).sweep(keep=2) == (2, size)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/[a-z]")}
    assert left == {"step/a", "step/b", "other/z"}


def test_using_an_entry_makes_it_new(tmp_path: Path) -> None:
    used(made(tmp_path, "old"), ago=200_000)  # this process may have used a store for long
    used(made(tmp_path, "newer"), ago=100_000)
    assert made(tmp_path, "old").reused
    Store(tmp_path).sweep(keep=1)
    assert Store(tmp_path).find("step", "old") is not None
    assert Store(tmp_path).find("step", "newer") is None


def test_entries_of_one_run_stay_together(tmp_path: Path) -> None:
    """A run that used four windows keeps them all, however few runs are kept."""
    for name in "abcd":
        assert not made(tmp_path, name).reused
        used(made(tmp_path, f"older-{name}"), ago=100_000)
    assert Store(tmp_path).sweep(keep=1)[0] == 4
    assert {path.name for path in (tmp_path / "step").iterdir()} == set("abcd")


def test_sweep_leaves_what_living_runs_use(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    made(tmp_path)
    for folder in (tmp_path / "step", tmp_path):
        kind = ".duckdb-" if folder == tmp_path else "."
        for pid in (dead.pid, os.getpid()):
            scratch = folder / f"{kind}{pid}-xyz"
            scratch.mkdir()
            (scratch / "spilled").write_bytes(b"12345")
    assert Store(tmp_path).sweep(keep=1) == (2, 10)
    assert (tmp_path / "step" / f".{os.getpid()}-xyz").is_dir()
    assert (tmp_path / f".duckdb-{os.getpid()}-xyz").is_dir()
    assert Store(tmp_path).find("step", "a") is not None


def test_sweep_of_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert Store(tmp_path / "absent").sweep(keep=1) == (0, 0)


def test_the_entry_says_what_was_made(tmp_path: Path) -> None:
    entry = made(tmp_path)
    told = json.loads((entry.path / "entry.json").read_text(encoding="utf-8"))
    sums = [list(each) for each in parts.contents(entry.tables["numbers"].path, {}).sums]
    digest = entry.tables["numbers"].digest
    assert told["tables"] == {"numbers": {"rows": 2, "digest": digest, "sums": sums}}
    assert set(told["sizes"]) == {"numbers.parquet", "notes/note.txt"}
