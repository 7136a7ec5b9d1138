"""Run ONNX Runtime's own benchmark, `onnxruntime_perf_test`, in the agent's place, on devices without a Python.

The benchmark draws from the inputs that lie beside a model and doesn't say which input it drew. So all inputs of one
shape are timed in a process of their own, and models take turns shape by shape. What the benchmark can't tell is left
out: outputs, where nodes ran, and how times developed from one shape to the next.

Its peak memory is higher than the agent's. If the weights are inside the model's file, the difference is about half of
the model, because the benchmark reads the whole file once more.
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

from edgeprune.devices.connection import killable
from edgeprune.devices.perf_test_answer import CONDITIONS, MARK, Run, read_answer
from edgeprune.devices.program import Asked, Copy
from edgeprune.devices.protocol import Batch, Drawn, LatencyRequest, LoadRequest, MemoryRequest, ProbeRequest, Request
from edgeprune.ondevice.agent import input_array
from edgeprune.profiles.session_options import SessionOptions

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
    """Hold a batch as a data set, in the form in which the benchmark reads it."""

    name: str
    """The data set's name. It is made of the content, so that runs share data sets."""
    tensors: Sequence[bytes]
    """One serialized TensorProto for each input."""


class PerfTestProgram:
    """Answer requests with ONNX Runtime's own benchmark. See `Program`.

    Args:
        command: The benchmark's command on the device.
    """

    files: tuple[Path, ...] = ()

    def __init__(self, command: str) -> None:
        self._command = command
        self._inputs: dict[str, list[str]] = {}
        """Names of a model's inputs, by the path of its copy on the device. The path contains the model's digest."""

    def ask(self, request: Request, models: Mapping[str, Copy], folder: str) -> Asked:
        """Write a script that runs the benchmark. See `Program.ask`.

        Raises:
            ValueError: The request asks for something that this benchmark can't tell.
        """
        runs: list[Run] = []
        sets: dict[str, list[_Set]] = {}
        lines: list[str] = []
        match request:
            case ProbeRequest():
                pass
            case LatencyRequest() | LoadRequest() | MemoryRequest():
                runs = list(_runs(request, list(models)))
                sets = {name: self._sets(request.batches[name], model) for name, model in models.items()}
                for number, run in enumerate(runs):
                    given = [sets[run.model][batch].name for batch in run.batches]
                    lines.append(_line(request, number, run, given, models[run.model]))
            case _:
                raise ValueError(f"onnxruntime_perf_test has no mode {request.mode}")
        script = _SCRIPT.format(
            mark=MARK,
            conditions="".join(
                f'; section {name} "$1"; {command} 2>/dev/null' for name, (command, _) in CONDITIONS.items()
            ),
            benchmark=killable(folder, 'export LD_LIBRARY_PATH="$libraries" && exec "$@"', 'sh "$program" "$@"'),
            runs="\n".join(lines),
        )
        # The command is looked for from the folder in which the shell begins, as runner.python is.
        find = (
            f"program=$(command -v {self._command}) || program=; case $program in [!/]*) program=$PWD/$program;; esac"
        )
        unpack = f"cd {shlex.quote(folder)} && rm -rf task && mkdir task && cd task && tar xf -"
        begin = killable(folder, f"exec sh {shlex.quote(f'{folder}/task/run.sh')}")
        return Asked(
            f"{find}; export program; {unpack} && {begin}",
            _archive(script, {one.name: one.tensors for each in sets.values() for one in each}),
            lambda done, place: read_answer(done, request, runs, place=place, command=self._command),
        )

    def _sets(self, batches: Sequence[Batch], copy: Copy) -> list[_Set]:
        """Make a data set of each batch, with the inputs that the model takes."""
        import onnx

        if copy.there not in self._inputs:
            graph = onnx.load(copy.here, load_external_data=False).graph
            self._inputs[copy.there] = [value.name for value in graph.input]
        return [_set([(one, batch[one]) for one in self._inputs[copy.there] if one in batch]) for batch in batches]


_ModelsRequest = LatencyRequest | LoadRequest | MemoryRequest


def _runs(request: _ModelsRequest, names: Sequence[str]) -> Iterator[Run]:
    if not isinstance(request, LatencyRequest):
        yield from (Run(name, [0], 1) for name in names)
        return
    for groups in itertools.zip_longest(*(_by_shape(request.batches[name]) for name in names)):
        for name, group in zip(names, groups, strict=True):
            if group is not None:
                yield Run(name, group, request.warmup + len(group))


def _by_shape(batches: Sequence[Batch]) -> list[list[int]]:
    """Group the numbers of batches by the shape of their inputs. Groups are in the order of their first batch."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for number, batch in enumerate(batches):
        groups[tuple(_shape(value) for value in batch.values())].append(number)
    return list(groups.values())


def _shape(value: list[list[int]] | Drawn) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Drawn) else (len(value), len(value[0]))


def _line(request: _ModelsRequest, number: int, run: Run, sets: Sequence[str], model: Copy) -> str:
    session = request.sessions[run.model]
    folder, _, file = model.there.rpartition("/")
    words = [
        *("run", str(number), " ".join(dict.fromkeys(sets)), folder, file),
        *("-m", "times", "-r", str(run.repeats), "-e", _PROVIDERS[request.provider]),
        *_options(session),
    ]
    return shlex.join(words)


def _options(session: SessionOptions) -> list[str]:
    config = " ".join(f"{key}|{value}" for key, value in session.config.items())
    return [
        *("-x", str(session.threads), "-y", "1", "-o", _LEVELS[session.level]),
        *([] if session.arena else ["-A"]),
        *(["-C", config] if config else []),
    ]


def _set(inputs: Sequence[tuple[str, list[list[int]] | Drawn]]) -> _Set:
    from onnx import numpy_helper

    tensors = [
        numpy_helper.from_array(
            input_array(value.model_dump() if isinstance(value, Drawn) else value), name
        ).SerializeToString()
        for name, value in inputs
    ]
    return _Set(hashlib.sha256(b"".join(tensors)).hexdigest()[:16], tensors)


def _archive(script: str, sets: Mapping[str, Sequence[bytes]]) -> bytes:
    """Pack the script run.sh and the data sets into a tar archive."""
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
