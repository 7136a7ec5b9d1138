"""Packages in transformers.js 4, in Node: it opens the folder, and its padded lists get the answers of run.py.

`make consumers` installs transformers.js. Texts are not longer than the model takes: transformers.js cuts the closing token too.
The case of question answering has a family without token types: it makes types for the tokenizers of some families only.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.consumers.conftest import Case, Packaged

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".consumers" / "transformers-js" / "node_modules"
pytestmark = pytest.mark.skipif(not MODULES.exists(), reason="transformers.js isn't there; make consumers installs it")


@pytest.mark.parametrize(
    ("case", "opened_as"),
    [
        (Case("text-classification", "bert", precision="int8-dynamic"), "AutoModelForSequenceClassification"),
        (Case("text-classification", "modernbert"), "AutoModelForSequenceClassification"),
        (Case("text-classification", "roberta", labels="multi"), "AutoModelForSequenceClassification"),
        (Case("token-classification", "distilbert"), "AutoModelForTokenClassification"),
        (Case("question-answering", "roberta"), "AutoModelForQuestionAnswering"),
        (Case("fill-mask", "electra"), "AutoModelForMaskedLM"),
    ],
)
def test_lists_are_answered_as_run_py_answers_each_text(
    packaged: Callable[[Case], Packaged], tmp_path: Path, case: Case, opened_as: str
) -> None:
    package = packaged(case)
    (tmp_path / "node_modules").symlink_to(MODULES)  # Node looks for modules beside the script
    script = tmp_path / "answer.mjs"
    script.write_text((HERE / "answer_with_transformers_js.mjs").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        ["node", script, opened_as, package.folder],
        input=json.dumps(package.contents), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    package.expect(done.stdout, package.contents)
