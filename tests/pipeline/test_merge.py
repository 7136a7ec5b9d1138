"""edgeprune/pipeline/merge.py: packages of one release become a model package that ONNX Runtime's own loader opens."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.base.errors import IntegrityError, SchemaVersionError, UsageError
from edgeprune.ondevice.run import Model
from edgeprune.pipeline.merge import Merged, merge
from edgeprune.pipeline.verify import verify
from edgeprune.store.archive import archive
from edgeprune.store.files import file_digest, file_records
from edgeprune.store.package import DIGESTS, goldens, write_digests
from edgeprune.tasks.registry import ondevice_modules
from tests.support.e2e import Built, call, target_text

OPENER = Path(__file__).parents[1] / "support" / "open_model_package.py"
SESSION = {"threads": 3, "level": "extended", "arena": False, "config": {"session.intra_op.allow_spinning": "0"}}


def changed(package: Path, place: Path, *, lineage: Any = None, **description: Any) -> Path:
    """A copy of a package that says something else in its edgeprune.json, with digests that fit."""
    copy = Path(shutil.copytree(package, place))
    for name, change in (("edgeprune.json", description), ("lineage.json", lineage or {})):
        content = json.loads((copy / name).read_text(encoding="utf-8"))
        (copy / name).write_text(json.dumps(content | change), encoding="utf-8")
    return resummed(copy)


def resummed(package: Path) -> Path:
    (package / DIGESTS).unlink()
    write_digests(package)
    return package


@dataclass(frozen=True)
class Packages:
    """Packages of one release: for this machine, for one that wants fp32, and for one that shares this machine's graph."""

    here: Path
    plain: Path
    same: Path

    @property
    def all(self) -> list[Path]:
        return [self.here, self.plain, self.same]


