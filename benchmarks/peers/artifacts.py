"""The competitors: one closed table of who they are, and how each is made from the same checkpoint.

An artifact is made in steps, each a script in a fresh process of its environment, measured from outside: seconds, CPU
seconds with its children's, and the largest resident size that it or a child had. A step that several artifacts need is
run once and counted for each of them.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from environments import OURS, Environment, open_environment
from inputs import MAX_LENGTH, Encoder

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Step:
    """One process of a build."""

    environment: str
    script: str
    settings: tuple[str, ...] = ()
    """NAME=VALUE, for its script."""

    @property
    def name(self) -> str:
        """Its folder's name."""
        return "-".join([Path(self.script).stem, *(setting.rpartition("=")[2] for setting in self.settings)])


@dataclass(frozen=True)
class Recipe:
    """How one artifact is made and run."""

    title: str
    runtime: str
    """See `worker.RUNTIMES`."""
    steps: tuple[Step, ...]
    """None: the checkpoint as it is."""
    model: str = "model.onnx"
    """A pattern in the last step's folder."""

    @property
    def environment(self) -> str:
        """The one it runs in."""
        return self.steps[-1].environment if self.steps else OURS


EXPORT = Step(OURS, "build_export.py")
RECIPES = {
    "ours": Recipe("edgeprune int8", "onnxruntime", (Step(OURS, "build_ours.py"),), "dist/*/onnx/model.onnx"),
    "ours-fp32": Recipe(
        "edgeprune fp32",
        "onnxruntime",
        (Step(OURS, "build_ours.py", ("target.precision.mode=fp32",)),),
        "dist/*/onnx/model.onnx",
    ),
    "plain-int8": Recipe("plain `quantize_dynamic`", "onnxruntime", (EXPORT, Step(OURS, "build_plain_int8.py"))),
    "plain-fp32": Recipe("plain fp32 export", "onnxruntime", (EXPORT,)),
    "optimum": Recipe(
        "optimum-onnx int8", "onnxruntime", (Step("optimum", "build_optimum.py"),), "int8/model_quantized.onnx"
    ),
    "olive": Recipe("Olive int8", "onnxruntime", (Step("olive", "build_olive.py"),)),
    "olive-fused": Recipe(
        "Olive int8, attention fused", "onnxruntime", (Step("olive", "build_olive.py", ("attn_implementation=eager",)),)
    ),
    "onnxsim": Recipe(
        "onnxsim, half of the heads and neurons, int8", "onnxruntime", (EXPORT, Step("onnxsim", "build_onnxsim.py"))
    ),
    "openvino": Recipe(
        "OpenVINO + NNCF static int8", "openvino", (EXPORT, Step("openvino", "build_openvino.py")), "model.xml"
    ),
    "torch": Recipe("PyTorch eager fp32", "torch", ()),
}
"""Their short names to how they are made."""


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    step: str
    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Artifact:
    """A competitor that is ready to run."""

    name: str
    recipe: Recipe
    environment: Environment
    path: Path
    costs: tuple[Cost, ...]

    @property
    def runtime(self) -> str:
        """See `worker.RUNTIMES`."""
        return self.recipe.runtime

    @property
    def session(self) -> dict | None:
        """The session options that a package was raced with; None: its runtime's defaults."""
        return None if self._described is None else self._described["session"]

    def encoder(self, checkpoint: Path) -> Encoder:
        """The package's own tokenizer; of anything else, the checkpoint's."""
        if self._package is None:
            return Encoder(checkpoint / "tokenizer.json", MAX_LENGTH)
        return Encoder(self._package / "tokenizer.json", min(MAX_LENGTH, self._described["max_length"]))

    @property
    def _package(self) -> Path | None:
        """The package's folder; its graph may lie in a folder of its own."""
        folders = (self.path.parent, self.path.parent.parent)
        return next((folder for folder in folders if (folder / "edgeprune.json").is_file()), None)

    @property
    def _described(self) -> dict | None:
        if self._package is None:
            return None
        return json.loads((self._package / "edgeprune.json").read_text(encoding="utf-8"))

    @property
    def stages(self) -> dict[str, float]:
        """CPU seconds by stage of a build of ours; empty for others."""
        found = None if self._package is None else self._package.parents[1] / "stages.json"
        return json.loads(found.read_text(encoding="utf-8")) if found is not None and found.is_file() else {}

    @property
    def size_bytes(self) -> int:
        """Of the model alone: graph and weights, without tokenizer."""
        if self.path.is_dir():
            return sum(file.stat().st_size for file in self.path.glob("*.safetensors"))
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.stem}.*"))


def packaged(name: str, folder: Path) -> Artifact:
    """A package that was built before."""
    recipe = Recipe(name, "onnxruntime", ())
    graph = json.loads((folder / "edgeprune.json").read_text(encoding="utf-8"))["graph"]
    return Artifact(name, recipe, open_environment(OURS, folder), folder / graph, ())


class Maker:
    """Runs recipes.

    Args:
        work: Every step has a folder here, and its log beside it.
        request: What every script reads on standard input, `output` and `settings` added.
        environment: By name.
    """

    def __init__(self, work: Path, request: dict, environment: Callable[[str], Environment]) -> None:
        self._work = work
        self._request = request
        self._environment = environment
        self._done: dict[Step, Cost] = {}

    def make(self, name: str) -> Artifact:
        """The artifact of one recipe.

        Raises:
            RuntimeError: A step failed, or left no model.
        """
        recipe = RECIPES[name]
        environment = self._environment(recipe.environment)
        if not recipe.steps:
            return Artifact(name, recipe, environment, Path(self._request["checkpoint"]), ())
        for step in recipe.steps:
            if step not in self._done:
                print(f"{name}: {step.script}", file=sys.stderr, flush=True)
                self._done[step] = self._run(step)
        folder = self._work / recipe.steps[-1].name
        found = list(folder.glob(recipe.model))
        if len(found) != 1:
            raise RuntimeError(f"{name}: expected one {recipe.model} in {folder}, got {len(found)}")
        return Artifact(name, recipe, environment, found[0], tuple(self._done[step] for step in recipe.steps))

    def _run(self, step: Step) -> Cost:
        output, log = self._work / step.name, self._work / f"{step.name}.log"
        shutil.rmtree(output, ignore_errors=True)  # of a try that failed
        output.mkdir(parents=True)
        request = {**self._request, "output": str(output), "settings": step.settings}
        request["export"] = str(self._work / EXPORT.name / "model.onnx")
        begin = time.perf_counter()
        with log.open("w", encoding="utf-8") as said:
            # In its own folder: Olive takes `bert` for a path where there is such a file.
            process = self._environment(step.environment).start(
                HERE / step.script, stdout=said, stderr=said, cwd=output
            )
            with suppress(BrokenPipeError):  # it has ended: its status and log say why
                process.stdin.write(json.dumps(request))
                process.stdin.close()
            # A child starts with its parent's peak: this command imports nothing large before it.
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            last = (log.read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{step.script} ended with {process.returncode}: {last} (all of it: {log})")
        return Cost(
            step=step.name,
            seconds=time.perf_counter() - begin,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_mb=usage.ru_maxrss * 1024 / 1e6,
        )
