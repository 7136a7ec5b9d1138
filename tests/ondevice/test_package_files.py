"""edgeprune/ondevice/package_files.py"""

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.ondevice import package_files

DESCRIPTION: dict[str, Any] = {
    "schema_version": 4, "task": "text-classification", "problem_type": None, "labels": ["a", "b"],
    "graph": "onnx/model.onnx",
    "inputs": ["input_ids"], "outputs": ["logits"], "provider": "CPUExecutionProvider", "oldest_onnxruntime": "1.18",
    "oldest_tokenizers": "0.13.3", "max_length": 16, "pair": False, "truncation": "longest_first", "mask_token": None,
    "unanswerable": False, "session": {"threads": 1, "level": "all", "arena": True, "config": {"a": "b"}},
}  # fmt: skip
GOLDENS: dict[str, Any] = {
    "schema_version": 4, "arch": "x86_64", "isa": ["avx2"], "onnxruntime": "1.30.0", "tolerance": 0.15,
    "goldens": [{"text": "a", "outputs": [1.0, -2], "decision": "a"}, {"text": ["a", "b"], "outputs": [[1.0]], "decision": []}],
}  # fmt: skip
WRITTEN = {"edgeprune.json": DESCRIPTION, "goldens.json": GOLDENS}
READ = {"edgeprune.json": package_files.description, "goldens.json": package_files.goldens}


def complaint(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(package_files.PackageError) as caught:
        READ[name](folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert str(caught.value).startswith(name)
    return str(caught.value)


def changed(content: Any, path: str, value: object) -> str:
    """The JSON of some content with another value at a path; `...`: with none."""
    copy = json.loads(json.dumps(content))
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place = copy
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(copy)


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps(WRITTEN[name]), encoding="utf-8")
    assert READ[name](tmp_path) == WRITTEN[name]


@pytest.mark.parametrize("key", ["oldest_tokenizers", "max_length", "pair", "truncation", "mask_token", "unanswerable"])
def test_what_only_some_packages_say_may_be_left_out(tmp_path: Path, key: str) -> None:
    (tmp_path / "edgeprune.json").write_text(changed(DESCRIPTION, key, ...), encoding="utf-8")
    assert key not in package_files.description(tmp_path)


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("edgeprune.json", "task", ..., "lacks task"),
        ("edgeprune.json", "task", 7, "edgeprune.json.task should be a text, not 7"),
        ("edgeprune.json", "labels", "ab", "edgeprune.json.labels should be a list, not 'ab'"),
        ("edgeprune.json", "labels.1", None, "edgeprune.json.labels.1 should be a text, not None"),
        ("edgeprune.json", "inputs", [], "inputs should be a list of at least one name"),
        ("edgeprune.json", "outputs", [["logits"]], "outputs should be a list of at least one name"),
        ("edgeprune.json", "oldest_onnxruntime", "latest", "should be a version such as 1.18, not 'latest'"),
        ("edgeprune.json", "oldest_onnxruntime", 1.18, "should be a version such as 1.18"),
        ("edgeprune.json", "oldest_tokenizers", "0", "should be a version such as 0.20, or null"),
        ("edgeprune.json", "max_length", 0, "max_length should be a number of tokens"),
        ("edgeprune.json", "max_length", True, "max_length should be a number of tokens"),
        ("edgeprune.json", "max_length", 10**30, "max_length should be a number of tokens"),
        ("edgeprune.json", "pair", "yes", "pair should be true or false"),
        ("edgeprune.json", "session", [], "session should be an object, not []"),
        ("edgeprune.json", "session.threads", 1_000_000, "session.threads should be a number of threads"),
        ("edgeprune.json", "session.level", ["all"], "session.level should be basic, extended or all"),
        ("edgeprune.json", "session.config", {"a": 1}, "session.config should be texts by key"),
        ("edgeprune.json", "problem_type", "x" * 10_000, ""),
        ("goldens.json", "goldens", [], "has no goldens"),
        ("goldens.json", "goldens", {}, "goldens should be a list, not {}"),
        ("goldens.json", "goldens.0", "a", "goldens.0 should be an object"),
        ("goldens.json", "goldens.0.text", 7, "goldens.0.text should be a text or two"),
        ("goldens.json", "goldens.1.text", ["a"], "goldens.1.text should be a text or two"),
        ("goldens.json", "goldens.0.outputs", "x", "goldens.0.outputs should be numbers in lists"),
        ("goldens.json", "goldens.0.outputs", [[True]], "goldens.0.outputs should be numbers in lists"),
        ("goldens.json", "goldens.0.decision", ..., "goldens.0 lacks decision"),
        ("goldens.json", "tolerance", float("inf"), "tolerance should be a number from 0 to 1, not inf"),
        ("goldens.json", "tolerance", float("nan"), "tolerance should be a number from 0 to 1"),
        ("goldens.json", "tolerance", 100, "tolerance should be a number from 0 to 1"),
        ("goldens.json", "tolerance", -1, "tolerance should be a number from 0 to 1"),
        ("goldens.json", "isa", None, "isa should be a list"),
        (
            "edgeprune.json",
            "graph",
            "../model.onnx",
            "graph should be onnx/model.onnx or edgeprune.onnx, not '../model.onnx'",
        ),
        ("goldens.json", "schema_version", True, "schema_version True, but this edgeprune reads 4"),
        ("goldens.json", "schema_version", [4], "schema_version [4], but this edgeprune reads 4"),
    ],
)
def test_another_shape_is_one_sentence(tmp_path: Path, name: str, path: str, value: object, message: str) -> None:
    content = changed(WRITTEN[name], path, value)
    if not message:  # a text may be long
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert READ[name](tmp_path)
        return
    assert message in complaint(tmp_path, name, content)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", "7", '"a"', "[" * 100_000, '{"a":' * 100_000, "\ud800", "9" * 5000]
)
def test_what_is_no_object_is_one_sentence(tmp_path: Path, name: str, content: str) -> None:
    if content == "\ud800":
        (tmp_path / name).write_bytes(b'{"a": "\xff"}')
        with pytest.raises(package_files.PackageError, match="can't be read"):
            READ[name](tmp_path)
    else:
        complaint(tmp_path, name, content)


def test_a_file_that_is_missing_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(package_files.PackageError, match="can't be read"):
        package_files.description(tmp_path)
    with (tmp_path / "edgeprune.json").open("wb") as file:
        file.truncate(package_files.MOST_BYTES["edgeprune.json"] + 1)
    with pytest.raises(package_files.PackageError, match="has more than 16 MB"):
        package_files.description(tmp_path)


def test_outputs_may_be_lists_in_lists(tmp_path: Path) -> None:
    golden = {**GOLDENS["goldens"][0], "outputs": [[[[1.0]]]]}
    (tmp_path / "goldens.json").write_text(json.dumps({**GOLDENS, "goldens": [golden]}), encoding="utf-8")
    READ["goldens.json"](tmp_path)


@pytest.mark.parametrize("depth", [900, 980, 5000])
def test_a_list_in_lists_too_deep_is_one_sentence(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for name, content, key in (("goldens.json", GOLDENS["goldens"][0], "goldens"), ("edgeprune.json", [], "labels")):
        inner = json.dumps(content)[:-1] + (", " if content else "") + ('"outputs": ' if content else "") + deep
        whole = json.dumps({**WRITTEN[name], key: []}).replace(
            f'"{key}": []', f'"{key}": [{inner}{"}" if content else "]"}]'
        )
        (tmp_path / name).write_text(whole, encoding="utf-8")
        with pytest.raises(package_files.PackageError) as caught:
            READ[name](tmp_path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