@pytest.fixture(scope="module")
def packages(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    place = tmp_path_factory.mktemp("packages")
    (place / "plain.yaml").write_text(target_text("plain", precision={"mode": "fp32"}, runner=None), encoding="utf-8")
    done = built.again("--target", place / "plain.yaml", output=place)
    assert done.code == 0, done.err
    same = changed(built.package, place / "same", target="same", session=SESSION)
    return Packages(built.package, place / "tiny-model-1.4.0-plain", same)


@pytest.fixture(scope="module")
def merged(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Merged]:
    """All three, and what `merge` reports of them."""
    place = tmp_path_factory.mktemp("merged") / "release"
    return place, merge(packages.all, place)


def opened(
    package: Path, feeds: list[Mapping[str, Any]], *, output: str = "logits"
) -> subprocess.CompletedProcess[str]:
    """A model package in ONNX Runtime's library, in a process of its own."""
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    asked = {"output": output, "feeds": [{name: one.tolist() for name, one in feed.items()} for feed in feeds]}
    return subprocess.run(
        [sys.executable, OPENER, library, package],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def component(package: Path) -> Any:
    return json.loads((package / "model" / "component.json").read_text(encoding="utf-8"))


def edit(package: Path, change: Callable[[Any], None]) -> None:
    content = component(package)
    change(content["variants"])
    (package / "model" / "component.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(("target", "threads"), [("here", 1), ("plain", 1), ("same", 3)])
def test_onnx_runtime_opens_each_variant_with_its_options_and_answers_the_goldens(
    packages: Packages, merged: tuple[Path, Merged], tmp_path: Path, target: str, threads: int
) -> None:
    source = getattr(packages, target)
    preprocess, postprocess = ondevice_modules("text-classification")
    model = Model(source, preprocess=preprocess, postprocess=postprocess)
    record = goldens(source)
    feeds = [model.inputs.feed(model.inputs.encode(model.golden_content(golden))) for golden in record["goldens"]]
    alone = Path(shutil.copytree(merged[0], tmp_path / "alone"))

    def keep_one(variants: dict[str, Any]) -> None:
        for other in set(variants) - {target}:
            del variants[other]

    edit(alone, keep_one)
    done = opened(alone, feeds)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["variants"] == {"model": [target]}
    assert (found["variant"], found["folder"]) == (target, str(alone / "model" / target))
    assert found["threads"] == threads
    wanted = [golden["outputs"] for golden in record["goldens"]]
    np.testing.assert_allclose(found["outputs"], wanted, atol=1e-5)


def test_onnx_runtime_takes_the_first_variant_of_a_provider(
    packages: Packages, merged: tuple[Path, Merged], tmp_path: Path
) -> None:
    found = json.loads(opened(merged[0], []).stdout)
    assert found["variants"] == {"model": ["here", "plain", "same"]}
    assert found["variant"] == "here"
    assert [(one.target, one.selected) for one in merged[1].variants] == [
        ("here", True),
        ("plain", False),
        ("same", False),
    ]
    other = merge([packages.plain, packages.here], tmp_path / "other")
    assert json.loads(opened(tmp_path / "other", []).stdout)["variant"] == "plain"
    assert [one.selected for one in other.variants] == [True, False]


def test_a_variant_for_another_provider_is_not_in_the_way(packages: Packages, tmp_path: Path) -> None:
    gpu = changed(packages.plain, tmp_path / "gpu", target="gpu", provider="CUDAExecutionProvider")
    variants = merge([gpu, packages.here], tmp_path / "both").variants
    assert [(one.provider, one.selected) for one in variants] == [
        ("CUDAExecutionProvider", True),
        ("CPUExecutionProvider", True),
    ]
    assert json.loads(opened(tmp_path / "both", []).stdout)["variant"] == "here"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("session.intra_op_num_threads", "many", "intra_op_num_threads"),
        ("session.graph_optimization_level", "enable_most", "graph_optimization_level"),
        ("session.enable_cpu_mem_arena", "maybe", "enable_cpu_mem_arena"),
    ],
)
def test_onnx_runtime_reads_the_options_under_these_names(
    merged: tuple[Path, Merged], tmp_path: Path, option: str, value: str, words: str
) -> None:
    """A value that makes no sense is refused, so the name is one that ONNX Runtime acts on."""
    copy = Path(shutil.copytree(merged[0], tmp_path / "copy"))

    def spoil(variants: dict[str, Any]) -> None:
        options = variants["here"]["executor_info"]["ort"]["session_options"]
        assert option in options
        options[option] = value

    edit(copy, spoil)
    done = opened(copy, [])
    assert done.returncode == 1
    assert words in done.stderr


def test_onnx_runtime_knows_no_other_keys(merged: tuple[Path, Merged], tmp_path: Path) -> None:
    """The loader is strict, so what it opens has no key that the format doesn't have."""
    copy = Path(shutil.copytree(merged[0], tmp_path / "copy"))
    edit(copy, lambda variants: variants["here"].update(architecture="x86_64"))
    done = opened(copy, [])
    assert done.returncode == 1
    assert "architecture" in done.stderr


def test_options_are_those_of_the_package(merged: tuple[Path, Merged]) -> None:
    ort = component(merged[0])["variants"]["same"]["executor_info"]["ort"]
    assert ort["session_options"] == {
        "session.intra_op_num_threads": "3",
        "session.graph_optimization_level": "enable_extended",
        "session.enable_cpu_mem_arena": "0",
        "session.intra_op.allow_spinning": "0",
    }


def test_files_that_are_the_same_are_there_once(packages: Packages, merged: tuple[Path, Merged]) -> None:
    place, report = merged
    files = {record.path: record.sha256 for record in file_records(place)}
    graphs = {one.target: one.graph for one in report.variants}
    assert graphs["here"] == graphs["same"] != graphs["plain"] == "model/plain/onnx/model.onnx"
    for target, graph in graphs.items():
        assert files[graph] == file_digest(getattr(packages, target) / "onnx" / "model.onnx")
    tokenizer = file_digest(packages.here / "tokenizer.json")
    assert sum(digest == tokenizer for digest in files.values()) == 1
    assert sum(path.endswith(".onnx") for path in files) == 2
    said, described = (
        json.loads((folder / "edgeprune.json").read_text(encoding="utf-8"))
        for folder in (place / "model" / "plain", packages.plain)
    )
    assert said == {key: value for key, value in described.items() if key != "graph"}
    assert report.size_bytes == sum((place / name).stat().st_size for name in files)


def test_assets_have_the_digests_that_the_format_asks_for(merged: tuple[Path, Merged]) -> None:
    """SHA-256 over a line for each file, its digest and its name, sorted by name."""
    folders = sorted((merged[0] / "shared_assets").iterdir())
    assert len(folders) == 2
    for folder in folders:
        lines = "".join(f"{file_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
        listed = subprocess.run(["sha256sum"], input=lines, capture_output=True, text=True, check=True).stdout
        assert folder.name == f"sha256-{listed.split()[0]}"
    reader = json.loads((merged[0] / "manifest.json").read_text())["additional_metadata"]["edgeprune"]["reader"]
    assert (merged[0] / "shared_assets" / reader.replace(":", "-") / "tokenizer.json").is_file()


def test_weights_beside_a_graph_go_with_it(packages: Packages, tmp_path: Path) -> None:
    """Above 2 GB they are, alone or shared."""
    given = []
    for target in ("one", "two"):
        package = changed(packages.plain, tmp_path / target, target=target)
        graph = package / "onnx" / "model.onnx"
        onnx.save_model(onnx.load(graph), graph, save_as_external_data=True, location="model.onnx_data")
        given.append(resummed(package))
    for name, some in (("shared", given), ("alone", given[:1])):
        (graph,) = {one.graph for one in merge(some, tmp_path / name).variants}
        assert (tmp_path / name / graph).with_name("model.onnx_data").is_file()
        assert len(list((tmp_path / name).rglob("model.onnx_data"))) == 1
        done = opened(tmp_path / name, [])
        assert done.returncode == 0, done.stderr


def test_the_same_packages_give_the_same_bytes(packages: Packages, merged: tuple[Path, Merged], tmp_path: Path) -> None:
    archives = []
    for number, package in enumerate(packages.all):
        archives.append(tmp_path / f"{number}.tar.gz")
        archive(package, archives[-1])
    merge(archives, tmp_path / "again")
    assert file_records(tmp_path / "again") == file_records(merged[0])
    sums = subprocess.run(["sha256sum", "--check", "--quiet", DIGESTS], cwd=tmp_path / "again", check=False)
    assert sums.returncode == 0


def test_one_package_is_enough(packages: Packages, tmp_path: Path) -> None:
    merge([packages.plain], tmp_path / "alone")
    assert json.loads(opened(tmp_path / "alone", []).stdout)["variant"] == "plain"


def test_only_a_model_package_is_replaced(packages: Packages, tmp_path: Path) -> None:
    place = tmp_path / "release"
    place.mkdir()
    merge([packages.here], place)
    (place / "left").touch()
    merge([packages.plain], place)
    assert [path.name for path in (place / "model").iterdir() if path.is_dir()] == ["plain"]
    assert not (place / "left").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "manifest.json").write_text("{}", encoding="utf-8")
    kept = Path(shutil.copytree(packages.here, tmp_path / "kept"))
    for taken in (mine, kept, mine / "manifest.json"):
        with pytest.raises(UsageError, match="is not a model package that edgeprune wrote"):
            merge([packages.here], taken)
    assert (mine / "manifest.json").read_text(encoding="utf-8") == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".edgeprune.lock", "kept", "mine", "release"]


