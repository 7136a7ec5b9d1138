import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from edgeprune.store.garbage import garbage
from edgeprune.store.store import MEASURING, Store
from tests.support.artifacts import KEY, OTHER, commit, held_elsewhere


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_is_garbage_is_so_once_and_locked_while_it_is_looked_at(store: Store):
    half_removed = store.partial(f".old-{KEY}")
    half_removed.mkdir(parents=True)
    with store.lock("prune", KEY, lambda: None):
        pass
    seen = []
    for folder in garbage(store, None):
        seen.append(folder)
        lock = FileLock(store.root / "locks" / f"prune-{KEY}.lock", blocking=False, is_singleton=False)
        with pytest.raises(Timeout):
            lock.acquire()
        store.remove(folder)
    assert seen == [half_removed]
    assert not half_removed.exists()


def test_what_killed_processes_left_is_garbage(store: Store):
    commit(store)
    commit(store, stage="benchmark", run="run-1")
    left = {
        store.draft("prune", OTHER),
        store.draft_run("benchmark", OTHER, "run-1"),
        store.partial(OTHER),
        store.root / "export" / f".old-{OTHER}",
        store.root / "benchmark" / OTHER / ".old-run-0",
    }
    for folder in left:
        folder.mkdir(parents=True, exist_ok=True)
    assert set(garbage(store, None)) == left


def test_artifacts_not_used_for_so_many_days_are_garbage(store: Store):
    old, used = commit(store), commit(store, key=OTHER)
    run = commit(store, stage="benchmark", run="run-1")
    long_ago = time.time() - 10 * 86_400
    for artifact in (old, used, run):
        os.utime(artifact.path / "manifest.json", (long_ago, long_ago))
    store.find("export", OTHER)
    assert set(garbage(store, 9)) == {old.path, run.path}
    assert set(garbage(store, 11)) == set()
    assert set(garbage(store, None)) == set()


def test_what_a_running_build_holds_is_no_garbage(store: Store):
    draft, other = store.draft("prune", KEY), store.draft("prune", OTHER)
    store.partial(KEY).mkdir(parents=True)
    with held_elsewhere(store, "prune", KEY):
        assert set(garbage(store, None)) == {other}
    assert set(garbage(store, None)) == {draft, other, store.partial(KEY)}


def test_what_a_running_measurement_writes_is_no_garbage(store: Store):
    run = store.draft_run("benchmark", KEY, "run-1")
    with held_elsewhere(store, "benchmark", MEASURING):
        assert set(garbage(store, None)) == set()
    assert set(garbage(store, None)) == {run}


def test_what_a_store_is_called_changes_nothing(tmp_path: Path):
    store = Store(tmp_path / "benchmark")
    store.draft("prune", KEY)
    with held_elsewhere(store, "prune", KEY):
        assert set(garbage(store, None)) == set()


GC = "from edgeprune.cli.main import main; main()"


def test_four_at_once_all_end_well(store: Store):
    for number in range(60):
        store.partial(f"{number:064x}").mkdir(parents=True)
        store.draft("export", f"{number:064x}")
        commit(store, key=f"{number + 100:064x}")
    command = [sys.executable, "-c", GC, "store", "gc", "--older-than", "0", "--store", str(store.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended
    assert [err for _, err in ended] == [b""] * 4
    assert sum(int(out.split()[0]) for out, _ in ended) == 180
    assert list(store.places()) == []
    assert list(garbage(store, 0)) == []


def test_what_a_running_build_has_read_or_made_is_no_garbage(store: Store):
    """Its locks are free by then: a build holds them only while it finds or makes a thing."""
    long_ago = time.time() - 10 * 86_400
    for key in (KEY, OTHER):
        os.utime(commit(store, key=key).path / "manifest.json", (long_ago, long_ago))
    other = Store(store.root)
    with store.in_use():
        assert store.find("export", KEY) is not None
        made = commit(store, stage="quantize")
        run = commit(store, stage="benchmark", run="run-1")
        assert set(garbage(other, 0)) == {store.folder("export", OTHER)}
    assert set(garbage(other, 0)) == {store.folder("export", KEY), store.folder("export", OTHER), made.path, run.path}
    assert list((store.root / "locks" / "in-use").iterdir()) == []


def test_what_is_used_between_the_search_and_its_turn_is_no_garbage(store: Store):
    long_ago = time.time() - 10 * 86_400
    for key in (KEY, OTHER):
        os.utime(commit(store, key=key).path / "manifest.json", (long_ago, long_ago))
    found = garbage(store, 9)
    first = next(found)
    (second,) = {store.folder("export", key) for key in (KEY, OTHER)} - {first}
    os.utime(second / "manifest.json")
    assert list(found) == []


def test_what_is_gone_before_its_turn_is_no_garbage(store: Store):
    for key in (KEY, OTHER):
        store.partial(key).mkdir(parents=True)
    found = garbage(store, None)
    first = next(found)
    store.remove(first)
    (second,) = (store.root / "partial").iterdir()
    second.rmdir()
    assert list(found) == []


def test_a_killed_builds_list_means_nothing(store: Store):
    commit(store)
    code = (
        "import os, sys; from pathlib import Path; from edgeprune.store.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.in_use():\n"
        "    assert store.find('export', sys.argv[2]); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store.root), KEY], check=False).returncode == 9
    assert [path.suffix for path in sorted((store.root / "locks" / "in-use").iterdir())] == [".list", ".lock"]
    assert set(garbage(store, 0)) == {store.folder("export", KEY)}
    assert list((store.root / "locks" / "in-use").iterdir()) == []


def test_what_was_half_removed_twice_is_garbage_of_the_same_key(store: Store):
    left = store.root / "export" / f".old-.old-.tmp-{KEY}"
    left.mkdir(parents=True)
    with held_elsewhere(store, "export", KEY):
        assert set(garbage(store, None)) == set()
    assert set(garbage(store, None)) == {left}


def test_a_damaged_artifact_is_garbage_by_its_age(store: Store):
    path = commit(store).path / "manifest.json"
    path.write_text("[" * 100_000)
    assert list(garbage(store, 1)) == []
    os.utime(path, (0, 0))
    assert list(garbage(store, 1)) == [path.parent]


def test_a_store_that_is_not_there_is_not_made(store: Store):
    assert list(garbage(store, 0)) == []
    assert not store.root.exists()


def test_the_time_grows_with_what_is_left_not_with_its_square(store: Store):
    def seconds(count: int) -> float:
        (store.root / "locks").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            store.partial(f"{number:064x}").mkdir(parents=True)
            (store.root / "locks" / f"prune-{number:064x}.lock").touch()
        start = time.process_time()
        assert sum(1 for folder in garbage(store, None) if folder.rmdir() is None) == count
        return time.process_time() - start

    few = seconds(200)
    assert seconds(1600) < 8 * 3 * few + 0.5
