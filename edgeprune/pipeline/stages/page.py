"""page: put a text classifier into a static folder that answers typed texts in a browser.

    index.html page.css page.mjs session.mjs  the page
    page.json                                 how the model is used, from the package's edgeprune.json
    model.onnx tokenizer.json …               the package's graph and tokenizer
    ort.wasm.bundle.min.mjs ort-wasm-…wasm    onnxruntime-web
    tokenizers.min.mjs                        the tokenizer's code
    NOTICE.txt onnxruntime-web.LICENSE.txt …  whose code it is, and its licences
    LICENSE…                                  the model's licence if it has one

The page fetches these files and nothing else, and of them no notice and no licence. If there is a Chromium on this machine, the page is asked the package's goldens before
it is shipped: its tokenizer is another one than the package's.
"""

import json
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from edgeprune.base.errors import ParityError, UsageError
from edgeprune.base.events import Note
from edgeprune.devices.chromium import Chromium
from edgeprune.devices.page_server import PageServer
from edgeprune.devices.web_modules import RUNTIME, TOKENIZERS, WebModules
from edgeprune.ondevice import agent
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.package import package_folder
from edgeprune.store.files import graph_files, total_bytes
from edgeprune.store.package import description, goldens, is_licence
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.registry import ondevice_modules

__all__ = ["PAGE", "PAGE_FILE", "PAGE_TASKS", "Page"]

PAGE = "page"
"""The folder that the stage writes."""

PAGE_FILE = "page.json"
"""The file that says how the page uses the model. A folder that has one is a page."""

PAGE_TASKS = frozenset({"text-classification"})
"""The tasks whose answers a page shows."""

_UNTRIED = "the page was not tried, because there is no Chromium on this machine"

_ASSETS = Path(agent.__file__).parent / "browser" / "page"
_READ = ("name", "labels", "problem_type", "inputs", "outputs", "max_length", "pair", "truncation", "session")


class Page(Stage):
    """Make a page of a package.

    Args:
        modules: Where npm's packages are.
        chromium: The command of the Chromium that the page is tried in; None: there is none.
        round_number: The round of the package's checkpoint.
    """

    name = "page"
    version = 2
    roles = ("package",)
    produces = (PAGE,)

    def __init__(self, modules: WebModules, *, chromium: str | None, round_number: int) -> None:
        self.round = round_number
        self._modules = modules
        self._chromium = chromium

    def fingerprint(self) -> dict[str, JsonValue]:
        versions: dict[str, JsonValue] = {name: self._modules.version(name) for name in (RUNTIME, TOKENIZERS)}
        return {"packages": versions, "tried": self._chromium is not None}

    def run(self, work: Work) -> StageMetrics:
        package, page = package_folder(work.parents["package"]), work.folder / PAGE
        described = description(package)
        shutil.copytree(_ASSETS, page)
        graph = package / described["graph"]
        weights = graph_files(graph)[1:]
        for path in (graph, *weights, package / "tokenizer.json"):
            shutil.copyfile(path, page / path.name)
        settings = package / "tokenizer_config.json"
        (page / settings.name).write_bytes(settings.read_bytes() if settings.is_file() else b"{}\n")
        for name in (RUNTIME, TOKENIZERS):
            for file, path in self._modules.files(name).items():
                shutil.copyfile(path, page / file)
        content: dict[str, JsonValue] = {
            **{name: described[name] for name in _READ},
            "truncation_side": described.get("truncation_side", "right"),
            "graph": graph.name,
            "weights": [path.name for path in weights],
            "facts": f"The page fetches {total_bytes([page]) / 1e6:.3g} MB; "
            f"{total_bytes([graph, *weights]) / 1e6:.3g} MB of it are the model.",
        }
        (page / PAGE_FILE).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        self._add_notices(page, package)
        notes: tuple[str, ...] = ()
        if self._chromium is None:
            notes = (_UNTRIED,)
            work.emit(Note(_UNTRIED))
        else:
            _require_same_answers(page, package, described, self._chromium)
        return StageMetrics(model_bytes=total_bytes([page]), notes=notes)

    def _add_notices(self, page: Path, package: Path) -> None:
        """Add what the page doesn't fetch: whose code it has, and the licences of the code and of the model.

        Raises:
            UsageError: The licence of the code isn't there.
        """
        texts = {path.name: path for path in package.iterdir() if is_licence(path.name)}
        texts |= _licences_of_code(self._modules)
        for name, path in texts.items():
            if not path.is_file():
                raise UsageError(
                    f"stages.package.page copies the licence of code that the page has, but there is no {path}; install "
                    f"the package that it belongs to anew"
                )
            shutil.copyfile(path, page / name)
        code = "".join(f"{self._modules.licence(name)}\n" for name in (RUNTIME, TOKENIZERS))
        notice = f"This folder has code of these packages of npm, whose licences lie beside this file:\n{code}"
        (page / "NOTICE.txt").write_text(notice, encoding="utf-8")


def _licences_of_code(modules: WebModules) -> dict[str, Path]:
    """The licences of npm's packages, by the names that the page gives them.

    npm's onnxruntime-web has no text of its licence. It is made of the same sources as the package for Python, which has it,
    and the notices of the code of others that is in both.
    """
    spec = find_spec("onnxruntime")
    assert spec is not None  # noqa: S101 (edgeprune needs it)
    assert spec.origin is not None  # noqa: S101 (it has an __init__.py)
    runtime, (tokenizers,) = Path(spec.origin).parent, modules.files(TOKENIZERS).values()
    return {
        "onnxruntime-web.LICENSE.txt": runtime / "LICENSE",
        "onnxruntime-web.ThirdPartyNotices.txt": runtime / "ThirdPartyNotices.txt",
        "huggingface-tokenizers.LICENSE.txt": tokenizers.parents[1] / "LICENSE",
    }


def _require_same_answers(page: Path, package: Path, described: dict[str, Any], chromium: str) -> None:
    """Ask the page the package's goldens.

    Raises:
        ParityError: The page makes other inputs of a text, or gives another answer.
        TargetError: The page can't be opened or can't answer.
    """
    preprocess, postprocess = ondevice_modules(described["task"])
    inputs = preprocess.Inputs(package, described)
    for golden, found in zip(
        goldens(package)["goldens"], _ask(page, goldens(package)["goldens"], chromium), strict=True
    ):
        content = preprocess.from_json(golden[preprocess.KIND])
        shown = preprocess.shown(content)
        if found["inputs"] != inputs.values(inputs.encode(content)):
            raise ParityError(
                f"{shown}: the page's tokenizer makes other inputs than the package's; set stages.package.page to false"
            )
        if postprocess.decision(found) != golden["decision"]:
            raise ParityError(f"{shown}: the page gives another answer than the package; nothing was shipped")


def _ask(page: Path, asked: Sequence[dict[str, Any]], chromium: str) -> list[dict[str, Any]]:
    """Open the page in a fresh browser, and let it answer texts."""
    files: dict[str, Path | bytes] = {path.name: path for path in page.iterdir()}
    texts = [golden["text"] if isinstance(golden["text"], list) else [golden["text"]] for golden in asked]
    with PageServer(files) as server, Chromium(chromium) as browser:
        opened = browser.open(server.url)
        return [opened.evaluate(f"ready.then((answer) => answer(...{json.dumps(text)}))") for text in texts]
