"""What the end-to-end tests share: the command line, in a fresh process or in this one, and one finished build.

The build is made once for all of pytest-xdist's workers; a test that damages something copies it first.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock
from PIL import Image

from edgeprune.base.events import ignore
from edgeprune.cli.main import main
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.reference import ModelSource
from edgeprune.ondevice.agent import device_info
from edgeprune.pipeline.stages.base import Work
from edgeprune.store.records import Artifact
from edgeprune.store.store import Store
from edgeprune.tasks.registry import COLUMNS
from tests.conftest import BAD, GOOD, synthetic_rows

MAIN = "from edgeprune.cli.main import main; main()"
STAGES = [
    ("prepare", 0),
    ("prune", 1),
    ("finetune", 1),
    ("export", 0),
    ("export", 1),
    ("quantize", 0),
    ("quantize", 1),
    ("package", 1),
    ("benchmark", 1),
]
"""Stage and round of every node of a build with one round, in its order."""

PIPELINE = """\
schema_version: 1
name: tiny
description: Half of a tiny random model, trained for long enough that it knows good from bad
stages:
  prepare: {epochs: 4, learning_rate: 5.0e-3, batch_size: 8, max_length: 16}
  prune:
    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5, align: 8}
  finetune: {epochs: 1, learning_rate: 5.0e-3, batch_size: 16}
  race: null
  benchmark: {processes: 1, samples: 64, warmup: 2}
"""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def complaints(self) -> list[str]:
        """The lines in which edgeprune says what is wrong."""
        return [line for line in self.err.splitlines() if line.startswith("edgeprune: ")]


def run(*arguments: object, env: Mapping[str, str] | None = None, timeout_s: float = 300, **kwargs: Any) -> Ran:
    """The command line in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, **(env or {})},
        **kwargs,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def without_network(asked: Path) -> dict[str, str]:
    """The environment of a process that reaches no host, and notes in `asked` which it tried to; libraries may try."""
    asked.touch()
    folder = str(Path(__file__).parent / "no_network")
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return {"HF_HUB_OFFLINE": "0", "PYTHONPATH": path, "EDGEPRUNE_TESTS_ASKED": str(asked)}


def call(*arguments: object) -> Ran:
    """The command line in this process, which has torch imported already."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
        raise AssertionError("main always exits")
    except SystemExit as ended:
        code = ended.code
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(code, int)
    return Ran(code, out.getvalue(), err.getvalue())


def read_events(path: Path) -> list[dict[str, Any]]:
    """An event log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def starts(path: Path) -> list[tuple[str, int, str]]:
    """Stage, round and key of every StageStarted in an event log, in order."""
    return [
        (event["stage"], event["round"], event["key"])
        for event in read_events(path)
        if event["event"] == "StageStarted"
    ]


def target_text(name: str, **changes: Any) -> str:
    """A target profile that this machine is, without budgets; `changes` replace its top-level keys."""
    device = device_info()
    profile: dict[str, Any] = {
        "schema_version": 1,
        "name": name,
        "description": "The machine that runs the tests",
        "device": {"arch": device["arch"], "isa": device["isa"]},
        "runtime": {"provider": "CPUExecutionProvider", "threads": 1},
        "precision": {"mode": "int8-dynamic"},
        "runner": {"type": "local"},
    }
    return yaml.safe_dump({**profile, **changes}, sort_keys=False)


def write_data(path: Path, rows: int = 160, kind: str = "single", seed: int = 0) -> Path:
    """Synthetic sentences as JSON Lines."""
    return write_rows(path, synthetic_rows(rows, kind, seed))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def task_rows(task: str, rows: int = 160, seed: int = 0, kind: str = "single") -> list[dict[str, Any]]:
    """Synthetic sentences with what a task's data has: tags of good and bad words, or questions for the first of them."""
    found: list[dict[str, Any]] = []
    for row in synthetic_rows(rows, kind, seed):
        text = str(row["text"])
        words = text.split()
        kinds = ["GOOD" if word in GOOD else "BAD" if word in BAD else None for word in words]
        if task == "token-classification":
            begun = [None, *kinds[:-1]]
            tags = ["O" if kind is None else f"{'I' if kind == before else 'B'}-{kind}"
                    for kind, before in zip(kinds, begun, strict=True)]  # fmt: skip
            found.append({"tokens": words, "ner_tags": tags})
        elif task == "question-answering":
            word = next(word for word, kind in zip(words, kinds, strict=True) if kind)
            answer = {"text": [word], "answer_start": [text.index(word)]}
            found.append({"question": "the film was", "context": text, "answers": answer})
        else:
            found.append(row)
    return found


