"""Packages in transformers.js 4, in Node: it opens the folder, and answers as run.py does.

`make consumers` installs transformers.js. Texts are not longer than the model takes: transformers.js cuts the closing token too.
The case of question answering has a family without token types: it makes types for the tokenizers of some families only.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import IMAGE_TASKS
from tests.consumers.cases import TRANSFORMERS_JS, Case
from tests.consumers.conftest import CONSUMERS, Packaged

MODULES = CONSUMERS / "transformers-js" / "node_modules"
pytestmark = pytest.mark.skipif(not MODULES.exists(), reason="transformers.js isn't there; make consumers installs it")


@pytest.mark.parametrize("case", TRANSFORMERS_JS, ids=str)
def test_transformers_js(packaged: Callable[[Case], Packaged], tmp_path: Path, case: Case) -> None:
    package = packaged(case)
    (tmp_path / "node_modules").symlink_to(MODULES)  # Node looks for modules beside the script
    script = tmp_path / "answer.mjs"
    source = Path(__file__).with_name("answer_with_transformers_js.mjs")
    script.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        ["node", script, TRANSFORMERS_JS[case], package.folder],
        input=json.dumps(package.contents), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if case.task not in IMAGE_TASKS:
        package.expect(done.stdout, package.contents)
        return
    # Its images are resized by another library, so that pixels differ a little.
    expected, found = np.array(package.outputs(package.contents)), json.loads(done.stdout)
    for given in map(np.array, (found["alone"], found["lists"])):
        cosines = (given * expected).sum(-1) / np.linalg.norm(given, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert cosines.min() > 0.9, sorted(cosines)
        if case.task == "image-classification":
            assert np.mean(given.argmax(-1) == expected.argmax(-1)) >= 0.99
