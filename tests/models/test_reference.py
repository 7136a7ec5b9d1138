import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from edgeprune.base.errors import ModelError
from edgeprune.models.reference import resolve_model
from tests.conftest import Hub

CONFIG = '{"model_type": "bert", "architectures": ["BertModel"]}'
RESOLVE = """
import json, sys
from edgeprune.base.errors import ModelError
from edgeprune.models.reference import resolve_model
found = []
for reference in sys.argv[2:]:
    try:
        source = resolve_model(reference, offline=sys.argv[1] == "offline")
        files = [path.relative_to(source.folder).as_posix() for path in source.files]
        found.append({"name": source.name, "files": files, "digest": source.digest, "repository": source.repository})
    except ModelError as error:
        found.append({"error": str(error)})
print(json.dumps(found))
"""


def weights(value: float) -> bytes:
    return save({"pooler.dense.bias": np.array([value], np.float32)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my-model"
    path.mkdir()
    (path / "config.json").write_text(CONFIG)
    (path / "model.safetensors").write_bytes(weights(0.0))
    (path / "tokenizer.json").write_text("{}")
    return path


def resolved_elsewhere(mode: str, *references: str, env: dict[str, str]) -> list[dict[str, Any]]:
    """What another process, whose environment is `env`, resolves the references to."""
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, mode, *references], env=env, capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout))


def test_a_local_folder(folder: Path):
    source = resolve_model(str(folder), offline=True)
    assert (source.folder, source.name, source.reference) == (folder, "my-model", str(folder))
    assert source.config["architectures"] == ["BertModel"]
    assert [path.name for path in source.files] == ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize("name", ["", ".", "sub/.."])
def test_the_name_is_the_folders_however_it_is_written(folder: Path, name: str):
    (folder / "sub").mkdir()
    assert resolve_model(f"{folder}/{name}", offline=True).name == "my-model"


def test_the_digest_is_of_the_files_that_matter_wherever_they_are(folder: Path):
    before = resolve_model(str(folder)).digest
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "sub").mkdir()
    (folder / "sub" / "config.json").write_text("{}")
    moved = folder.rename(folder.with_name("other"))
    assert resolve_model(str(moved)).digest == before


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "pruning.json",
        "vocab.txt",
        "1_Pooling/config.json",
        "LICENSE",
    ],
)
def test_every_file_that_matters_changes_the_digest(folder: Path, name: str):
    before = resolve_model(str(folder)).digest
    (folder / name).parent.mkdir(exist_ok=True)
    changed = weights(1.0) if name == "model.safetensors" else b'{"model_type": "bert", "changed": true}'
    (folder / name).write_bytes(changed)
    assert resolve_model(str(folder)).digest != before