def image_rows(folder: Path, rows: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """Noisy pictures of several sizes, written into `folder`/images: "red" ones have less green, "green" ones less red."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    generator, found = np.random.default_rng(seed), []
    for row in range(rows):
        pixels = generator.integers(0, 256, (12 + row % 9, 20, 3), dtype=np.uint8)
        pixels[..., (row + 1) % 2] //= 3
        name = f"images/{row}.png"
        Image.fromarray(pixels).save(folder / name)
        found.append({"image": name, "label": "green" if row % 2 else "red"})
    return found


def build_structured(folder: Path, model: Path, *more: object, task: str = "text-classification") -> Ran:
    """Build with the shipped pipeline for this machine, from `rows.jsonl` in the folder, which is written if it isn't there."""
    data = folder / "rows.jsonl"
    if not data.exists():
        write_data(data)
    return call(
        "build", model, "--task", task, "--data", data, "--pipeline", "structured", "--target", "host", "--store", folder / "store",
        "--output", folder / "dist", "--no-report", *more,
    )  # fmt: skip


def refused_untrained(done: Ran, folder: Path) -> str:
    """The one sentence of a build in this folder that ended before anything was trained."""
    assert done.code == 2, done.err
    assert not list((folder / "store").glob("prepare/*"))
    (complaint,) = done.complaints
    return complaint.removeprefix("edgeprune: ")


@dataclass(frozen=True)
class Built:
    """A folder in which the command line built a tiny model once: a bare BERT whose head is trained first."""

    root: Path

    @property
    def model(self) -> Path:
        """The model's folder; its name is the package's."""
        return self.root / "tiny-model"

    @property
    def data(self) -> Path:
        """160 labelled sentences."""
        return self.root / "reviews.jsonl"

    @property
    def pipeline(self) -> Path:
        """The pipeline."""
        return self.root / "tiny.yaml"

    @property
    def target(self) -> Path:
        """This machine, without budgets."""
        return self.root / "here.yaml"

    @property
    def store(self) -> Path:
        """Has every stage."""
        return self.root / "store"

    @property
    def package(self) -> Path:
        """The package's folder; its archive lies beside it."""
        return self.root / "dist" / "tiny-model-1.4.0-here"

    @property
    def archive(self) -> Path:
        """The package's archive."""
        return self.package.with_name(f"{self.package.name}.tar.gz")

    @property
    def events(self) -> Path:
        """The event log of the build."""
        return self.root / "events.jsonl"

    @property
    def asked(self) -> Path:
        """A line for each host that the build asked for; it could reach none."""
        return self.root / "asked"

    @property
    def report(self) -> dict[str, Any]:
        """What `--json` printed."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def stdout(self) -> str:
        """Standard output of the build, as it was."""
        return (self.root / "stdout").read_text(encoding="utf-8")

    @property
    def arguments(self) -> list[str]:
        """`build` with the model, data, task, pipeline, target and release of this build; store and output are free."""
        return [
            "build", str(self.model), "--task", "text-classification", "--data", str(self.data), "--offline",
            "--pipeline", str(self.pipeline), "--target", str(self.target), "--release", "1.4.0",
        ]  # fmt: skip

    def again(self, *arguments: object, output: Path) -> Ran:
        """The same build, with more flags, in this process: what is in the store comes from there. No page is written."""
        return call(*self.arguments, "--no-report", "--store", self.store, "--output", output, *arguments)

    def artifact(self, stage: str, round_number: int = 1) -> Artifact:
        """One of the build's artifacts."""
        (key,) = (row["key"] for row in self.report["stages"] if (row["stage"], row["round"]) == (stage, round_number))
        return Store.open(self.store / stage / key)

    def copied_store(self, folder: Path) -> Path:
        """A copy of the store that a test may damage, without what other workers' builds are about to put into it."""
        unfinished = shutil.ignore_patterns("locks", "partial", ".tmp-*", ".old-*")
        return Path(shutil.copytree(self.store, folder / "store", ignore=unfinished))


def build_once(root: Path, model: Path) -> Built:
    """Build into `root` unless another worker did so."""
    root.mkdir(parents=True, exist_ok=True)
    built = Built(root)
    with FileLock(root / "lock"):
        if (root / "stdout").exists():
            return built
        shutil.copytree(model, built.model)
        write_data(built.data)
        built.pipeline.write_text(PIPELINE, encoding="utf-8")
        built.target.write_text(target_text("here"), encoding="utf-8")
        done = run(
            *built.arguments, "--store", built.store, "--output", root / "dist", "--events", built.events, "--json",
            env=without_network(built.asked),
        )  # fmt: skip
        assert done.code == 0, done.err
        (root / "stdout").write_text(done.out, encoding="utf-8")
    return built


def work_of(built: Built, folder: Path, **parents: tuple[str, int]) -> Work:
    """What a stage is given when it reads these artifacts (role to stage and round)."""
    return Work(
        model=ModelSource(built.model, "m", "m"),
        data=DataSource(DataSpec(train=str(built.data)), columns=COLUMNS["text-classification"], offline=True),
        parents={role: built.artifact(*place) for role, place in parents.items()},
        folder=folder, partial=folder, seed=0, emit=ignore, progress=lambda *_: None,
    )  # fmt: skip


def contents(store: Path, *, without: tuple[str, ...] = ("benchmark",)) -> dict[str, list[tuple[str, str]]]:
    """`stage/key` to the (path, sha256) of its files, for every artifact in a store."""
    return {
        f"{artifact.manifest.stage}/{artifact.key}": [(file.path, file.sha256) for file in artifact.manifest.files]
        for artifact in Store(store).artifacts()
        if artifact.manifest.stage not in without
    }


@contextlib.contextmanager
def warm_cli(environment: Mapping[str, str] | None = None) -> "Iterator[WarmCli]":
    """A process that has imported everything and forks a child for each command: many commands, one import."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("warm_cli.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        yield WarmCli(process)


@dataclass(frozen=True)
class WarmCli:
    """Sends commands to `warm_cli.py`."""

    process: "subprocess.Popen[str]"

    def __call__(
        self, *arguments: object, log: Path, watch: Path | None = None, kill_at: int | None = None
    ) -> tuple[int, list[str]]:
        """Run a command.

        Args:
            arguments: Of the command line.
            log: Gets the command's output.
            watch: The folder whose file events are counted.
            kill_at: The number of the event, from 1, before which the command kills itself.

        Returns:
            The exit code (negative: the signal that ended it) and the file events.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "arguments": [str(argument) for argument in arguments],
            "log": str(log),
            "watch": str(watch) if watch else None,
            "kill_at": kill_at,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code = json.loads(self.process.stdout.readline())
        events = Path(f"{log}.file-events")
        return code, events.read_text(encoding="utf-8").splitlines() if events.exists() else []
