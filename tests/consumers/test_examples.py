"""Programs beside a package: built and run by the commands of their README, they answer as run.py does and replay the goldens.

`make consumers` installs what they are built with: libraries of npm and of Debian. ONNX Runtime's library is the Python wheel's.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import edgeprune
from tests.consumers.cases import EXAMPLES, Case
from tests.consumers.conftest import CONSUMERS, Packaged
from tests.support.nasty_texts import nasty_texts

ONNXRUNTIME = CONSUMERS / "onnxruntime"
JSON = CONSUMERS / "json"
KOTLIN = CONSUMERS / "kotlin"
KOTLIN_MAIN = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
NODE_MODULES = CONSUMERS / "examples-js" / "node_modules"

Program = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs a package's program: its folder, and arguments."""


def beside(package: Path, language: str) -> Path:
    return package.with_name(f"{package.name}.examples") / language


@pytest.fixture(scope="module")
def in_js() -> Program:
    if not NODE_MODULES.exists():
        pytest.skip("the example's libraries aren't there; make consumers installs it")

    def run(package: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        folder = beside(package, "js")
        if not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(NODE_MODULES)
        return ran(["node", folder / "answer.mjs", package, *arguments])

    return run


@pytest.fixture(scope="module")
def in_cpp(tmp_path_factory: pytest.TempPathFactory) -> Program:
    need("cmake")
    need("g++")
    place = tmp_path_factory.mktemp("cpp")
    release = place / "onnxruntime"  # laid as ONNX Runtime's release is
    (release / "lib").mkdir(parents=True)
    (release / "include").symlink_to(ONNXRUNTIME / "include")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (release / "lib" / name).symlink_to(library)

    def run(package: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        built = place / "build"
        if not built.exists():
            source = beside(package, "cpp")
            configured = ["cmake", "-S", source, "-B", built, "-DCMAKE_BUILD_TYPE=Release", f"-DONNXRUNTIME={release}",
                          f"-DCMAKE_PREFIX_PATH={JSON}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"]  # fmt: skip
            for command in (configured, ["cmake", "--build", built]):
                done = ran(command)
                assert done.returncode == 0, done.stdout + done.stderr
        return ran([built / "answer", package, *arguments], ORT_EXTENSIONS=str(ONNXRUNTIME / "libortextensions.so"))

    return run


def need(tool: str, *folders: Path) -> None:
    """Skip where a compiler or what it reads isn't there."""
    for folder in (ONNXRUNTIME, JSON, *folders):
        if not folder.exists():
            pytest.skip(f"{folder.name} isn't there; make consumers installs it")
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} isn't there; install it")


def ran(command: Sequence[str | Path], **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, encoding="utf-8")


def numbers(answer: dict[str, Any]) -> list[float]:
    """The numbers of an answer of any task."""
    scores = answer.get("scores")
    found: list[float] = list(scores.values()) if scores else answer.get("embedding") or [answer["value"]]
    return found


def label(answer: dict[str, Any]) -> object:
    return answer.get("label", answer.get("labels"))


@pytest.mark.parametrize(
    ("case", "language"),
    [(case, f"in_{language}") for case in EXAMPLES for language in ("js", "cpp") if language in case.examples],
    ids=str,
)
def test_a_program(
    packaged: Callable[[Case], Packaged], request: pytest.FixtureRequest, case: Case, language: str
) -> None:
    program: Program = request.getfixturevalue(language)
    package = packaged(case)

    texts = [*package.contents, *package.cut, *nasty_texts()[:200], ""]
    texts = [text for text in texts if "\0" not in text]  # no command line can hold it
    done = program(package.folder, *texts)
    assert (done.returncode, done.stderr) == (0, "")
    answers = [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]  # a text may have other ends of lines
    for text, found, expected in zip(texts, answers, edgeprune.load_onnx(package.folder)(texts), strict=True):
        assert found["text"] == text
        assert label(found) == label(expected)
        np.testing.assert_allclose(numbers(found), numbers(expected), atol=1e-4)

    done = program(package.folder, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "goldens: ok\n", "")


@pytest.mark.parametrize("language", ["in_js", "in_cpp"])
def test_a_golden_that_changed(
    packaged: Callable[[Case], Packaged], request: pytest.FixtureRequest, tmp_path: Path, language: str
) -> None:
    program: Program = request.getfixturevalue(language)
    package = packaged(EXAMPLES[0]).folder
    assert program(package, "--check").returncode == 0  # it is built
    for change in ("outputs", "decision"):
        folder = shutil.copytree(package.parent, tmp_path / change, symlinks=True) / package.name
        record = json.loads((folder / "goldens.json").read_text(encoding="utf-8"))
        golden = record["goldens"][1]
        golden[change] = {"outputs": [0.0, 0.0], "decision": "another"}[change]
        (folder / "goldens.json").write_text(json.dumps(record), encoding="utf-8")
        done = program(folder, "--check")
        assert (done.returncode, done.stdout) == (5, "goldens: 1 failed\n")
        assert done.stderr == f"{json.dumps(golden['text'])}: another answer than when the package was made\n"


@pytest.mark.parametrize("language", ["in_js", "in_cpp"])
def test_what_a_program_cannot_use(
    packaged: Callable[[Case], Packaged], request: pytest.FixtureRequest, tmp_path: Path, language: str
) -> None:
    program: Program = request.getfixturevalue(language)
    package = packaged(EXAMPLES[0]).folder
    assert program(package).returncode == 2
    copied = shutil.copytree(package.parent, tmp_path / "dist", symlinks=True) / package.name
    (copied / "edgeprune.json").unlink()
    done = program(copied, "--check")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "edgeprune.json" in done.stderr


@pytest.mark.parametrize(
    ("file", "compiler", "made"),
    [
        ("java/src/main/java/Answer.java", ["javac", "-Xlint:all", "-Werror"], "Answer.class"),
        (
            "kotlin/src/main/kotlin/Answer.kt",
            ["java", "-cp", KOTLIN / "lib" / "*", KOTLIN_MAIN, "-Werror"],
            "AnswerKt.class",
        ),
    ],
    ids=["java", "kotlin"],
)
def test_a_program_that_is_compiled_only(tmp_path: Path, file: str, compiler: list[str | Path], made: str) -> None:
    need(str(compiler[0]), KOTLIN)
    source = Path(edgeprune.__file__).parent / "ondevice" / "examples" / file
    libraries = os.pathsep.join(map(str, (ONNXRUNTIME / "onnxruntime.jar", JSON / "share" / "java" / "gson.jar")))
    done = ran([*compiler, "-cp", libraries, "-d", tmp_path, source])
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / made).exists()