def test_a_renamed_file_changes_the_digest(folder: Path):
    before = resolve_model(str(folder)).digest
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert resolve_model(str(folder)).digest != before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "holds no config.json; give a folder with a Hugging Face checkpoint"),
        ("{", "can't be read as JSON"),
        ("[]", "names no model_type"),
        ("{}", "names no model_type"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(folder: Path, config: str | None, message: str):
    (folder / "config.json").unlink() if config is None else (folder / "config.json").write_text(config)
    with pytest.raises(ModelError) as caught:
        resolve_model(str(folder))
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_file_is_refused(folder: Path):
    with pytest.raises(ModelError, match=r"is a file; give the folder that holds config\.json"):
        resolve_model(str(folder / "model.safetensors"))


@pytest.mark.parametrize(
    "reference", ["./nowhere", "../nowhere/model", "/nowhere", "a/b/c", "nowhere model", "~nobody-of-this-name/model"]
)
def test_a_folder_that_is_not_there_is_refused_without_asking_the_hub(reference: str):
    with pytest.raises(ModelError, match=re.escape(f"no folder {reference}; give a local folder, a hub id")):
        resolve_model(reference)


@pytest.fixture
def package_env(folder: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which the Python package tiny_weights carries the model in its folder `model`."""
    package = tmp_path / "site" / "tiny_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('a package is never imported for its files')")
    folder.rename(package / "model")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site")}


def test_a_model_in_an_installed_package(package_env: dict[str, str]):
    (found,) = resolved_elsewhere("online", "package:tiny_weights/model", env=package_env)
    assert found["name"] == "tiny-weights"
    assert found["files"] == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_package_without_the_model_is_refused(package_env: dict[str, str]):
    messages = {
        "package:tiny_weights/other": "the package 'tiny_weights' has no folder 'other'",
        "package:tiny_weights": "holds no config.json",
        "package:no_such_package/model": "the Python package 'no_such_package' is not installed",
        "package:not-a-name/model": "the Python package 'not-a-name' is not installed",
        "package:json.decoder/model": "the Python package 'json.decoder' is not installed",
        "package:": "the Python package '' is not installed",
    }
    found = resolved_elsewhere("online", *messages, env=package_env)
    for record, message in zip(found, messages.values(), strict=True):
        assert message in record["error"]


@pytest.fixture
def cached(folder: Path, hub: Hub) -> Hub:
    """A hub whose cache on this machine, made by hand, holds org/tiny: a main, and a branch `v1`."""
    repository = Path(hub.env["HF_HOME"]) / "hub" / "models--org--tiny"
    for revision, commit in {"main": "a" * 40, "v1": "b" * 40}.items():
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for path in folder.iterdir():
            (snapshot / path.name).write_bytes(path.read_bytes())
        (snapshot / "README.md").write_text(revision)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
    return hub


def test_a_cached_hub_model_is_found_offline_without_a_request(cached: Hub):
    references = ["org/tiny", "org/tiny@v1", f"org/tiny@{'b' * 40}"]
    main, branch, commit = resolved_elsewhere("offline", *references, env=cached.env)
    assert main["name"] == "org-tiny"
    assert main["files"] == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert main["digest"] != branch["digest"]
    assert branch == commit
    assert cached.requests == []


def test_what_is_not_cached_is_refused_offline_without_a_request(cached: Hub):
    references = ["org/other", "org/tiny@v2", "tiny"]
    assert resolved_elsewhere("offline", *references, env=cached.env) == [
        {
            "error": f"there is no folder {reference}, nor a model of this name in the local cache (--offline); give a local "
            "folder, or download the model first"
        }
        for reference in references
    ]
    assert cached.requests == []


def test_a_hub_model_is_downloaded_without_what_is_not_read(hub: Hub, folder: Path):
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()} | {"pytorch_model.bin": b"pickle"}
    expected = {
        "name": "org-tiny",
        "files": ["config.json", "model.safetensors", "tokenizer.json"],
        "digest": resolve_model(str(folder)).digest,
        "repository": "org/tiny",
    }
    assert resolve_model(str(folder)).repository is None
    assert resolved_elsewhere("online", "org/tiny", env=hub.env) == [expected]
    assert not any("pytorch_model.bin" in path for path in hub.requests)
    asked = len(hub.requests)
    assert resolved_elsewhere("offline", "org/tiny", env=hub.env) == [expected]
    assert len(hub.requests) == asked


def test_a_model_that_the_hub_does_not_have_is_refused(hub: Hub):
    (found,) = resolved_elsewhere("online", "org/other", env=hub.env)
    assert found["error"].startswith("there is no folder org/other, nor a model of this name on the hub: ")
    assert "/api/models/org/other/revision/main" in hub.requests


@pytest.mark.parametrize(
    "name", ["LICENSE", "LICENSE.txt", "vocab.txt", "tokenizer.json", "README.md", "1_Pooling/config.json"]
)
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("a secret")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(
        ModelError, match=r"is a link to a file outside of the model's folder.*; copy the file into the folder"
    ):
        resolve_model(str(folder)).digest  # noqa: B018


def test_a_folder_in_the_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="outside of the model's folder"):
        resolve_model(str(folder)).files  # noqa: B018


def test_links_within_the_folder_to_the_folder_and_of_weights_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "terms").write_text("terms")
    (folder / "LICENSE").symlink_to("terms")
    (folder / "model.safetensors").rename(tmp_path / "large-disk")
    (folder / "model.safetensors").symlink_to(tmp_path / "large-disk")
    (tmp_path / "link").symlink_to(folder)
    for found in (resolve_model(str(folder)), resolve_model(str(tmp_path / "link"))):
        assert [path.name for path in found.licences] == ["LICENSE"]
        assert len(found.files) == 4


def test_the_hubs_cache_is_made_of_links(folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1234", tmp_path / "models--a--b" / "blobs"
    for place in (snapshot, blobs):
        place.mkdir(parents=True)
    for number, path in enumerate(folder.iterdir()):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert len(resolve_model(str(snapshot)).files) == 3


@pytest.mark.parametrize(
    "name", ["LICENSE\n", "LICENSE\x1b[2J", "LICENSE:a", "LICENSE.", "a\nb.safetensors", "a\u2028.model"]
)
def test_a_name_that_no_package_can_have_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(ModelError) as caught:
        resolve_model(str(folder)).digest  # noqa: B018
    assert "rename the file" in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_is_no_file_is_no_licence(folder: Path) -> None:
    (folder / "LICENSES").mkdir()
    os.mkfifo(folder / "LICENSE")
    assert resolve_model(str(folder)).licences == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.gguf": b"GGUF"}, "org/tiny has GGUF weights only (model.gguf)"),
        ({"pytorch_model.bin": b"pickle"}, "org/tiny has pickled weights only (pytorch_model.bin)"),
        (
            {"adapter_config.json": b"{}", "adapter_model.safetensors": b""},
            "holds a PEFT adapter (adapter_config.json)",
        ),
        ({"model.safetensors": b"", "model_head.pkl": b""}, "is a SetFit model (model_head.pkl)"),
    ],
)
def test_what_a_repository_on_the_hub_holds_instead_is_named(hub: Hub, files: dict[str, bytes], message: str):
    hub.files = {"config.json": CONFIG.encode(), **files}
    (found,) = resolved_elsewhere("online", "org/tiny", env=hub.env)
    assert message in found["error"]
