"""Publish a build: copy the package out of the store, and write beside it what was measured.

<output>/<name>/                      the package
<output>/<name>.tar.gz                the package in one file
<output>/<name>.build.json            the report
<output>/<name>.benchmark.jsonl       every latency sample, if the target was measured
<output>/<name>.regression.jsonl      every sample of the comparison with the baseline, if there is one
<output>/<name>.ort, .ort.config      the model in ORT format, if the profile asks for it
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgeprune.base.errors import StorageError, UsageError, storage_error
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.report import BuildReport
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.run import Done
from edgeprune.pipeline.stages.mobile import OPERATORS, ORT_MODEL
from edgeprune.store.files import artifact_key, sync_tree, write_text
from edgeprune.store.store import Store

__all__ = ["check_output", "publish"]

_BESIDE = {
    "benchmark.jsonl": ("benchmark", "samples.jsonl"),
    "regression.jsonl": ("regression", "samples.jsonl"),
    "ort": ("mobile", ORT_MODEL),
    "ort.config": ("mobile", OPERATORS),
}
"""The node and the file from which each file beside the package is copied, by the copy's suffix."""


def check_output(output: Path, name: str) -> None:
    """Make sure that a package can be written, before anything is trained for it.

    Raises:
        StorageError: The output folder can't be written.
        UsageError: The package's place is taken by a folder that edgeprune didn't write.
    """
    above = next(folder for folder in [output, *output.absolute().parents] if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise StorageError(f"could not write to {output}: {above} is not a writable folder; choose another --output")
    folder = output / name
    if folder.exists() and not (folder / "SHA256SUMS").is_file():
        raise UsageError(
            f"{folder} exists and is not a package that edgeprune wrote; move it, or choose another --output"
        )


def publish(report: BuildReport, request: BuildRequest, plan: Plan, done: Mapping[str, Done]) -> None:
    """Put a build's package, its archive, its report and the other files into the output folder.

    Files of an older build that this build doesn't have are removed.

    Raises:
        StorageError: The folder can't be written.
    """
    output, name, package = request.output, plan.name.folder, done["package"].artifact
    try:
        # Two builds of the same package at the same time publish one after the other.
        with Store(request.store).lock("publish", artifact_key([str(output.resolve()), name]), lambda: None):
            output.mkdir(parents=True, exist_ok=True)
            for left in (f".{name}.new", f".{name}.old.new"):
                shutil.rmtree(output / left, ignore_errors=True)
            _replace_folder(package.file(name), output / name)
            _replace_file(package.file(f"{name}.tar.gz"), output / f"{name}.tar.gz")
            write_text(output / f"{name}.build.json", report.model_dump_json(indent=2) + "\n")
            for suffix, (node, file) in _BESIDE.items():
                beside = output / f"{name}.{suffix}"
                if node in done:
                    _replace_file(done[node].artifact.file(file), beside)
                else:
                    beside.unlink(missing_ok=True)
    except OSError as error:
        raise (storage_error(error, output) or error) from error


def _replace_file(source: Path, destination: Path) -> None:
    """Put a copy of `source` in the place of `destination`, whole or not at all."""
    new = destination.with_name(f".{destination.name}.new")
    try:
        shutil.copyfile(source, new)
        new.replace(destination)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _replace_folder(source: Path, destination: Path) -> None:
    """Put a copy of a folder in the place of another, whole or not at all. For a moment there is neither of them."""
    new = destination.with_name(f".{destination.name}.new")
    old = destination.with_name(f".{destination.name}.old.new")
    try:
        shutil.copytree(source, new)
        sync_tree(new)
        if destination.exists():
            destination.rename(old)
        new.rename(destination)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
