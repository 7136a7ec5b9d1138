import hashlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import EdgepruneError, IntegrityError, SchemaVersionError, StorageError
from edgeprune.store.files import FileRecord, artifact_key, canonical_json, file_records, total_bytes, write_text
from edgeprune.store.records import SCHEMA_VERSION, Artifact, Environment, Manifest, Metric, StageMetrics
from edgeprune.store.store import MEASURING, Store

KEY = "ab" * 32
OTHER = "cd" * 32

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def manifest_of(folder: Path, stage: str = "export", key: str = KEY) -> Manifest:
    return Manifest(
        stage=stage,
        key=key,
        parents={"checkpoint": OTHER},
        config={"opset": 20, "tolerance": 1e-4},
        files=file_records(folder),
        metrics=StageMetrics(metric=Metric(name="accuracy", value=0.9, samples=10, drop=0.01, drop_interval=(-0.1, 1))),
        environment=Environment(python="3", platform="x", arch="x", isa=("avx2",), threads=2, libraries={"onnx": "1"}),
        seed=0,
        started_at="2024-01-01T00:00:00+00:00",
        duration_s=1.5,
        peak_memory_mb=100.0,
    )


def commit(store: Store, stage: str = "export", key: str = KEY, run: str | None = None) -> Artifact:
    draft = store.draft(stage, key) if run is None else store.draft_run("benchmark", key, run)
    (draft / "model.onnx").write_bytes(b"graph")
    (draft / "checkpoint").mkdir()
    (draft / "checkpoint" / "config.json").write_text("{}")
    place = store.folder(stage, key) if run is None else store.folder(stage, key) / run
    return store.commit(draft, place, manifest_of(draft, stage, key))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_was_committed_is_found_again(store: Store):
    made = commit(store)
    found = store.find("export", KEY)
    assert found == made
    assert found is not None
    assert found.key == KEY
    assert found.path == store.root / "export" / KEY
    assert found.file("model.onnx").read_bytes() == b"graph"
    assert [record.path for record in found.manifest.files] == ["checkpoint/config.json", "model.onnx"]
    assert not list((store.root / "export").glob(".*"))


def test_what_was_never_made_is_not_found(store: Store):
    assert store.find("export", KEY) is None
    commit(store)
    assert store.find("export", OTHER) is None
    assert store.find("quantize", KEY) is None


def test_a_draft_is_not_found_and_starts_empty(store: Store):
    draft = store.draft("export", KEY)
    (draft / "model.onnx").write_bytes(b"half")
    assert store.find("export", KEY) is None
    assert list(store.artifacts()) == []
    assert list(store.draft("export", KEY).iterdir()) == []


def change(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"grapf")


def truncate(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")


def lose(folder: Path) -> None:
    (folder / "checkpoint" / "config.json").unlink()


def add(folder: Path) -> None:
    (folder / "checkpoint" / "extra").write_text("")


def rename(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "model2.onnx")


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


def list_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def unversion_manifest(folder: Path) -> None:
    edit_manifest(folder, schema_version=None)


def widen_manifest(folder: Path) -> None:
    edit_manifest(folder, more=1)


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    "damage",
    [
        change,
        truncate,
        lose,
        add,
        rename,
        lose_manifest,
        cut_manifest,
        empty_manifest,
        list_manifest,
        unversion_manifest,
        widen_manifest,
    ],
)
def test_a_damaged_artifact_is_refused(store: Store, damage: Callable[[Path], None]):
    damage(commit(store).path)
    with pytest.raises(IntegrityError) as caught:
        store.find("export", KEY)
    assert str(store.folder("export", KEY)) in str(caught.value)
    assert "build again" in str(caught.value)


