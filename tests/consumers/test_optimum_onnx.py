"""Packages in optimum-onnx, with transformers 4: it opens the folder, and its padded lists get the answers of run.py.

`make consumers` makes the environment that optimum-onnx is in, because it can't be installed beside transformers 5.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.consumers.conftest import Case, Packaged

PYTHON = Path(__file__).parents[2] / ".consumers" / "optimum-onnx" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="optimum-onnx isn't there; make consumers installs it")


@pytest.mark.parametrize(
    ("case", "opened_as"),
    [
        (Case("text-classification", "bert", precision="int8-dynamic"), "ORTModelForSequenceClassification"),
        (Case("text-classification", "modernbert"), "ORTModelForSequenceClassification"),
        (Case("text-classification", "roberta", labels="multi"), "ORTModelForSequenceClassification"),
        (Case("token-classification", "distilbert"), "ORTModelForTokenClassification"),
        (Case("question-answering", "bert"), "ORTModelForQuestionAnswering"),
        (Case("fill-mask", "electra"), "ORTModelForMaskedLM"),
    ],
)
def test_lists_are_answered_as_run_py_answers_each_text(
    packaged: Callable[[Case], Packaged], case: Case, opened_as: str
) -> None:
    package = packaged(case)
    contents = [*package.contents, *package.cut]
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("answer_with_optimum.py"), opened_as, package.folder],
        input=json.dumps(contents), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    package.expect(done.stdout, contents)
