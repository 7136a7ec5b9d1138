"""Packages' graphs in onnxruntime-node and in C++, with the session options of edgeprune.json: they answer as run.py does.

Both take numbers, which are made here with the package's own tokenizer. `make consumers` installs onnxruntime-node and
ONNX Runtime's headers; its library is in the wheel of onnxruntime for Python.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeprune.data.batches import together
from edgeprune.store.package import description
from edgeprune.tasks.registry import ondevice_modules
from tests.consumers.cases import RUNTIMES, Case
from tests.consumers.conftest import CONSUMERS, Packaged, Record

Feed = dict[str, np.ndarray]
HERE = Path(__file__).parent
NODE_MODULES = CONSUMERS / "transformers-js" / "node_modules"
HEADERS = CONSUMERS / "onnxruntime" / "include"


@pytest.fixture(scope="module")
def in_node(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[str]]:
    if not NODE_MODULES.exists():
        pytest.skip("onnxruntime-node isn't there; make consumers installs it")
    place = tmp_path_factory.mktemp("node")
    (place / "node_modules").symlink_to(NODE_MODULES)  # Node looks for modules beside the script
    script = shutil.copyfile(HERE / "answer_with_onnxruntime.mjs", place / "answer.mjs")
    return lambda folder: ["node", str(script), str(folder)]


@pytest.fixture(scope="module")
def in_cpp(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[str]]:
    if not HEADERS.exists() or shutil.which("g++") is None:
        pytest.skip("g++ or ONNX Runtime's headers aren't there; make consumers installs the headers")
    place = tmp_path_factory.mktemp("cpp")
    program, linked = place / "answer", place / "libonnxruntime.so.1"
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*")
    linked.symlink_to(library)  # under the name that is in the library itself
    subprocess.run(
        ["g++", "-std=c++20", "-O1", "-Wall", "-Werror", f"-I{HEADERS}", HERE / "answer_with_onnxruntime.cpp", linked,
         f"-Wl,-rpath,{place}", "-o", program],
        check=True,
    )  # fmt: skip

    def command(folder: Path) -> list[str]:
        described = description(folder)
        session = described["session"]
        return [
            str(program), str(folder / described["graph"]), ",".join(described["outputs"]), str(session["threads"]),
            session["level"], json.dumps(session["arena"]), *(f"{key}={value}" for key, value in session["config"].items()),
        ]  # fmt: skip

    return command


def answered(command: list[str], batches: Sequence[Feed]) -> list[list[np.ndarray] | str]:
    """The outputs of each batch, or what was said of it."""
    lines = [" ".join(batches[0])]
    for batch in batches:
        lines += [" ".join(map(str, batch["input_ids"].shape))]
        lines += [" ".join(map(str, values.ravel())) for values in batch.values()]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[list[np.ndarray] | str] = []
    said = iter(done.stdout.splitlines())
    for line in said:
        if not line.replace(" ", "").isdigit():
            found.append(line)
            continue
        values = np.array(next(said).split(), np.float32).reshape([int(size) for size in line.split()])
        found.append([values])
    return found


@pytest.mark.parametrize("runtime", ["in_node", "in_cpp"])
@pytest.mark.parametrize("case", RUNTIMES, ids=str)
def test_a_runtime(
    packaged: Callable[[Case], Packaged],
    request: pytest.FixtureRequest,
    case: Case,
    runtime: str,
    record_property: Record,
) -> None:
    command = request.getfixturevalue(runtime)
    package = packaged(case)
    contents = [*package.contents, *package.cut]
    described = description(package.folder)
    inputs = ondevice_modules(case.task)[0].Inputs(package.folder, described)
    feeds = [inputs.feed(inputs.encode(tuple(one) if isinstance(one, list) else one)) for one in contents]
    lists = [together(feeds[first : first + 8]) for first in range(0, len(feeds), 8)]
    wrong = {name: values[:, ::-1] for name, values in lists[0].items()}
    found = answered(command(package.folder), [*feeds, *lists, wrong])
    names: int = len(described["outputs"])

    def rows(said: Sequence[Any], masks: Sequence[np.ndarray]) -> list[Any]:
        """Each text's outputs; of a token's outputs, those that aren't padding's."""
        stacked = [np.stack([one[0] for one in said[at : at + names]], -1) for at in range(0, len(said), names)]
        whole = [row[..., 0] if names == 1 else row for batch in stacked for row in batch]
        lengths = [int(mask.sum()) for batch in masks for mask in batch]
        return [row[:length] if names > 1 else row for row, length in zip(whole, lengths, strict=True)]

    alone, together_ = found[: len(feeds) * names], found[len(feeds) * names : -1]
    masks = [[feed["attention_mask"] for feed in some] for some in (feeds, lists)]
    answer = {"alone": rows(alone, masks[0]), "lists": rows(together_, masks[1]), "left": found[-1]}
    package.expect(json.dumps(answer, default=np.ndarray.tolist), contents, record_property)
