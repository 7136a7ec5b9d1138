"""Whatever ends a build, the same command goes on from there and ends with the same bytes."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

import edgeprune
from edgeprune.store.store import Store
from tests.conftest import ModelFactory
from tests.support.e2e import (
    MAIN,
    PIPELINE,
    STAGES,
    WarmCli,
    call,
    contents,
    read_events,
    starts,
    target_text,
    warm_cli,
    write_data,
)

pytestmark = pytest.mark.slow

MOMENTS = 20
TRAININGS = [
    flag
    for stage in ("prepare", "finetune")
    for setting in ("epochs=2", "evaluations_per_epoch=2", "batch_size=16")
    for flag in ("--set", f"stages.{stage}.{setting}")
]
"""Four checkpoints a training, so that there is something to resume from."""


@dataclass(frozen=True)
class Reference:
    """A folder with inputs and with one build of them that nothing interrupted."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "place" / "store"

    @property
    def archive(self) -> Path:
        return self.root / "place" / "dist" / "tiny-model-0-here.tar.gz"

    @property
    def file_events(self) -> list[str]:
        """Every write below `place`, in its order, as `<event> <path>`."""
        return (self.root / "log.file-events").read_text(encoding="utf-8").splitlines()

    def arguments(self, place: Path) -> list[str]:
        """The build, its store and output below `place`."""
        return [
            "build", str(self.root / "tiny-model"), "--task", "text-classification", "--data",
            str(self.root / "data.jsonl"), "--pipeline", str(self.root / "tiny.yaml"), "--target",
            str(self.root / "here.yaml"), "--store", str(place / "store"), "--output", str(place / "dist"),
            "--offline", *TRAININGS,
        ]  # fmt: skip

    def equals(self, place: Path) -> None:
        """What is below `place` is what the uninterrupted build made, and nothing is left over."""
        assert contents(place / "store") == contents(self.store)
        assert (place / "dist" / self.archive.name).read_bytes() == self.archive.read_bytes()
        assert visible(place / "dist") == visible(self.archive.parent)
        assert [path for path in (place / "store").glob("*/.*") if path.parent.name != "locks"] == []
        assert [path for path in (place / "store").glob("partial/*") if any(path.iterdir())] == []


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def whole(store: Path) -> int:
    """How many artifacts there are; every one of them has the files that its manifest names."""
    found = list(Store(store).artifacts())
    for artifact in found:
        if artifact.manifest.stage != "benchmark":
            assert Store(store).find(artifact.manifest.stage, artifact.key) is not None
    return len(found)


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmCli]:
    with warm_cli() as cli:
        yield cli


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: ModelFactory, warm: WarmCli) -> Reference:
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "interrupted"
    root.mkdir(exist_ok=True)
    found = Reference(root)
    with FileLock(root / "lock"):
        if (root / "done").exists():
            return found
        shutil.copytree(tiny_model_folder(head="Model"), root / "tiny-model")
        write_data(root / "data.jsonl")
        (root / "tiny.yaml").write_text(PIPELINE, encoding="utf-8")
        (root / "here.yaml").write_text(target_text("here"), encoding="utf-8")
        place = root / "place"
        code, _ = warm(*found.arguments(place), log=root / "log", watch=place)
        assert code == 0, (root / "log").read_text(encoding="utf-8")
        (root / "done").touch()
    return found


# Killed


def in_trainer_checkpoint(event: str) -> bool:
    return re.search(r"^(open|os\.mkdir|os\.rename) store/partial/\w+/checkpoint-", event) is not None


def in_store_rename(event: str) -> bool:
    return re.search(r"^os\.rename store/\w+/\.tmp-\w+$", event) is not None


def in_export(event: str) -> bool:
    return re.search(r"^open store/export/\.tmp-\w+/", event) is not None


def in_package(event: str) -> bool:
    return re.search(r"^open store/package/\.tmp-\w+/", event) is not None


def in_publishing(event: str) -> bool:
    return re.search(r"^(open|os\.rename) dist/", event) is not None


KINDS: list[Callable[[str], bool]] = [in_trainer_checkpoint, in_store_rename, in_export, in_package, in_publishing]