def test_an_artifact_of_a_newer_edgeprune_is_refused(store: Store):
    edit_manifest(commit(store).path, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(SchemaVersionError, match=f"schema_version {SCHEMA_VERSION + 1}, but this edgeprune reads"):
        store.find("export", KEY)


def test_committing_ends_the_resume_state(store: Store):
    store.partial(KEY).mkdir(parents=True)
    (store.partial(KEY) / "optimizer.pt").write_text("x")
    store.partial(OTHER).mkdir(parents=True)
    commit(store)
    assert not store.partial(KEY).exists()
    assert store.partial(OTHER).exists()


def test_a_removed_artifact_is_gone(store: Store):
    artifact = commit(store)
    commit(store, key=OTHER)
    store.remove(artifact.path)
    assert [path.name for path in (store.root / "export").iterdir()] == [OTHER]
    assert store.find("export", KEY) is None


def test_artifacts_lists_stages_and_benchmark_runs_but_nothing_half_made(store: Store):
    commit(store)
    commit(store, stage="benchmark", run="run-1")
    commit(store, stage="benchmark", run="run-2")
    draft = store.draft("prune", KEY)
    write_text(draft / "manifest.json", manifest_of(draft).model_dump_json())
    store.partial(KEY).mkdir(parents=True)
    found = [artifact.path.relative_to(store.root).as_posix() for artifact in store.artifacts()]
    assert found == [f"export/{KEY}", f"benchmark/{KEY}/run-1", f"benchmark/{KEY}/run-2"]


def test_artifacts_passes_over_what_cannot_be_read(store: Store):
    empty_manifest(commit(store).path)
    commit(store, key=OTHER)
    assert [artifact.key for artifact in store.artifacts()] == [OTHER]


def test_what_is_garbage_is_so_once_and_locked_while_it_is_looked_at(store: Store):
    half_removed = store.partial(f".old-{KEY}")
    half_removed.mkdir(parents=True)
    with store.lock("prune", KEY, lambda: None):
        pass
    seen = []
    for folder in store.garbage(None):
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
    assert set(store.garbage(None)) == left


def test_artifacts_not_used_for_so_many_days_are_garbage(store: Store):
    old, used = commit(store), commit(store, key=OTHER)
    run = commit(store, stage="benchmark", run="run-1")
    long_ago = time.time() - 10 * 86_400
    for artifact in (old, used, run):
        os.utime(artifact.path / "manifest.json", (long_ago, long_ago))
    store.find("export", OTHER)
    assert set(store.garbage(9)) == {old.path, run.path}
    assert set(store.garbage(11)) == set()
    assert set(store.garbage(None)) == set()


@contextmanager
def held_elsewhere(store: Store, stage: str, key: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock until it is told to end."""
    code = (
        "import sys; from pathlib import Path; from edgeprune.store.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(sys.argv[2], sys.argv[3], lambda: None):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.root), stage, key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_a_running_build_holds_is_no_garbage(store: Store):
    draft, other = store.draft("prune", KEY), store.draft("prune", OTHER)
    store.partial(KEY).mkdir(parents=True)
    with held_elsewhere(store, "prune", KEY):
        assert set(store.garbage(None)) == {other}
    assert set(store.garbage(None)) == {draft, other, store.partial(KEY)}


def test_what_a_running_measurement_writes_is_no_garbage(store: Store):
    run = store.draft_run("benchmark", KEY, "run-1")
    with held_elsewhere(store, "benchmark", MEASURING):
        assert set(store.garbage(None)) == set()
    assert set(store.garbage(None)) == {run}


def test_what_a_store_is_called_changes_nothing(tmp_path: Path):
    store = Store(tmp_path / "benchmark")
    store.draft("prune", KEY)
    with held_elsewhere(store, "prune", KEY):
        assert set(store.garbage(None)) == set()


def test_a_free_lock_is_taken_without_waiting(store: Store):
    waits: list[str] = []
    for _ in range(2):
        with store.lock("prune", KEY, lambda: waits.append("waited")):
            assert waits == []
    with held_elsewhere(store, "prune", OTHER), store.lock("prune", KEY, lambda: waits.append("waited")):
        assert waits == []


def test_a_second_process_waits_until_the_lock_is_freed(store: Store):
    waits: list[float] = []
    with held_elsewhere(store, "prune", KEY) as holder:

        def release() -> None:
            waits.append(time.monotonic())
            threading.Timer(0.2, holder.kill).start()

        with store.lock("prune", KEY, release):
            assert time.monotonic() - waits[0] >= 0.2
    assert len(waits) == 1


def test_a_killed_process_leaves_no_lock(store: Store):
    with held_elsewhere(store, "prune", KEY) as holder:
        holder.kill()
        holder.wait()
        waits: list[str] = []
        with store.lock("prune", KEY, lambda: waits.append("waited")):
            assert waits == []


def test_a_lock_is_freed_when_its_holder_fails(store: Store):
    with pytest.raises(EdgepruneError, match="failed"), store.lock("prune", KEY, lambda: None):
        raise EdgepruneError("failed")
    waits: list[str] = []
    with store.lock("prune", KEY, lambda: waits.append("waited")):
        assert waits == []


def test_a_store_that_cannot_be_written_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="--store"):
        Store(tmp_path / "file").ensure_writable()
    Store(tmp_path / "store").ensure_writable()
    assert (tmp_path / "store").is_dir()


def test_a_store_is_absolute():
    assert Store(Path("relative")).root.is_absolute()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "a.json"
    write_text(path, "eins, zwei, größer")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text(encoding="utf-8") == "eins, zwei, größer"
    write_text(path, "short")
    assert path.read_text(encoding="utf-8") == "short"


def test_file_records_name_every_file_with_digest_and_size(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(b"22")
    (tmp_path / "a").write_bytes(b"1")
    assert file_records(tmp_path) == tuple(
        FileRecord(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for path, content in [("a", b"1"), ("b/two", b"22")]
    )
    assert total_bytes([tmp_path]) == 3
    assert total_bytes([tmp_path / "b" / "two", tmp_path / "a"]) == 3


@given(json_values)
def test_canonical_json_is_still_the_value(value: object):
    assert json.loads(canonical_json(value)) == value  # type: ignore[arg-type]


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_a_key(value: dict[str, object], random: object):
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)  # type: ignore[arg-type]
    assert artifact_key(dict(items)) == artifact_key(value)  # type: ignore[arg-type]


@given(json_values, json_values)
def test_other_values_have_other_keys(one: object, two: object):
    same_text = canonical_json(one) == canonical_json(two)  # type: ignore[arg-type]
    assert same_text == (artifact_key(one) == artifact_key(two))  # type: ignore[arg-type]
    if one != two:
        assert not same_text


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_what_json_cannot_say_has_no_key(value: object):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifact_key(value)  # type: ignore[arg-type]


def test_a_key_is_the_same_in_every_process():
    material = {"stage": "prune", "version": 1, "config": {"keep": 0.5, "größe": None}, "parents": {"b": "1", "a": "2"}}
    text = '{"config":{"gr\\u00f6\\u00dfe":null,"keep":0.5},"parents":{"a":"2","b":"1"},"stage":"prune","version":1}'
    assert artifact_key(material) == hashlib.sha256(text.encode("ascii")).hexdigest()  # type: ignore[arg-type]
