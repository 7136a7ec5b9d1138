"""Publish a build: copy the package out of the store, and write beside it what was measured.

<output>/<name>/                      the package
<output>/<name>.tar.gz                the package in one file
<output>/<name>.build.json            the report
<output>/<name>.report.html           the report as a page to read, unless it isn't wanted
<output>/<name>.cdx.json              its bill of materials (CycloneDX)
<output>/<name>.provenance.json       what it was made from (in-toto, SLSA)
<output>/<name>.benchmark.jsonl       every latency sample, if the target was measured
<output>/<name>.regression.jsonl      every sample of the comparison with the baseline, if there is one
<output>/<name>.ort, .ort.config      the model in ORT format, if the profile asks for it
<output>/<name>.text.onnx             the model with its tokenizer in front, if the pipeline asks for it
<output>/<name>.page/                 a page that answers texts in a browser, if the pipeline asks for it
<output>/<name>.examples/             programs that answer with the package, if the pipeline asks for them
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgeprune.base.errors import StorageError, UsageError, storage_errors
from edgeprune.pipeline.plan import Plan
from edgeprune.pipeline.request import BuildRequest
from edgeprune.pipeline.run import Done
from edgeprune.pipeline.stages.examples import EXAMPLES
from edgeprune.pipeline.stages.mobile import OPERATORS, ORT_MODEL
from edgeprune.pipeline.stages.page import PAGE, PAGE_FILE
from edgeprune.pipeline.stages.text_graph import TEXT_MODEL
from edgeprune.release.bom import BOM
from edgeprune.release.provenance import PROVENANCE
from edgeprune.report.measured_card import CARD_SUFFIX
from edgeprune.report.records import PAGE_SUFFIX, BuildReport
from edgeprune.store.files import file_digest, is_writable, sync, sync_tree, write_text
from edgeprune.store.package import DIGESTS, SIGNATURE
from edgeprune.store.ready import made_ready, replace_folder

__all__ = ["check_output", "publish"]

_BESIDE = {
    "benchmark.jsonl": ("benchmark", "samples.jsonl"),
    "regression.jsonl": ("regression", "samples.jsonl"),
    "ort": ("mobile", ORT_MODEL),
    "ort.config": ("mobile", OPERATORS),
    "text.onnx": ("text-graph", TEXT_MODEL),
}
"""The node and the file from which each file beside the package is copied, by the copy's suffix."""

_PAGE = "page"
"""The suffix of the folder beside the package that has its page, and the node that makes it."""


def check_output(output: Path, name: str) -> None:
    """Make sure that a package can be written, before anything is trained for it.

    Raises:
        StorageError: The output folder can't be written.
        UsageError: The place of the package, or of what lies beside it, is taken by something that edgeprune didn't write.
    """
    above = next(folder for folder in [output, *output.absolute().parents] if folder.exists())
    if not is_writable(output):
        raise StorageError(f"could not write to {output}: {above} is not a writable folder; choose another --output")
    for folder, (what, marker) in _folders(output, name).items():
        is_empty = folder.is_dir() and not any(folder.iterdir())
        if os.path.lexists(folder) and not is_empty and not (folder / marker).is_file():
            raise UsageError(
                f"{folder} exists and is not {what} that edgeprune wrote; move it, or choose another --output"
            )
    if edited := _edited(output / f"{name}.{EXAMPLES}"):
        raise UsageError(f"{edited} was changed since edgeprune wrote it; move its folder, or choose another --output")
    for file in (output / beside for beside in _files(name)):
        if file.is_dir():
            raise UsageError(f"{file} is a folder, but should be a file; move it, or choose another --output")


def publish(
    report: BuildReport,
    request: BuildRequest,
    plan: Plan,
    done: Mapping[str, Done],
    *,
    described: Mapping[str, str],
    page: str | None = None,
    card: str | None = None,
) -> None:
    """Put a build's package, its archive, its report and the other files into the output folder.

    Files of an older build that this build doesn't have are removed. Its signature is one of them.

    Args:
        report: The build's report.
        request: What was asked for.
        plan: The build's plan.
        done: The result of every node, by the node's id.
        described: The documents that describe the package, by their suffixes.
        page: The HTML of the page about the build; None: no page is wanted.
        card: The model card with what was measured; None: there is none.

    Raises:
        StorageError: The folder can't be written.
        UsageError: The package's place was taken meanwhile by something that edgeprune didn't write.
    """
    output, name, package = request.output, plan.name.folder, done["package"].artifact
    with storage_errors(output), made_ready(output) as new:
        check_output(output, name)
        # The files get the modes that the umask allows, not those that they have in the store.
        shutil.copytree(package.file(name), new / name, copy_function=shutil.copyfile)
        shutil.copyfile(package.file(f"{name}.tar.gz"), new / f"{name}.tar.gz")
        write_text(new / f"{name}.build.json", report.model_dump_json(indent=2) + "\n")
        for suffix, text in ((CARD_SUFFIX, card), (PAGE_SUFFIX, page), *described.items()):
            if text is not None:
                write_text(new / f"{name}.{suffix}", text)
        for suffix, (node, file) in _BESIDE.items():
            if node in done:
                shutil.copyfile(done[node].artifact.file(file), new / f"{name}.{suffix}")
        if _PAGE in done:
            shutil.copytree(done[_PAGE].artifact.file(PAGE), new / f"{name}.{_PAGE}", copy_function=shutil.copyfile)
        if "examples" in done:
            examples = done["examples"].artifact.file(EXAMPLES)
            shutil.copytree(examples, new / f"{name}.{EXAMPLES}", copy_function=shutil.copyfile)
        sync_tree(new)
        for place in _folders(output, name):
            replace_folder(new / place.name, place, new / f"{place.name}.replaced")
        for beside in _files(name):
            if (new / beside).exists():
                (new / beside).replace(output / beside)
            else:
                (output / beside).unlink(missing_ok=True)
        sync(output)


def _folders(output: Path, name: str) -> dict[Path, tuple[str, str]]:
    """Give the folders that a build may write, what messages call what each one should be, and a file that tells it."""
    return {
        output / name: ("a package", DIGESTS),
        output / f"{name}.{_PAGE}": ("a page", PAGE_FILE),
        output / f"{name}.{EXAMPLES}": ("a folder of examples", DIGESTS),
    }


def _edited(folder: Path) -> Path | None:
    """Find a file of examples that isn't as it was written, which a build would take away. What a compiler adds may go."""
    sums = folder / DIGESTS
    for line in sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else ():
        digest, _, path = line.partition("  ")
        if (folder / path).is_file() and file_digest(folder / path) != digest:
            return folder / path
    return None


def _files(name: str) -> list[str]:
    """Return the names of the files that may lie beside a package's folder."""
    suffixes = ("tar.gz", "build.json", BOM, PROVENANCE, CARD_SUFFIX, PAGE_SUFFIX, SIGNATURE, *_BESIDE)
    return [f"{name}.{suffix}" for suffix in suffixes]