def moments(events: list[str]) -> list[int]:
    """Twenty numbers of file events (from 1): one of each kind, the others anywhere."""
    generator = random.Random(0)
    chosen = [generator.choice([number for number, event in enumerate(events, 1) if kind(event)]) for kind in KINDS]
    others = [number for number in range(1, len(events) + 1) if number not in chosen]
    return chosen + generator.sample(others, MOMENTS - len(chosen))


@pytest.mark.parametrize("index", range(MOMENTS))
def test_a_build_killed_at_any_moment_goes_on_to_the_same_bytes(
    reference: Reference, warm: WarmCli, tmp_path: Path, index: int
) -> None:
    events = reference.file_events
    number = moments(events)[index]
    place = tmp_path / "place"
    code, seen = warm(*reference.arguments(place), log=tmp_path / "killed", watch=place, kill_at=number)
    assert code == -signal.SIGKILL
    assert len(seen) == number
    assert seen[-1].split()[0] == events[number - 1].split()[0], "the same moment as in the reference"
    made = whole(place / "store")
    code, _ = warm(*reference.arguments(place), "--events", tmp_path / "events.jsonl", log=tmp_path / "resumed")
    assert code == 0, f"after {seen[-1]}: " + (tmp_path / "resumed").read_text(encoding="utf-8")
    reference.equals(place)
    again = [stage for stage, _, _ in starts(tmp_path / "events.jsonl")]
    assert len(again) == len(STAGES) - min(made, len(STAGES) - 1), "what was whole is not made again"


def test_the_moments_are_of_every_kind(reference: Reference) -> None:
    events = reference.file_events
    chosen = moments(events)
    assert len(set(chosen)) == MOMENTS
    for kind in KINDS:
        assert any(kind(events[number - 1]) for number in chosen), kind.__name__


@pytest.mark.parametrize("stage", ["prepare", "finetune"])
def test_a_training_resumes_from_its_last_whole_checkpoint(
    reference: Reference, warm: WarmCli, tmp_path: Path, stage: str
) -> None:
    # Killed while the third checkpoint is written: the second is whole, the third is there in part.
    written = [
        number
        for number, event in enumerate(reference.file_events, 1)
        if re.search(r"^open store/partial/\w+/checkpoint-\d+/trainer_state.json", event)
    ]
    assert len(written) == 8
    number = written[2 if stage == "prepare" else 6]
    place = tmp_path / "place"
    code, seen = warm(*reference.arguments(place), log=tmp_path / "killed", watch=place, kill_at=number)
    assert code == -signal.SIGKILL
    (folder,) = (place / "store" / "partial").iterdir()
    half = folder / Path(seen[-1].split()[1]).parent.name
    assert (half / "model.safetensors").exists()
    assert not (half / "COMPLETE").exists()
    code, _ = warm(*reference.arguments(place), "--events", tmp_path / "events.jsonl", log=tmp_path / "resumed")
    assert code == 0, (tmp_path / "resumed").read_text(encoding="utf-8")
    steps = [
        event["done"]
        for event in read_events(tmp_path / "events.jsonl")
        if event["event"] == "Progress" and event["stage"] == stage
    ]
    assert steps == list(range(9, 17)), "of 16 steps the first 8 were kept"
    reference.equals(place)


