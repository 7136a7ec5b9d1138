"""ONNX Runtime's own benchmark, `onnxruntime_perf_test`, in the agent's place: for devices without a Python.

It draws from the inputs that lie beside a model, without saying which it drew, so that inputs of one shape are timed in a
process of their own. Models take turns shape by shape. What it can't tell is left out: outputs, where nodes ran, and how times
developed from one shape to the next.
"""

import io
import itertools
import shlex
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from edgeprune.agent import input_array
from edgeprune.runners import Record
from edgeprune.runners.connection import killable
from edgeprune.runners.perf_test_answer import CONDITIONS, MARK, Run, read_answer
from edgeprune.runners.program import Asked, Copy

__all__ = ["PerfTestProgram"]

_LEVELS = {"basic": "1", "extended": "2", "all": "99"}
_PROVIDERS = {"CPUExecutionProvider": "cpu"}

_SCRIPT = """\
section() {{ echo "{mark}$*"; }}
conditions() {{ :{conditions}; }}
# A number, the model's folder, its file, and options: times what lies in inputs/NUMBER.
run() {{
  number=$1; at=$2; model=$3; shift 3
  rm -rf result "$at"/test_data_set_*; cp -r "inputs/$number/." "$at/" || exit 1
  section run "$number"
  {start} sh "$program" "$@" "$at/$model" "$PWD/result" 2>complaints; code=$?
  section code "$number"; echo $code
  section result "$number"; [ ! -e result ] || cat result
  section complaints "$number"; tail -n 5 complaints
}}
program=$(command -v {program}) || exit 127
export LC_ALL=C libraries="${{program%/*}}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
section machine; uname -m
section system; uname -s
section cores; nproc
section cpuinfo; cat /proc/cpuinfo
section version; grep -aoE 'VERS_[0-9.]+[0-9]' "$program" | head -n 1
conditions before
{runs}
conditions after
"""


class PerfTestProgram:
    """See `Program`.

    Args:
        command: The benchmark there.
    """

    files: tuple[Path, ...] = ()

    def __init__(self, command: str) -> None:
        self._command = command

    def ask(self, request: Record, models: Mapping[str, Copy], folder: str) -> Asked:
        """See `Program.ask`.

        Raises:
            ValueError: The request is for what this benchmark can't tell.
        """
        runs = list(_runs(request, models))
        script = _SCRIPT.format(
            mark=MARK,
            conditions="".join(
                f'; section {name} "$1"; {command} 2>/dev/null' for name, (command, _) in CONDITIONS.items()
            ),
            program=self._command,
            start=killable(folder, 'export LD_LIBRARY_PATH="$libraries" && exec "$@"'),
            runs="\n".join(_line(request, number, run, models[run.model]) for number, run in enumerate(runs)),
        )
        feeds = {name: _feeds(request, name, copy) for name, copy in models.items()}
        script_there = shlex.quote(f"{folder}/task/run.sh")
        unpack = "rm -rf task && mkdir task && cd task && tar xf -"
        return Asked(
            f"cd {shlex.quote(folder)} && {unpack} && {killable(folder, f'exec sh {script_there}')}",
            _archive(script, [[feeds[run.model][batch] for batch in run.batches] for run in runs]),
            lambda done, place: read_answer(done, place, self._command, str(request["mode"]), runs),
        )


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


def _line(request: Record, number: int, run: Run, model: Copy) -> str:
    session = cast("dict[str, dict[str, Any]]", request["sessions"])[run.model]
    config = " ".join(f"{key}|{value}" for key, value in session["config"].items())
    folder, _, file = model.there.rpartition("/")
    words = [
        *("run", str(number), folder, file),
        *("-m", "times", "-r", str(run.repeats), "-e", _PROVIDERS[str(request["provider"])]),
        *("-x", str(session["threads"]), "-y", "1", "-o", _LEVELS[session["level"]]),
        *([] if session["arena"] else ["-A"]),
        *(["-C", config] if config else []),
    ]
    return shlex.join(words)


def _feeds(request: Record, name: str, copy: Copy) -> list[list[bytes]]:
    """Of each batch, the inputs that the model takes, as serialized TensorProto."""
    import onnx
    from onnx import numpy_helper

    taken = [value.name for value in onnx.load(copy.here, load_external_data=False).graph.input]
    batches = cast("dict[str, list[Record]]", request["batches"])[name]
    return [
        [numpy_helper.from_array(input_array(batch[one]), one).SerializeToString() for one in taken if one in batch]
        for batch in batches
    ]


def _archive(script: str, runs: Sequence[Sequence[Sequence[bytes]]]) -> bytes:
    """run.sh, and the inputs of each run as they are looked for beside a model."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("run.sh", script.encode())
        for run, batches in enumerate(runs):
            for number, batch in enumerate(batches):
                for index, tensor in enumerate(batch):
                    add(f"inputs/{run}/test_data_set_{number}/input_{index}.pb", tensor)
    return packed.getvalue()
