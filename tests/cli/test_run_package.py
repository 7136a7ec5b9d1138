"""`edgeprune run`: it answers as the package's own run.py does."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.e2e import MAIN, Built, call

TEXTS = ["a very good film .", "the story was dull ."]


def lines_to(built: Built, given: bytes, *flags: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "run", built.package, *flags], input=given, capture_output=True, check=False
    )


def test_arguments_and_lines_are_answered_as_by_run_py(built: Built) -> None:
    expected = subprocess.run(
        [sys.executable, built.package / "run.py", *TEXTS], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    ).stdout  # fmt: skip
    done = call("run", built.package, *TEXTS)
    assert (done.code, done.out) == (0, expected)
    done = lines_to(built, "\n".join(["\ufeff" + TEXTS[0], "  ", TEXTS[1]]).encode() + b"\r\n")
    assert (done.returncode, done.stdout.decode()) == (0, expected)


def test_batches_of_an_archive_are_one_document(built: Built) -> None:
    done = call("run", built.archive, *TEXTS, TEXTS[0], "--batch-size", "2", "--threads", "1", "--json")
    assert done.code == 0
    assert [answer["text"] for answer in done.document["answers"]] == [*TEXTS, TEXTS[0]]
    assert [answer["label"] for answer in done.document["answers"]] == ["pos", "neg", "pos"]


def test_no_lines_have_no_answers(built: Built) -> None:
    done = lines_to(built, b"", "--json")
    assert json.loads(done.stdout) == {"schema_version": 1, "exit_code": 0, "answers": []}


def test_no_standard_input_has_no_answers(built: Built) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", MAIN, "run", built.package],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_line_that_is_not_utf_8_ends_it_with_a_sentence(built: Built) -> None:
    done = lines_to(built, b"good\nb\xff\n")
    assert done.returncode == 2
    assert done.stdout.count(b"\n") == 1, "the line before is answered"
    assert done.stderr.startswith(b"edgeprune: standard input can't be read: line 2 is not UTF-8")
    assert done.stderr.count(b"\n") == 1


def test_who_stops_reading_hears_nothing(built: Built) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", built.package],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"good\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"good\n" * 100)
        process.stdin.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch-size", "0"], "should be greater than or equal to 1"),
        (["--threads", "0"], "should be greater than or equal to 1"),
    ],
)
def test_numbers_that_make_no_sense(built: Built, flags: list[str], words: str) -> None:
    done = call("run", built.package, "good", *flags)
    assert done.code == 2
    assert words in done.err


def test_what_is_no_package(built: Built) -> None:
    done = call("run", built.root, "good", "--json")
    assert done.code == 2
    assert "is not a package" in done.document["error"]