def test_a_damaged_checkpoint_is_not_resumed_from(reference: Reference, warm: WarmCli, tmp_path: Path) -> None:
    written = [
        number
        for number, event in enumerate(reference.file_events, 1)
        if re.search(r"^open store/partial/\w+/checkpoint-\d+/trainer_state.json", event)
    ]
    place = tmp_path / "place"
    warm(*reference.arguments(place), log=tmp_path / "killed", watch=place, kill_at=written[2])
    (newest,) = (
        path.parent for path in (place / "store" / "partial").glob("*/*/COMPLETE") if path.parent.name.endswith("-8")
    )
    weights = bytearray((newest / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (newest / "model.safetensors").write_bytes(weights)
    code, _ = warm(*reference.arguments(place), log=tmp_path / "resumed")
    assert code == 0, (tmp_path / "resumed").read_text(encoding="utf-8")
    reference.equals(place)


# Interrupted


@pytest.mark.parametrize(
    ("number", "trigger"),
    [
        (signal.SIGINT, {"event": "Progress", "stage": "finetune"}),
        (signal.SIGTERM, {"event": "StageStarted", "stage": "export", "round": 0}),
        (signal.SIGTERM, {"event": "StageStarted", "stage": "benchmark"}),
    ],
    ids=["SIGINT in a training", "SIGTERM in an export", "SIGTERM in the benchmark"],
)
def test_an_interrupted_build_says_so_and_goes_on(
    reference: Reference, warm: WarmCli, tmp_path: Path, number: signal.Signals, trigger: dict[str, object]
) -> None:
    place, log = tmp_path / "place", tmp_path / "events.jsonl"
    arguments = reference.arguments(place)
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {MAIN}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--json", "--events", str(log), "--set",
         "stages.benchmark.processes=40"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(log, trigger, process)
    time.sleep(0.4)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["exit_code"] == 130
    assert "Traceback" not in err
    (said,) = (line for line in err.splitlines() if line.startswith("edgeprune: "))
    assert said == "edgeprune: interrupted; run the same command again to go on from here"
    whole(place / "store")
    assert not (place / "dist").exists()
    ended, _ = warm(*arguments, "--events", tmp_path / "again.jsonl", log=tmp_path / "resumed")
    assert ended == 0, (tmp_path / "resumed").read_text(encoding="utf-8")
    reference.equals(place)
    assert "prepare" not in [stage for stage, _, _ in starts(tmp_path / "again.jsonl")]


def wait_for(log: Path, trigger: dict[str, object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if log.exists():
            complete = log.read_text(encoding="utf-8").rpartition("\n")[0]
            if any(trigger.items() <= json.loads(line).items() for line in complete.splitlines()):
                return
        time.sleep(0.02)
    raise AssertionError(f"no {trigger} within the time")


# Two at once


def test_two_builds_at_once_share_the_work(reference: Reference, tmp_path: Path) -> None:
    place = tmp_path / "place"
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAIN, *reference.arguments(place), "--json", "--events", str(log)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for log in logs
    ]  # fmt: skip
    ended = [process.communicate(timeout=300) for process in processes]
    for process, (_, err) in zip(processes, ended, strict=True):
        assert process.returncode == 0, err
    first, second = (json.loads(out) for out, _ in ended)
    keys = [(row["stage"], row["round"], row["key"]) for row in first["stages"]]
    assert keys == [(row["stage"], row["round"], row["key"]) for row in second["stages"]]
    assert Counter(start for log in logs for start in starts(log)) == dict.fromkeys(keys, 1)
    waited = [event for log in logs for event in read_events(log) if event["event"] == "StageWaiting"]
    assert waited, "at least once one of them had to wait"
    assert first["package"] == second["package"]
    assert first["latency"] == second["latency"], "one measurement, shared"
    reference.equals(place)
    assert call("verify", place / "dist" / "tiny-model-0-here").code == 0


# The same bytes from elsewhere


def build_elsewhere(reference: Reference, folder: Path, environment: dict[str, str]) -> Path:
    """Build from a copy of the project, the model and the data at another path, with an empty store."""
    source = Path(edgeprune.__file__).parent
    checkout = folder / "a checkout elsewhere"
    shutil.copytree(source, checkout / "edgeprune", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pipelines", "targets"):
        shutil.copytree(source.parent / name, checkout / name, ignore=shutil.ignore_patterns("data"))
    inputs = folder / "inputs"
    inputs.mkdir()
    shutil.copytree(reference.root / "tiny-model", inputs / "tiny-model")
    for name in ("data.jsonl", "tiny.yaml", "here.yaml"):
        shutil.copy(reference.root / name, inputs / name)
    place = folder / "place"
    code = f"import edgeprune; assert edgeprune.__file__.startswith({str(checkout)!r}), edgeprune.__file__; {MAIN}"
    done = subprocess.run(
        [sys.executable, "-c", code, *Reference(inputs).arguments(place)], cwd=inputs, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(checkout), **environment}, umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


def test_two_checkouts_at_different_paths_give_the_same_bytes(reference: Reference, tmp_path: Path) -> None:
    (tmp_path / "temporary files").mkdir()
    place = build_elsewhere(
        reference, tmp_path,
        {
            "PYTHONHASHSEED": "12345", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": str(tmp_path), "COLUMNS": "40",
            "TMPDIR": str(tmp_path / "temporary files"),
        },
    )  # fmt: skip
    reference.equals(place)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_environments_thread_count_does_not_change_the_bytes(
    reference: Reference, tmp_path: Path, threads: str
) -> None:
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    reference.equals(build_elsewhere(reference, tmp_path, environment))
