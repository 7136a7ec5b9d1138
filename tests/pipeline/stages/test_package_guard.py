import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.base.errors import ParityError
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.graph.session import onnx_session, predict_onnx
from edgeprune.models.reader import Array
from edgeprune.models.text_reader import TextReader
from edgeprune.ondevice.run import Model
from edgeprune.pipeline.stages.package_guard import require_same_answers
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.store.files import FileRecord, file_records
from edgeprune.tasks.prepared import OUTPUTS, Prepared, load_outputs, open_prepared
from edgeprune.tasks.registry import COLUMNS, task_for
from edgeprune.tasks.spec import TaskSpec
from tests.support.e2e import Built
from tests.support.trained_tokenizers import KINDS, trained


@pytest.fixture(scope="module")
def prepared(built: Built) -> Prepared:
    """The test rows of the build, as its package's graph takes them."""
    data = DataSource(DataSpec(train=str(built.data)), columns=COLUMNS["text-classification"], offline=True)
    reader = built.artifact("quantize").file("reader")
    return open_prepared(built.artifact("prepare", 0), data, splits=("test",), reader=reader)


@pytest.fixture
def package(built: Built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.package, tmp_path / built.package.name))


@pytest.fixture(scope="module")
def outputs(built: Built) -> list[Array]:
    """What the metric of the build is made of."""
    return load_outputs(built.artifact("quantize").file(OUTPUTS))["test"]


def outputs_of(package: Path, prepared: Prepared) -> list[Array]:
    session = SessionOptions.model_validate(json.loads((package / "edgeprune.json").read_text())["session"])
    graph = onnx_session(package / "onnx/model.onnx", session)
    return predict_onnx(graph, prepared.task, prepared.test.examples, prepared.reader)


def asked(prepared: Prepared, contents: list[str]) -> Prepared:
    """The same task with other texts as its test rows."""
    examples = prepared.task.encode(prepared.reader, contents)
    test = dataclasses.replace(prepared.test, contents=contents, examples=examples, references=None)
    return dataclasses.replace(prepared, splits={"test": test})


def test_a_sound_package_is_left_as_it_was(package: Path, prepared: Prepared, outputs: list[Array]) -> None:
    def files() -> tuple[FileRecord, ...]:
        return file_records(package)

    before = files()
    require_same_answers(package, prepared, outputs)
    assert files() == before


def test_the_answers_are_compared_with_the_metric_s_outputs(
    package: Path, prepared: Prepared, outputs: list[Array]
) -> None:
    with pytest.raises(ParityError, match="otherwise than the metric has it"):
        require_same_answers(package, prepared, outputs[::-1])


def edit(name: str, **values: object) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        path = package / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("edgeprune.json", max_length=3), r"answers test row \d+ \('.*'\) otherwise than the metric has it: "),
        (edit("edgeprune.json", truncation_side="left", max_length=4), "otherwise than the metric has it"),
        (edit("edgeprune.json", labels=["pos", "neg"]), r"it: label (pos|neg) in place of (pos|neg); nothing was shipped"),
        (replaced("preprocess.py", ".encode(text)", ".encode(text.upper() + ' bad')"), "otherwise than"),
        (replaced("postprocess.py", "labels[int(scores.argmax())]", "labels[int(scores.argmin())]"), r"it: label "),
        (replaced("preprocess.py", "if first.strip()", "if len(first) > 40"), r"run\.py should answer 24 test rows, but ends with exit code 0 after \d+; nothing"),
        (replaced("postprocess.py", "import numpy", "import nowhere\nimport numpy"),
            r"exit code 2 after 0: No module named 'nowhere'; this package needs .*; nothing was shipped"),
    ],
)  # fmt: skip
def test_a_package_that_answers_otherwise_is_not_made(
    package: Path, prepared: Prepared, outputs: list[Array], change: Callable[[Path], None], message: str
) -> None:
    change(package)
    with pytest.raises(ParityError, match=message) as caught:
        require_same_answers(package, prepared, outputs)
    assert len(str(caught.value)) < 800


def test_texts_of_several_lines_are_arguments(package: Path, prepared: Prepared) -> None:
    rows = asked(prepared, ["a good\nfilm", "-5 bad\r\nplots", "--check", "great " * 200, " odd\u2028line", "bad\n"])
    outputs = outputs_of(package, rows)
    require_same_answers(package, rows, outputs)
    edit("edgeprune.json", max_length=3)(package)
    with pytest.raises(ParityError):
        require_same_answers(package, rows, outputs)


def test_texts_that_no_console_takes_are_left_out(package: Path, prepared: Prepared) -> None:
    odd = ["a\0b", " \t ", "x" * 200_000]
    rows = asked(prepared, [*odd, "a good film"])
    assert require_same_answers(package, rows, outputs_of(package, rows)) == 1
    edit("edgeprune.json", max_length=3)(package)
    assert require_same_answers(package, asked(prepared, odd), []) == 0


def test_more_lines_than_arguments_hold(package: Path, prepared: Prepared) -> None:
    rows = asked(prepared, [f"good\nfilm {'very ' * number * 100}" for number in range(60)])
    require_same_answers(package, rows, outputs_of(package, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_masked_words_are_asked_as_the_metric_masks_them(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    task = task_for(TaskSpec(task="fill-mask", max_length=32, inputs=("input_ids", "attention_mask")))
    reader = TextReader(tokenizer, 32)
    texts = [
        "the film was good and the plot was good",
        "naïve café crowds loved it ; 1999 was a fine year",
        "unbelievably",
    ]
    given = [(text, task.asked(text, reader)) for text in texts]
    assert sum(one is not None for _, one in given) >= 2
    generator = np.random.default_rng(0)
    for text, one in given:
        if one is None:
            continue
        (example,) = task.encode(reader, [text])
        raw = generator.normal(size=(len(example.inputs["input_ids"]), len(tokenizer))).astype(np.float32)
        for place, token, word in example.reads:
            raw[place, token] += 100 * (word % 2 == 0)
        answer = answered(task, reader, tmp_path, one, raw)
        assert task.heard(answer, text, reader) == task.said(task.read(raw, example), text)


def answered(task: Any, reader: TextReader, folder: Path, text: str, raw: np.ndarray) -> dict[str, Any]:
    """What the package's own code makes of an output."""
    from edgeprune.ondevice import postprocess_fill_mask, preprocess_text

    reader.save(folder)
    model = Model.__new__(Model)
    model.config = {**task.reading(reader), "inputs": ["input_ids"]}
    model.inputs = preprocess_text.Inputs(folder, model.config)
    found: dict[str, Any] = postprocess_fill_mask.answer(raw, model.inputs.encode(text), text, model)
    return found


def test_a_text_with_masks_of_its_own_is_not_asked() -> None:
    task = task_for(TaskSpec(task="fill-mask", max_length=32, inputs=("input_ids",)))
    assert task.asked("the [MASK] was good", TextReader(trained("WordPiece"), 32)) is None
