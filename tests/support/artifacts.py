"""Artifacts made by hand, and locks that another process holds."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune.store.files import file_records
from edgeprune.store.records import Artifact, Environment, Manifest, Metric, StageMetrics
from edgeprune.store.store import Store

KEY = "ab" * 32
OTHER = "cd" * 32


def manifest_of(folder: Path, stage: str = "export", key: str = KEY) -> Manifest:
    return Manifest(
        stage=stage,
        key=key,
        parents={"checkpoint": OTHER},
        config={"opset": 20, "tolerance": 1e-4},
        files=file_records(folder),
        metrics=StageMetrics(metric=Metric(name="accuracy", value=0.9, samples=10, drop=0.01, drop_interval=(-0.1, 1))),
        environment=Environment(python="3", platform="x", arch="x", isa=("avx2",), threads=2, libraries={"onnx": "1"}),
        seed=0,
        started_at="2024-01-01T00:00:00+00:00",
        duration_s=1.5,
        peak_memory_mb=100.0,
    )


def commit(store: Store, stage: str = "export", key: str = KEY, run: str | None = None) -> Artifact:
    draft = store.draft(stage, key) if run is None else store.draft_run("benchmark", key, run)
    (draft / "model.onnx").write_bytes(b"graph")
    (draft / "checkpoint").mkdir()
    (draft / "checkpoint" / "config.json").write_text("{}")
    place = store.folder(stage, key) if run is None else store.folder(stage, key) / run
    return store.commit(draft, place, manifest_of(draft, stage, key))


@contextmanager
def held_elsewhere(store: Store, stage: str, key: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock until it is told to end."""
    code = (
        "import sys; from pathlib import Path; from edgeprune.store.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(sys.argv[2], sys.argv[3], lambda: None):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.root), stage, key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
