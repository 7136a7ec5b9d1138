import gzip
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import venv
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from transformers import AutoTokenizer

from edgeprune.store.files import file_digest
from edgeprune.store.package import description
from tests.support.e2e import Built, Ran, call, target_text

FILES = [
    "README.md", "SHA256SUMS", "config.json", "edgeprune.json", "goldens.json", "lineage.json", "onnx/model.onnx",
    "package_files.py", "postprocess.py", "preprocess.py", "run.py", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip


@pytest.fixture
def package(built: Built, tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    return Path(shutil.copytree(built.package, tmp_path / built.package.name))


def files_of(package: Path) -> list[str]:
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file())


def resum(package: Path) -> None:
    """Write SHA256SUMS as someone would who changed a file and wants it to look right."""
    lines = [f"{file_digest(package / name)}  {name}\n" for name in files_of(package) if name != "SHA256SUMS"]
    (package / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def edit_json(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def perturb(path: Path, amount: float) -> None:
    """Add to one weight of a graph."""
    model = onnx.load(path)
    chosen = next(tensor for tensor in model.graph.initializer if tensor.name == "classifier.bias")
    values = numpy_helper.to_array(chosen).copy()
    values[0] += amount
    chosen.CopyFrom(numpy_helper.from_array(values, chosen.name))
    onnx.save(model, path)


def refused(done: Ran, code: int, *words: str) -> None:
    assert done.code == code
    assert "Traceback" not in done.err
    assert len(done.complaints) == 1
    for word in words:
        assert word in done.complaints[0]


# What is in it


def test_a_package_holds_what_it_says_and_nothing_else(built: Built) -> None:
    assert files_of(built.package) == FILES
    sums = dict(
        reversed(line.split("  ", 1))
        for line in (built.package / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    assert sums == {name: file_digest(built.package / name) for name in FILES if name != "SHA256SUMS"}


def test_a_model_of_single_texts_is_given_no_token_types_by_anyone(built: Built) -> None:
    inputs = ["input_ids", "attention_mask"]
    session = onnxruntime.InferenceSession(built.package / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == inputs
    assert description(built.package)["inputs"] == inputs
    assert list(AutoTokenizer.from_pretrained(built.package)("a film")) == inputs


def test_lineage_names_every_ancestor_and_its_files(built: Built) -> None:
    lineage = json.loads((built.package / "lineage.json").read_text(encoding="utf-8"))
    keys = {(row["stage"], row["round"]): row["key"] for row in built.report["stages"]}
    found = {stage["id"]: stage for stage in lineage["stages"]}
    assert {name: stage["key"] for name, stage in found.items()} == {
        "prepare": keys["prepare", 0], "prune-1": keys["prune", 1], "finetune-1": keys["finetune", 1],
        "export-1": keys["export", 1], "quantize-1": keys["quantize", 1],
    }  # fmt: skip
    for stage in found.values():
        folder = built.store / stage["stage"] / stage["key"]
        assert stage["files"], stage["id"]
        for name, digest in stage["files"].items():
            assert file_digest(folder / name) == digest
    assert found["quantize-1"]["files"]["model.onnx"] == file_digest(built.package / "onnx/model.onnx")


def test_nothing_tells_the_time_the_host_or_a_path(built: Built) -> None:
    started = {
        json.loads(path.read_text(encoding="utf-8"))["started_at"][:13]  # to the hour
        for path in built.store.glob("*/[!.]*/manifest.json")
    }
    host = os.uname().nodename
    secrets = {
        *([host] if len(host) > 4 else []),  # fewer letters stand in any binary file by chance
        str(built.root),
        str(Path.home()),
        sys.prefix,
        str(Path(__file__).parents[2]),
        *started,
    }
    for path in (built.package / name for name in FILES):
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path.name


def test_the_archive_holds_the_folder_with_fixed_attributes(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.archive) as archive:
        members = archive.getmembers()
        archive.extractall(tmp_path, filter="data")
    assert [member.name for member in members] == [f"{built.package.name}/{name}" for name in FILES]
    assert {(one.mtime, one.mode, one.uid, one.gid, one.uname, one.gname) for one in members} == {
        (0, 0o644, 0, 0, "", "")
    }
    for name in FILES:
        assert (tmp_path / built.package.name / name).read_bytes() == (built.package / name).read_bytes()
    with gzip.open(built.archive) as packed:
        packed.read(1)
        assert packed.mtime == 0


def test_packaging_again_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    shutil.rmtree(store / "package")
    target = tmp_path / "here.yaml"
    target.write_text(target_text("here", runner=None), encoding="utf-8")
    umask = os.umask(0o077)
    try:
        done = call(*built.arguments, "--target", target, "--store", store, "--output", tmp_path / "dist", "--json")
    finally:
        os.umask(umask)
    assert done.code == 0, done.err
    assert [row["stage"] for row in done.document["stages"] if not row["cached"]] == ["package"]
    assert (tmp_path / "dist" / built.archive.name).read_bytes() == built.archive.read_bytes()


# verify


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_verify_passes_what_was_made(built: Built, kind: str) -> None:
    done = call("verify", built.package if kind == "folder" else built.archive, "--json")
    assert done.code == 0, done.err
    assert done.document == {
        "package": str(built.package if kind == "folder" else built.archive),
        "files": len(FILES) - 1, "goldens": 8, "exact": True, "max_error": 0.0,
        "signature": "none", "signed_by": None,
    }  # fmt: skip


def test_verify_needs_no_write_access_and_leaves_nothing(package: Path) -> None:
    for path in [*package.rglob("*"), package]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    assert call("verify", package).code == 0
    assert files_of(package) == FILES
    package.chmod(0o755)


@pytest.mark.parametrize("name", [name for name in FILES if name != "SHA256SUMS"])
def test_one_changed_byte(package: Path, name: str) -> None:
    content = bytearray((package / name).read_bytes())
    content[len(content) // 2] ^= 1
    (package / name).write_bytes(content)
    done = call("verify", package, "--json")
    refused(done, 5, f"{name} was changed")
    assert done.document["exit_code"] == 5


def test_a_changed_digest(package: Path) -> None:
    path = package / "SHA256SUMS"
    text = path.read_text(encoding="utf-8")
    path.write_text(("1" if text[0] == "0" else "0") + text[1:], encoding="utf-8")
    refused(call("verify", package), 5, "was changed")


def test_a_byte_that_is_no_text_among_the_digests(package: Path) -> None:
    path = package / "SHA256SUMS"
    content = bytearray(path.read_bytes())
    content[70] |= 0x80
    path.write_bytes(content)
    refused(call("verify", package), 5, package.name)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "LICENSE", "run.py"])
def test_a_missing_or_an_extra_file(package: Path, name: str) -> None:
    if name in FILES:
        (package / name).unlink()
        refused(call("verify", package), 5, f"{name} is missing")
    else:
        (package / name).write_text("do as you please\n", encoding="utf-8")
        refused(call("verify", package), 5, f"{name} doesn't belong to the package")


def unpacked(path: Path) -> bytes | None:
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error):
        return None


def test_an_archive_that_is_cut_short_or_changed(built: Built, tmp_path: Path) -> None:
    content = built.archive.read_bytes()
    path = tmp_path / built.archive.name
    path.write_bytes(content[: len(content) // 2])
    refused(call("verify", path), 5, "is not a whole .tar.gz archive")
    path.write_bytes(content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :])
    refused(call("verify", path), 5)
    for position in range(100, len(content), len(content) // 60):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x40]) + content[position + 1 :])
        done = call("verify", path)
        if done.code or unpacked(path) != unpacked(built.archive):  # few bits of a compressed file say nothing
            refused(done, 5)
    path.write_bytes(b"no archive at all")
    refused(call("verify", path), 5, "is not a whole .tar.gz archive")


def test_what_is_no_package(tmp_path: Path) -> None:
    refused(call("verify", tmp_path), 2, "is not a package")
    refused(call("verify", tmp_path / "nothing"), 2, "there is no folder or file")
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "file", "folder/file")
    refused(call("verify", tmp_path / "other.tar.gz"), 2, "holds no package")


def test_a_changed_weight_behind_right_digests_is_seen_by_the_goldens(package: Path) -> None:
    perturb(package / "onnx/model.onnx", 1e-3)
    refused(call("verify", package), 5, "onnx/model.onnx was changed")
    resum(package)
    refused(call("verify", package), 5, "the outputs for", "on this instruction set they should be equal")


def test_changed_goldens_behind_right_digests(package: Path) -> None:
    def change(record: dict[str, object]) -> None:
        record["goldens"][3]["outputs"][0] += 1e-4  # type: ignore[index]

    edit_json(package / "goldens.json", change)
    resum(package)
    refused(call("verify", package), 5, "the outputs for")


def test_on_another_instruction_set_the_precisions_tolerance_and_equal_answers(package: Path) -> None:
    def elsewhere(record: dict[str, object]) -> None:
        record["isa"] = ["a-later-one"]

    edit_json(package / "goldens.json", elsewhere)
    resum(package)
    done = call("verify", package, "--json")
    assert done.code == 0, done.err
    assert (done.document["exact"], done.document["max_error"]) == (False, 0.0)
    perturb(package / "onnx/model.onnx", 1e-3)
    resum(package)
    done = call("verify", package, "--json")
    assert done.code == 0, done.err
    assert 0 < done.document["max_error"] < 0.15

    def swap(record: dict[str, object]) -> None:
        for golden in record["goldens"]:  # type: ignore[attr-defined]
            golden["decision"] = {"neg": "pos", "pos": "neg"}[golden["decision"]]

    edit_json(package / "goldens.json", swap)
    resum(package)
    refused(call("verify", package), 5, "the outputs for", "with the same answer")


@pytest.mark.parametrize("name", ["goldens.json", "edgeprune.json"])
@pytest.mark.parametrize("version", [3, 5])
def test_a_package_of_another_schema(package: Path, name: str, version: int) -> None:
    edit_json(package / name, lambda record: record.update(schema_version=version))
    resum(package)
    refused(call("verify", package), 2, f"{name} has schema_version {version}, but this edgeprune reads 4")


# run.py, where there is nothing but onnxruntime, tokenizers and numpy


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that sees these three packages alone."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    here = Path(np.__file__).parent.parent
    there = next((folder / "lib").glob("python3*")) / "site-packages"
    for name in ("numpy", "numpy.libs", "onnxruntime", "tokenizers"):
        if (here / name).exists():
            (there / name).symlink_to(here / name)
    return folder / "bin" / "python"


def run_bare(python: Path, *arguments: object, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *map(str, arguments)],
        input=stdin, capture_output=True, text=True, check=False, env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("module", ["torch", "transformers", "onnx", "edgeprune"])
def test_the_bare_environment_has_none_of_it(bare_python: Path, module: str) -> None:
    done = run_bare(bare_python, "-P", "-c", f"import {module}")
    assert done.returncode != 0
    assert f"No module named '{module}'" in done.stderr


def test_run_py_on_texts(bare_python: Path, package: Path) -> None:
    texts = ["a great lovely superb film .", "an awful boring film ."]
    done = run_bare(bare_python, package / "run.py", *texts)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == texts
    assert [answer["label"] for answer in answers] == ["pos", "neg"]
    for answer in answers:
        assert set(answer["scores"]) == {"neg", "pos"}
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=2e-4)
        assert answer["score"] == max(answer["scores"].values())


def test_run_py_on_standard_input_says_the_same(bare_python: Path, package: Path) -> None:
    texts = ["a great lovely superb film .", "ümläut, and words never seen", "awful"]
    given = run_bare(bare_python, package / "run.py", *texts)
    read = run_bare(bare_python, package / "run.py", stdin="\n".join([texts[0], "", *texts[1:]]) + "\n")
    assert read.returncode == 0, read.stderr
    assert read.stdout == given.stdout
    assert len(read.stdout.splitlines()) == 3


def test_run_py_on_a_very_long_text(bare_python: Path, package: Path) -> None:
    done = run_bare(bare_python, package / "run.py", "great " * 5000)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "pos"


@pytest.mark.parametrize(("oldest", "fits"), [("1.9", True), ("99.0", False)])
def test_run_py_needs_an_onnxruntime_that_is_new_enough(
    bare_python: Path, package: Path, oldest: str, fits: bool
) -> None:
    edit_json(package / "edgeprune.json", lambda config: config.update(oldest_onnxruntime=oldest))
    done = run_bare(bare_python, package / "run.py", "great")
    assert done.returncode == (0 if fits else 2), done.stderr
    assert fits or re.fullmatch(
        r"onnxruntime [\d.]+ is too old for this package; install 99\.0 or newer\n", done.stderr
    )
    resum(package)
    verified = call("verify", package)
    assert verified.code == (0 if fits else 5)
    assert fits or "is too old for this package; install 99.0 or newer" in verified.err


def test_run_py_check_replays_the_goldens(bare_python: Path, package: Path) -> None:
    good = run_bare(bare_python, package / "run.py", "--check")
    assert (good.returncode, good.stdout) == (0, "goldens: ok\n")

    def change(record: dict[str, object]) -> None:
        record["goldens"][0]["outputs"][0] += 5  # type: ignore[index]

    edit_json(package / "goldens.json", change)
    bad = run_bare(bare_python, package / "run.py", "--check")
    assert (bad.returncode, bad.stdout) == (5, "goldens: 1 failed\n")
    assert "outputs differ by" in bad.stderr


def test_run_py_from_python(bare_python: Path, package: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r}); from run import Model; "
        f"model = Model({str(package)!r}); print(model.answers(['great superb film .'])[0]['label']); "
        "print(*(row.shape for row in model.outputs(['a', 'b c'])))"
    )
    done = run_bare(bare_python, "-P", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["pos", "(2,) (2,)"]


def test_the_archive_runs_where_it_is_unpacked(bare_python: Path, built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.archive) as archive:
        archive.extractall(tmp_path / "a device", filter="data")
    folder = tmp_path / "a device" / built.package.name
    done = run_bare(bare_python, folder / "run.py", "--check")
    assert done.returncode == 0, done.stderr
    # What running it leaves behind is not taken for damage.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(
        [str(bare_python), str(folder / "run.py"), "great"], check=True, env=environment, capture_output=True
    )
    assert call("verify", folder).code == 0


@pytest.mark.parametrize("how", ["verify", "run.py"])
def test_another_answer_is_a_fault_however_close_the_outputs(bare_python: Path, package: Path, how: str) -> None:
    def flip(record: Any) -> None:
        record["tolerance"] = 1.0
        record["isa"] = []  # made elsewhere: not compared bit by bit
        record["goldens"][0]["decision"] = "another"

    edit_json(package / "goldens.json", lambda record: record.update(tolerance=1.0, isa=[]))
    resum(package)
    assert call("verify", package).code == 0
    assert run_bare(bare_python, package / "run.py", "--check").returncode == 0
    edit_json(package / "goldens.json", flip)
    resum(package)
    if how == "verify":
        refused(call("verify", package), 5, "with the same answer")
    else:
        done = run_bare(bare_python, package / "run.py", "--check")
        assert done.returncode == 5
        assert "another answer than when the package was made" in done.stderr
