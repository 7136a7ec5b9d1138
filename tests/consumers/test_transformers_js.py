"""Packages in transformers.js 4, in Node and in a page: it opens the folder, and answers as run.py does.

`make consumers` installs transformers.js, and `make browser` Chromium. Texts are not longer than the model takes: transformers.js
cuts the closing token too. The case of question answering has a family without token types: it makes types for the tokenizers of
some families only.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeprune.devices.chromium import Chromium
from edgeprune.devices.page_server import PageServer
from tests.conftest import IMAGE_TASKS
from tests.consumers.cases import TRANSFORMERS_JS, Case
from tests.consumers.conftest import CONSUMERS, Compared, Packaged, Record

HERE = Path(__file__).parent
MODULES = CONSUMERS / "transformers-js" / "node_modules"
PAGE = b'<!doctype html><script type="module" src="page.mjs"></script>'
pytestmark = pytest.mark.skipif(not MODULES.exists(), reason="transformers.js isn't there; make consumers installs it")


@pytest.mark.parametrize("case", TRANSFORMERS_JS, ids=str)
def test_transformers_js(
    packaged: Callable[[Case], Packaged], tmp_path: Path, case: Case, record_property: Record
) -> None:
    package = packaged(case)
    (tmp_path / "node_modules").symlink_to(MODULES)  # Node looks for modules beside the script
    for name in ("answer_with_transformers_js.mjs", "transformers_js.mjs"):
        shutil.copyfile(HERE / name, tmp_path / name)
    done = subprocess.run(
        ["node", tmp_path / "answer_with_transformers_js.mjs", TRANSFORMERS_JS[case], package.folder],
        input=json.dumps(package.contents), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expect(package, done.stdout, record_property)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium isn't there; make browser installs it")
@pytest.mark.parametrize("case", TRANSFORMERS_JS, ids=str)
def test_transformers_js_in_a_page(packaged: Callable[[Case], Packaged], case: Case, record_property: Record) -> None:
    package = packaged(case)
    images = case.task in IMAGE_TASKS
    contents = [f"images/{Path(one).name}" for one in package.contents] if images else package.contents
    asked = {"name": TRANSFORMERS_JS[case], "id": "package", "images": images, "device": "wasm", "contents": contents}
    files: dict[str, Path | bytes] = {
        "index.html": PAGE,
        "asked.json": json.dumps(asked).encode(),
        "page.mjs": HERE / "answer_with_transformers_js_page.mjs",
        "transformers_js.mjs": HERE / "transformers_js.mjs",
        "transformers.mjs": MODULES / "@huggingface" / "transformers" / "dist" / "transformers.min.js",
        **{f"wasm/{path.name}": path for path in (MODULES / "onnxruntime-web" / "dist").glob("*wasm-simd*")},
        **{f"package/{path.relative_to(package.folder).as_posix()}": path for path in package.folder.rglob("*.*")},
        **({f"images/{Path(one).name}": Path(one) for one in package.contents} if images else {}),
    }
    with PageServer(files) as server, Chromium("chromium") as browser:
        answered = browser.open(server.url).evaluate("answered.then(JSON.stringify)")
    # A page's kernels round otherwise, and an activation between two of int8's steps may go to the other one.
    expect(package, answered, record_property, tolerance=1e-3 if case.precision == "int8-dynamic" else 1e-5)


def expect(package: Packaged, answered: str, record: Record, *, tolerance: float = 1e-5) -> None:
    if package.case.task not in IMAGE_TASKS:
        package.expect(answered, package.contents, record, tolerance=tolerance)
        return
    # Its images are resized by another library, so that pixels differ a little.
    expected, found = np.array(package.outputs(package.contents)), json.loads(answered)
    compared = Compared(expected, found["alone"], found["lists"])
    record("compared", compared.figures)
    for given in map(np.array, (found["alone"], found["lists"])):
        cosines = (given * expected).sum(-1) / np.linalg.norm(given, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert cosines.min() > 0.9, sorted(cosines)
    if package.case.task == "image-classification":
        assert min(compared.alone_equal, compared.lists_equal) >= 0.99
