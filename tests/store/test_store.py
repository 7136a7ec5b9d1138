import hashlib
import json
import math
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import EdgepruneError, IntegrityError, SchemaVersionError, StorageError
from edgeprune.store.files import FileRecord, artifact_key, canonical_json, file_records, total_bytes, write_text
from edgeprune.store.manifests import read_manifest
from edgeprune.store.records import SCHEMA_VERSION
from edgeprune.store.store import Store
from tests.support.artifacts import KEY, OTHER, commit, held_elsewhere, manifest_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


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


def widen_old_manifest(folder: Path) -> None:
    edit_manifest(folder, more=1, schema_version=1, digest=None)


def nest_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000 + "]" * 100_000)


def nest_config(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"opset": 20', '"opset": ' + "[" * 5_000 + "]" * 5_000))


def improve_metric(folder: Path) -> None:
    metrics = json.loads((folder / "manifest.json").read_text())["metrics"]
    edit_manifest(folder, metrics={**metrics, "metric": {**metrics["metric"], "drop": 0.0}})


def lose_digest(folder: Path) -> None:
    edit_manifest(folder, digest=None)


def other_stage(folder: Path) -> None:
    edit_manifest(folder, stage="quantize", schema_version=1, digest=None)


def other_key(folder: Path) -> None:
    edit_manifest(folder, key=OTHER, schema_version=1, digest=None)


def no_key(folder: Path) -> None:
    edit_manifest(folder, key="../*", schema_version=1, digest=None)


def infinite_metric(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"value": 0.9', '"value": Infinity'))


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
        widen_old_manifest,
        nest_manifest,
        nest_config,
        improve_metric,
        lose_digest,
        other_stage,
        other_key,
        no_key,
        infinite_metric,
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


@pytest.mark.parametrize("version", [0, -1, 1.5])
def test_a_version_that_never_was_is_refused(store: Store, version: float):
    edit_manifest(commit(store).path, schema_version=version)
    with pytest.raises(SchemaVersionError, match="has schema_version"):
        store.find("export", KEY)


def test_a_manifest_from_before_there_was_a_digest_is_read(store: Store):
    made = commit(store)
    edit_manifest(made.path, schema_version=1, digest=None)
    before = (made.path / "manifest.json").read_bytes()
    found = store.find("export", KEY)
    assert found is not None
    assert found.manifest == made.manifest.model_copy(update={"schema_version": 1})
    assert (made.path / "manifest.json").read_bytes() == before


def test_a_manifest_says_the_same_in_another_layout(store: Store):
    made = commit(store)
    content = json.loads((made.path / "manifest.json").read_text())
    (made.path / "manifest.json").write_text(json.dumps(content, sort_keys=True))
    assert read_manifest(made.path) == made.manifest


def test_two_artifacts_in_each_others_place_are_refused(store: Store):
    one, other = commit(store).path, commit(store, key=OTHER).path
    one.rename(store.root / "aside")
    other.rename(one)
    (store.root / "aside").rename(other)
    for key, found in ((KEY, OTHER), (OTHER, KEY)):
        with pytest.raises(
            IntegrityError, match=f"its manifest is of export {found[:12]}, but should be of export {key[:12]}"
        ):
            store.find("export", key)
        with pytest.raises(IntegrityError, match="but should be of export"):
            store.by_key(key)
        assert store.recorded_digest("export", key, "model.onnx") is None


def test_an_artifact_of_another_stage_is_refused(store: Store):
    (store.root / "quantize").mkdir(parents=True)
    shutil.copytree(commit(store).path, store.folder("quantize", KEY))
    with pytest.raises(IntegrityError, match="its manifest is of export"):
        store.find("quantize", KEY)


def test_the_recorded_digest_of_a_file(store: Store):
    assert store.recorded_digest("export", KEY, "model.onnx") is None
    commit(store)
    assert store.recorded_digest("export", KEY, "model.onnx") == hashlib.sha256(b"graph").hexdigest()
    assert store.recorded_digest("export", KEY, "absent") is None


def test_every_file_may_be_read_by_whom_the_umask_lets(store: Store):
    draft = store.draft("export", KEY)
    (draft / "model.safetensors").write_bytes(b"x")
    (draft / "model.safetensors").chmod(0o600)  # as safetensors makes it
    (draft / "checkpoint").mkdir(mode=0o700)
    (draft / "checkpoint" / "read-only").write_bytes(b"x")
    (draft / "checkpoint" / "read-only").chmod(0o400)
    before = os.umask(0o002)
    try:
        made = store.commit(draft, store.folder("export", KEY), manifest_of(draft)).path
    finally:
        os.umask(before)
    files = {stat.S_IMODE(path.stat().st_mode) for path in made.rglob("*") if path.is_file()}
    assert files == {0o664}
    assert stat.S_IMODE((made / "checkpoint").stat().st_mode) == stat.S_IMODE(made.stat().st_mode)


def test_another_users_artifact_is_found_though_its_time_cannot_be_set(store: Store, monkeypatch: pytest.MonkeyPatch):
    commit(store)

    def denied(*_: object) -> None:
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(os, "utime", denied)
    assert store.find("export", KEY) is not None


def test_finding_an_artifact_ends_the_resume_state_that_a_kill_left(store: Store):
    commit(store)
    for key in (KEY, OTHER):
        store.partial(key).mkdir(parents=True)
        (store.partial(key) / "optimizer.pt").write_text("x")
    assert store.find("export", KEY) is not None
    assert not store.partial(KEY).exists()
    assert store.partial(OTHER).exists()


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
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


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


def test_what_is_written_never_goes_through_a_link_and_leaves_nothing_when_it_fails(tmp_path: Path):
    (tmp_path / "secret").write_text("mine")
    path = tmp_path / "there" / "a.json"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "secret")
    (path.parent / f".a.json.{os.getpid()}.tmp").symlink_to(tmp_path / "secret")
    write_text(path, "new")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert (tmp_path / "secret").read_text() == "mine"
    assert not path.is_symlink()
    assert path.read_text() == "new"
    assert {one.name for one in path.parent.iterdir()} == {"a.json", f".a.json.{os.getpid()}.tmp"}


def test_what_is_deleted_while_it_is_counted_counts_nothing(tmp_path: Path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a").write_bytes(b"22")
    assert total_bytes([tmp_path, tmp_path / "gone"]) == 2


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
