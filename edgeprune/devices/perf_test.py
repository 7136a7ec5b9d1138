"""ONNX Runtime's own benchmark, `onnxruntime_perf_test`, in the agent's place: for devices without a Python.

It draws from the inputs that lie beside a model, without saying which it drew, so that inputs of one shape are timed in a
process of their own. Models take turns shape by shape. What it can't tell is left out: outputs, where nodes ran, and how times
developed from one shape to the next. Its peak memory is above the agent's, by about half of a model whose weights are inside
its file: it reads the whole file once more.
"""

import hashlib
import io
import itertools
import shlex
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edgeprune.devices import Record
from edgeprune.devices.connection import killable
from edgeprune.devices.perf_test_answer import CONDITIONS, MARK, Run, read_answer
from edgeprune.devices.program import Asked, Copy
from edgeprune.ondevice.agent import input_array

__all__ = ["PerfTestProgram"]

_LEVELS = {"basic": "1", "extended": "2", "all": "99"}
_PROVIDERS = {"CPUExecutionProvider": "cpu"}

_SCRIPT = """\
section() {{ printf '\\n{mark}%s\\n' "$*"; }}
conditions() {{ :{conditions}; }}
benchmark() {benchmark}
# A number, data sets, the model's folder, its file, and options.
run() {{
  number=$1; sets=$2; at=$3; model=$4; shift 4
  rm -f result "$at"/test_data_set_*
  for one in $sets; do ln -s "$PWD/sets/$one" "$at/test_data_set_$one" || exit 1; done
  section run "$number"
  benchmark "$@" "$at/$model" "$PWD/result" 2>complaints; code=$?
  section code "$number"; echo $code
  section result "$number"; [ ! -e result ] || cat result
  section complaints "$number"; tail -n 5 complaints
  rm -f "$at"/test_data_set_*
}}
export LC_ALL=C libraries="${{program%/*}}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
benchmark >usage 2>&1; code=$?
section starts; echo $code; tail -n 5 usage
section machine; uname -m
section system; uname -s
section cores; nproc
section cpuinfo; cat /proc/cpuinfo
section version; grep -aoE 'VERS_[0-9.]+[0-9]' "$program" | head -n 1
conditions before
{runs}
conditions after
section end
"""


@dataclass(frozen=True)
class _Set:
    """A batch, as it is looked for beside a model."""

    name: str
    """Made of its content: many runs share it."""
    tensors: Sequence[bytes]
    """Serialized TensorProto."""


class PerfTestProgram:
    """See `Program`.

    Args:
        command: The benchmark there.
    """

    files: tuple[Path, ...] = ()

    def __init__(self, command: str) -> None:
        self._command = command
        self._inputs: dict[str, list[str]] = {}
        """Names of what a model takes, by its copy's path, which is its digest."""

    def ask(self, request: Record, models: Mapping[str, Copy], folder: str) -> Asked:
        """See `Program.ask`.

        Raises:
            ValueError: The request is for what this benchmark can't tell.
        """
        runs = list(_runs(request, models))
        sets = {name: self._sets(request, name, model) for name, model in models.items()}
        lines = [
            _line(request, number, run, [sets[run.model][batch].name for batch in run.batches], models[run.model])
            for number, run in enumerate(runs)
        ]
        script = _SCRIPT.format(
            mark=MARK,
            conditions="".join(
                f'; section {name} "$1"; {command} 2>/dev/null' for name, (command, _) in CONDITIONS.items()
            ),
            benchmark=killable(folder, 'export LD_LIBRARY_PATH="$libraries" && exec "$@"', 'sh "$program" "$@"'),
            runs="\n".join(lines),
        )
        # Looked for where a shell begins, as runner.python is.
        find = (
            f"program=$(command -v {self._command}) || program=; case $program in [!/]*) program=$PWD/$program;; esac"
        )
        unpack = f"cd {shlex.quote(folder)} && rm -rf task && mkdir task && cd task && tar xf -"
        begin = killable(folder, f"exec sh {shlex.quote(f'{folder}/task/run.sh')}")
        return Asked(
            f"{find}; export program; {unpack} && {begin}",
            _archive(script, {one.name: one.tensors for each in sets.values() for one in each}),
            lambda done, place: read_answer(done, place, self._command, str(request["mode"]), runs),
        )

    def _sets(self, request: Record, name: str, copy: Copy) -> list[_Set]:
        """Of each batch, the inputs that the model takes."""
        import onnx

        if copy.there not in self._inputs:
            graph = onnx.load(copy.here, load_external_data=False).graph
            self._inputs[copy.there] = [value.name for value in graph.input]
        batches = cast("dict[str, list[Record]]", request["batches"])[name]
        return [_set([(one, batch[one]) for one in self._inputs[copy.there] if one in batch]) for batch in batches]


def _runs(request: Record, models: Mapping[str, Copy]) -> Iterator[Run]:
    match request["mode"]:
        case "probe":
            return
        case "load" | "memory":
            yield from (Run(name, [0], 1) for name in models)
        case "latency":
            batches = cast("dict[str, list[Record]]", request["batches"])
            warmup = cast("int", request["warmup"])
            for groups in itertools.zip_longest(*(_by_shape(batches[name]) for name in models)):
                for name, group in zip(models, groups, strict=True):
                    if group is not None:
                        yield Run(name, group, warmup + len(group))
        case mode:
            raise ValueError(f"onnxruntime_perf_test has no mode {mode}")


def _by_shape(batches: Sequence[Record]) -> list[list[int]]:
    """Numbers of batches that take equally long, group by group in the order of their first."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for number, batch in enumerate(batches):
        groups[tuple(_shape(value) for value in batch.values())].append(number)
    return list(groups.values())


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), len(value[0])) if isinstance(value, list) else tuple(value["shape"])


def _line(request: Record, number: int, run: Run, sets: Sequence[str], model: Copy) -> str:
    session = cast("dict[str, dict[str, Any]]", request["sessions"])[run.model]
    config = " ".join(f"{key}|{value}" for key, value in session["config"].items())
    folder, _, file = model.there.rpartition("/")
    words = [
        *("run", str(number), " ".join(dict.fromkeys(sets)), folder, file),
        *("-m", "times", "-r", str(run.repeats), "-e", _PROVIDERS[str(request["provider"])]),
        *("-x", str(session["threads"]), "-y", "1", "-o", _LEVELS[session["level"]]),
        *([] if session["arena"] else ["-A"]),
        *(["-C", config] if config else []),
    ]
    return shlex.join(words)


def _set(inputs: Sequence[tuple[str, Any]]) -> _Set:
    from onnx import numpy_helper

    tensors = [numpy_helper.from_array(input_array(value), name).SerializeToString() for name, value in inputs]
    return _Set(hashlib.sha256(b"".join(tensors)).hexdigest()[:16], tensors)


def _archive(script: str, sets: Mapping[str, Sequence[bytes]]) -> bytes:
    """run.sh, and data sets."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("run.sh", script.encode())
        for name, tensors in sets.items():
            for index, tensor in enumerate(tensors):
                add(f"sets/{name}/input_{index}.pb", tensor)
    return packed.getvalue()
