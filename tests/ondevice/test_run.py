"""edgeprune/ondevice/run.py, as a package has it. What it answers is in tests/pipeline/stages/test_package.py."""

import base64
import contextlib
import io
import json
import os
import py_compile
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from edgeprune.ondevice.run import Model, OldLibraryError
from tests.store.test_package import resum
from tests.support.e2e import Built, Ran, call

TEXTS = ["a great lovely superb film .", "ümläut, and \U0001f600 words never seen", "awful"]


@pytest.fixture
def package(built: Built, tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    return Path(shutil.copytree(built.package, tmp_path / built.package.name))


def run(
    package: Path, *arguments: str, stdin: bytes | None = None, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(
        [sys.executable, str(package / "run.py"), *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert b"Traceback" not in done.stderr
    return done


def run_here(package: Path, *arguments: str) -> Ran:
    """The same in this process, which has the libraries imported already; nothing may be raised but the exit."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["run.py", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(str(package / "run.py"), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return Ran(ended.value.code, out.getvalue(), err.getvalue())


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_lines_are_the_same_however_they_end(package: Path) -> None:
    given = run(package, *TEXTS)
    assert given.returncode == 0
    for end, before, last in ((b"\n", b"", b"\n"), (b"\r\n", b"\xef\xbb\xbf", b"\r\n"), (b"\r\n", b"", b"")):
        read = run(package, stdin=before + end.join(text.encode() for text in TEXTS) + last)
        assert (read.returncode, read.stdout) == (0, given.stdout)


@pytest.mark.parametrize(
    ("lines", "number"),
    [(b"good\nb\x84d\ngood\n", 2), ("good\n".encode("utf-16"), 1)],
)
def test_a_line_that_is_no_utf_8_is_named(package: Path, lines: bytes, number: int) -> None:
    done = run(package, stdin=lines)
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == number - 1
    assert done.stderr.startswith(b"line %d is not UTF-8" % number)
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "utf-16"])
def test_answers_are_json_whatever_the_console_shows(package: Path, encoding: str) -> None:
    done = run(package, *TEXTS, PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.decode(encoding).splitlines()]
    assert [answer["text"] for answer in answers] == TEXTS
    if encoding != "utf-16":
        assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == TEXTS


def test_who_reads_no_longer_is_left_alone(package: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(package / "run.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"good\n" * 2000)
        process.stdin.close()
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_who_interrupts_gets_no_traceback(package: Path) -> None:
    # A shell's background job inherits that SIGINT is ignored; Python then raises no KeyboardInterrupt.
    code = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(package / "run.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"good\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (130, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["good"], ["--check"]])
def test_answers_that_can_not_be_written(package: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, str(package / "run.py"), *arguments], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (8, b"the answers can't be written: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_stream_that_is_closed(package: Path, closed: str) -> None:
    given = "good" if closed == ">&-" else ""
    done = subprocess.run(
        ["sh", "-c", f'"$0" "$1" {given} {closed}', sys.executable, str(package / "run.py")],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("library", ["onnxruntime", "tokenizers"])
@pytest.mark.parametrize(
    ("version", "oldest", "fits"),
    [("0.19.1", "0.20", False), ("0.20.0", "0.20.1", False), ("0.20.1rc1", "0.20.1", True), ("1.0.dev0", "0.20", True)],
)
def test_an_old_library_is_named_with_the_version_that_is_needed(
    package: Path, monkeypatch: pytest.MonkeyPatch, library: str, version: str, oldest: str, *, fits: bool
) -> None:
    edit(
        package / "edgeprune.json",
        lambda content: content.update({"oldest_onnxruntime": "0.1", f"oldest_{library}": oldest}),
    )
    monkeypatch.setattr(f"{library}.__version__", version)
    if fits:
        assert Model(package).answers(["good"])
    else:
        with pytest.raises(OldLibraryError) as caught:
            Model(package)
        assert str(caught.value) == f"{library} {version} is too old for this package; install {oldest} or newer"


def test_an_old_tokenizers_is_named_before_it_reads_anything(package: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizers.py").write_text("__version__ = '0.12.1'\n", encoding="utf-8")
    done = run(package, "good", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == b"tokenizers 0.12.1 is too old for this package; install 0.13 or newer\n"
    assert "onnxruntime 1.18 and tokenizers 0.13 or newer" in (package / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("library", ["numpy", "onnxruntime", "tokenizers"])
def test_a_library_that_is_not_there_is_named(package: Path, tmp_path: Path, library: str) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ImportError('No module named {library}')\n", encoding="utf-8")
    done = run(package, "good", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"No module named {library}; this package needs".encode())


@pytest.mark.parametrize(
    "name",
    ["package_files.py", "preprocess.py", "postprocess.py", "edgeprune.json", "tokenizer.json", "onnx/model.onnx"],
)
def test_a_file_that_is_not_there_is_named(package: Path, name: str) -> None:
    (package / name).unlink()
    done = run_here(package, "good")
    assert done.code in (2, 5)
    assert name in done.err
    assert len(done.err.splitlines()) == 1


def test_what_lies_in_pycache_is_not_run(package: Path) -> None:
    for name in ("package_files", "preprocess", "postprocess"):
        source = package / f"{name}.py"
        kept = source.read_text(encoding="utf-8")
        facts = source.stat()
        source.write_text(f"print('foreign code'){' ' * 10_000}"[: len(kept.encode())], encoding="utf-8")
        os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        py_compile.compile(str(source))
        source.write_text(kept, encoding="utf-8")
        os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    done = run(package, "good")
    assert done.returncode == 0
    assert b"foreign" not in done.stdout
    shutil.rmtree(package / "__pycache__")
    assert run(package, "good", PYTHONDONTWRITEBYTECODE="").stdout == done.stdout
    assert not (package / "__pycache__").exists()


def _panic(package: Path) -> None:
    """A tokenizer that panics: its normalizer's table is too short."""
    table = base64.b64encode(b"\4\0\0\0\0\0\0\0a\0").decode()
    edit(
        package / "tokenizer.json",
        lambda content: content.update(normalizer={"type": "Precompiled", "precompiled_charsmap": table}),
    )


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a tokenizer that panics": _panic,
    "a tokenizer that is none": lambda package: (package / "tokenizer.json").write_text("{}", encoding="utf-8"),
    "a deep tokenizer": lambda package: (package / "tokenizer.json").write_text("[" * 100_000, encoding="utf-8"),
    "a model that is none": lambda package: (package / "onnx/model.onnx").write_bytes(b"model"),
    "an empty model": lambda package: (package / "onnx/model.onnx").write_bytes(b""),
    "no such task": lambda package: edit(package / "edgeprune.json", lambda content: content.update(task="magic")),
    "another task": lambda package: edit(package / "edgeprune.json", lambda content: content.update(task="fill-mask")),
    "an unknown input": lambda package: edit(package / "edgeprune.json", lambda content: content.update(inputs=["x"])),
    "an unknown output": lambda package: edit(package / "edgeprune.json", lambda content: content.update(outputs=["x"])),
    "no labels": lambda package: edit(package / "edgeprune.json", lambda content: content.update(labels=[])),
    "no length": lambda package: edit(package / "edgeprune.json", lambda content: content.pop("max_length")),
    "no pair": lambda package: edit(package / "edgeprune.json", lambda content: content.update(pair=True)),
    "no word of pairs": lambda package: edit(package / "edgeprune.json", lambda content: content.pop("pair")),
    "what a terminal would take as a command": lambda package: edit(
        package / "edgeprune.json", lambda content: content.update(outputs=["\x1b[2J"])
    ),
    "no such truncation": lambda package: edit(
        package / "edgeprune.json", lambda content: content.update(truncation="magic")
    ),
    "no such option": lambda package: edit(
        package / "edgeprune.json", lambda content: content["session"]["config"].update({"session.intra_op_num_threads": "x", "": ""})
    ),
    "goldens without texts": lambda package: edit(
        package / "goldens.json", lambda content: content["goldens"][0].pop("text")
    ),
    "goldens of other texts": lambda package: edit(
        package / "goldens.json", lambda content: content["goldens"][0].update(text=["a", "b"])
    ),
    "goldens of other shapes": lambda package: edit(
        package / "goldens.json", lambda content: content["goldens"][0].update(outputs=[[1.0], 2])
    ),
    "goldens that are too large": lambda package: edit(
        package / "goldens.json", lambda content: content["goldens"][0].update(outputs=[10**400, 1])
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_behind_right_digests_is_one_sentence(package: Path, damage: str) -> None:
    DAMAGE[damage](package)
    resum(package)
    verified = call("verify", package)
    assert verified.code == 5
    assert len(verified.complaints) == 1
    assert "\x1b[2J" not in verified.err
    if "task" not in damage:  # run.py has its task's code beside it
        checked = run_here(package, "--check")
        assert checked.code == 5
        assert len(checked.err.splitlines()) == 1
    answered = run_here(package, "good", "bad")
    assert answered.code in (0, 2, 5)
    assert len(answered.err.splitlines()) == (answered.code != 0)
