"""Check, run and time packages: `edgeprune verify | run | benchmark`."""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.base.errors import EdgepruneError, UsageError, first_exit_code
from edgeprune.cli.complain import complain
from edgeprune.cli.console import err, out
from edgeprune.cli.options import Json
from edgeprune.cli.progress import EventRenderer
from edgeprune.cli.render import print_benchmark
from edgeprune.pipeline.options import share_of
from edgeprune.report.misses import misses

if TYPE_CHECKING:
    from edgeprune.release.keys import Key

__all__ = ["benchmark", "key_of", "run", "verify"]


def verify(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    key: Annotated[
        Path | None,
        typer.Option(
            help="Check the package's signature against this file: a public key, or certificates of authorities, in PEM."
        ),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            help="Check that the package was signed without a key by this e-mail address or workflow. Give --issuer too."
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="With --identity: the address of the service that vouches for it.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Check a package's digests and its signature, and replay its goldens.

    Digests find accidents. Only a signature that is checked against a key finds attackers.

    Goldens are inputs whose outputs the package keeps. On the instruction set and the onnxruntime that made them, the
    outputs must be equal. Elsewhere they may differ by the package's tolerance, with the same answers.
    """
    from edgeprune.pipeline.verify import verify as check

    found = check(package, key=key_of(key, identity, issuer))
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        how = "bit by bit" if found.exact else f"within {found.max_error:.1e}, with the same answers"
        out.print(
            f"{package}: {found.files} files as they were made, {found.goldens} goldens equal {how}", soft_wrap=True
        )
        said = {
            "verified": f"signed by {found.signed_by}",
            "not checked": "its signature was not checked: give --key",
            "none": "not signed: digests find accidents, but not attackers",
        }
        out.print(f"{package}: {said[found.signature]}", markup=False, soft_wrap=True)
    return 0


def key_of(path: Path | None, identity: str | None, issuer: str | None) -> "Key | None":
    """Give what a signature is checked against; None: nothing was asked for.

    Raises:
        UsageError: The options don't go together, or the file is no key.
    """
    from edgeprune.release.keys import Identity, read_key

    if (identity is None) != (issuer is None):
        raise UsageError("--identity and --issuer belong together; give both")
    if path is not None and identity is not None:
        raise UsageError("--key and --identity each say who must have signed the package; give one of them")
    if identity is not None and issuer is not None:
        return Identity(identity, issuer)
    return None if path is None else read_key(path)


def run(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts, or paths of images.  [default: one a line from standard input]", show_default=False
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            help="How many are answered at once. With more than 1, int8 rounds for all of them together.", min=1
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of ONNX Runtime.  [default: the package's own]", min=1, show_default=False),
    ] = None,
    as_json: Json = False,
) -> int:
    """Answer texts or images with a package, a line of JSON each.

    The package's run.py does the same without edgeprune. Where the model takes two texts, two arguments or two lines belong
    together. With --json, all answers are one document.
    """
    from edgeprune.ondevice.run import as_line, lines, unwritten
    from edgeprune.pipeline.package_model import open_package_model

    model = open_package_model(package, threads=threads, provider=None)
    contents = model.read(inputs or _read_lines(lines))
    answers: list[dict[str, Any]] = []
    while some := list(islice(contents, batch_size)):
        found = [
            model.named(content, answer)
            for content, answer in zip(some, model(some, batch_size=batch_size), strict=True)
        ]
        if as_json:
            answers += found
            continue
        try:
            for record in found:
                sys.stdout.write(as_line(record) + "\n")
            sys.stdout.flush()
        except OSError as error:
            return int(unwritten(error))
    if as_json:
        sys.stdout.write(json.dumps({"schema_version": 1, "exit_code": 0, "answers": answers}, indent=2) + "\n")
    return 0


def _read_lines(lines: Callable[[Any], Iterator[str]]) -> Iterator[str]:
    if sys.stdin is None:  # the process was started without one
        return
    try:
        yield from lines(sys.stdin.buffer)
    except ValueError as error:
        raise UsageError(f"standard input can't be read: {error}") from error


def benchmark(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    against: Annotated[
        Path | None, typer.Option(help="Another package, which is timed by turns with the first.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "--targets",
            help="Shipped target, path of a profile, or host. Several targets, separated by commas, are timed at once.",
        ),
    ] = "host",
    inputs: Annotated[
        Path | None,
        typer.Option(help="File with one text, or the path of one image, a line.  [default: the package's goldens]"),
    ] = None,
    max_regression: Annotated[
        float | None,
        typer.Option(
            parser=share_of,
            metavar="SHARE",
            help="With --against: the share by which the first package may be slower, as 5% or 0.05.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(help="Fresh processes to run. Fewer than 7 allow no interval and no verdict.", min=1)
    ] = 8,
    samples: Annotated[int, typer.Option(help="Timed runs of each package in each process.", min=16)] = 40,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override one value of the target, e.g. target.budget.latency_p90_ms=10. May be given several times.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File that every sample is written to, as JSON lines.")] = None,
    as_json: Json = False,
) -> int:
    """Time a package on a target, alone or against another one.

    Two packages are timed by turns. The result is that the first is faster, that it is slower, or that it can't be
    told.
    """
    from edgeprune.benchmark.compare import BenchmarkReport
    from edgeprune.benchmark.fleet import fleet
    from edgeprune.devices.match import host_target, this_machine
    from edgeprune.profiles.pipeline import BenchmarkConfig
    from edgeprune.profiles.shipped import load_target

    if max_regression is not None and against is None:
        raise UsageError("--max-regression says how much slower than another package the first may be; give --against")
    names = [name.strip() for name in target.split(",")]
    if other := next((one for one in set_ or () if not one.startswith("target.")), None):
        raise UsageError(
            f"--set {other} has no effect here; a benchmark takes only overrides of the target: --set target.…"
        )
    if output is not None and len(names) > 1:
        raise UsageError(
            "--output is one file, but there are several targets; time them one by one to keep the samples"
        )
    targets = [
        host_target(this_machine(), set_ or ()) if name == "host" else load_target(name, set_ or ()) for name in names
    ]
    with EventRenderer(err, stages=1) as renderer:
        found = fleet(
            [package] if against is None else [package, against],
            targets,
            config=BenchmarkConfig(processes=processes, samples=samples),
            inputs=None if inputs is None else _lines(inputs),
            max_regression=max_regression,
            samples=output,
            emit=renderer,
        )
    reports = [one for one in found if isinstance(one, BenchmarkReport)]
    failed = [(one.name, error) for one, error in zip(targets, found, strict=True) if isinstance(error, EdgepruneError)]
    if len(targets) == 1 and failed:
        raise failed[0][1]
    if as_json:
        documents = [report.model_dump(mode="json") for report in reports]
        documents += [{"target": name, "exit_code": one.exit_code, "error": str(one)} for name, one in failed]
        sys.stdout.write(json.dumps(documents if len(targets) > 1 else documents[0], indent=2) + "\n")
    else:
        for report in reports:
            print_benchmark(out, report)
    for report in reports:
        for sentence in misses(report.budget, report.target):
            complain(sentence)
    for name, error in failed:
        complain(f"{name}: {error}")
    codes = {report.exit_code for report in reports} | {error.exit_code for _, error in failed}
    return first_exit_code(codes - {0})


def _lines(path: Path) -> list[str]:
    from edgeprune.ondevice.run import lines

    try:
        with path.open("rb") as file:
            found = [line for line in lines(file) if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    if not found:
        raise UsageError(f"{path} has no lines; write one text, or the path of one image, in each line")
    return found