def test_an_output_that_overlaps_with_a_package_is_refused(packages: Packages, tmp_path: Path) -> None:
    inside = Path(shutil.copytree(packages.here, tmp_path / "dist" / "package"))
    for output in (inside, inside / "below", inside.parent):
        with pytest.raises(UsageError, match="over or into a package that is merged"):
            merge([inside], output)
    assert verify(inside).files == verify(packages.here).files


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "other"}, "has name 'other', but .* has 'tiny-model'"),
    "release": ({"release": "2"}, "has release '2', but .* has '1.4.0'"),
    "task": ({"task": "token-classification"}, "has task 'token-classification'"),
    "labels": ({"labels": ["pos", "neg"]}, r"has labels \['pos', 'neg'\], but .* has \['neg', 'pos'\]"),
    "inputs": ({"inputs": ["input_ids"]}, "has inputs"),
    "length": ({"max_length": 8}, "has max_length 8, but .* has 16"),
    "more": ({"word_signs": "x"}, "has word_signs 'x', but .* has None"),
    "model": ({"lineage": {"model": {"name": "m", "digest": "0"}}}, "was made of another model"),
    "target": ({"target": "here"}, "are both for the target here"),
    "path": ({"target": "../here"}, "letters from a to z"),
    "bare": ({"graph": "edgeprune.onnx"}, "layout bare"),
}


@pytest.mark.parametrize(("change", "words"), OTHERS.values(), ids=OTHERS)
def test_packages_that_do_not_belong_together_are_refused(
    packages: Packages, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    other = changed(packages.here, tmp_path / "other", **({"target": "other"} | change))
    with pytest.raises(UsageError, match=words):
        merge([packages.here, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_tokenizer_is_refused(packages: Packages, tmp_path: Path) -> None:
    other = changed(packages.here, tmp_path / "other", target="other")
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    with pytest.raises(UsageError, match=r"has another tokenizer\.json than"):
        merge([packages.here, resummed(other)], tmp_path / "out")


def test_damaged_packages_are_refused(packages: Packages, merged: tuple[Path, Merged], tmp_path: Path) -> None:
    damaged = changed(packages.here, tmp_path / "damaged", target="other")
    (damaged / "onnx" / "model.onnx").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"onnx/model\.onnx was changed"):
        merge([packages.here, damaged], tmp_path / "out")
    for name, change, error in (
        ("nameless", {"name": None}, IntegrityError),
        ("newer", {"schema_version": 99}, SchemaVersionError),
        ("rootless", {"lineage": {"model": None}}, IntegrityError),
    ):
        with pytest.raises(error):
            merge([changed(packages.here, tmp_path / name, **change)], tmp_path / "out")
    with pytest.raises(UsageError, match="there is no folder or file"):
        merge([packages.here, tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(UsageError, match="give one of the packages that it was merged from"):
        merge([merged[0]], tmp_path / "out")
    with pytest.raises(UsageError, match="there is no package to merge"):
        merge([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_reports_in_words_and_as_json(
    packages: Packages, merged: tuple[Path, Merged], tmp_path: Path
) -> None:
    done = call("package", "merge", *packages.all, "--output", tmp_path / "out", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.document == merged[1].model_dump(mode="json") | {"path": str(tmp_path / "out")}
    told = call("package", "merge", packages.here, packages.plain, "--output", tmp_path / "out")
    assert told.code == 0
    assert "here: CPUExecutionProvider\n" in told.out
    assert "plain: CPUExecutionProvider; ONNX Runtime takes here, which comes first\n" in told.out
    refused = call("package", "merge", packages.here, packages.here, "--output", tmp_path / "out", "--json")
    assert (refused.code, refused.document["exit_code"]) == (2, 2)
    assert len(refused.complaints) == 1
    assert file_digest(tmp_path / "out" / "manifest.json") != file_digest(merged[0] / "manifest.json"), (
        "the last one stays"
    )
