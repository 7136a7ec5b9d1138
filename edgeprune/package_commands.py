"""The commands about packages: `edgeprune verify`, `edgeprune benchmark`."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.catalog import Json
from edgeprune.errors import TargetError, UsageError
from edgeprune.render import EventRenderer, budget_misses, err, out, print_benchmark

__all__ = ["Set", "benchmark", "share_of", "verify"]

Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override, e.g. stages.finetune.epochs=1 or target.budget.size_mb=30.")
]


def verify(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    as_json: Json = False,
) -> int:
    """Check every digest of a package and replay its goldens."""
    from edgeprune.verify import verify as check

    found = check(package)
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        how = "bit by bit" if found.exact else f"within {found.max_error:.1e}, with the same answers"
        out.print(f"{package}: {found.files} files as they were made, {found.goldens} goldens equal {how}")
    return 0


def benchmark(
    package: Annotated[Path, typer.Argument(help="A package's folder or .tar.gz.")],
    against: Annotated[Path | None, typer.Option(help="Another package, which takes turns with the first.")] = None,
    target: Annotated[str, typer.Option(help="Shipped target, path, or host.")] = "host",
    inputs: Annotated[
        Path | None, typer.Option(help="One text, or image path, a line.  [default: the package's goldens]")
    ] = None,
    max_regression: Annotated[
        str | None, typer.Option(help="With --against: how much slower the first may be, e.g. 5%.")
    ] = None,
    processes: Annotated[
        int, typer.Option(help="Fresh processes; fewer than 7 allow no interval and no verdict.", min=1)
    ] = 8,
    samples: Annotated[int, typer.Option(help="Timed runs of each package in each process.", min=16)] = 40,
    set_: Set = None,
    as_json: Json = False,
) -> int:
    """Time a package on a target, or two by turns: faster, slower, or can't tell."""
    from edgeprune.agent import device_info
    from edgeprune.comparison import benchmark as run
    from edgeprune.profiles import BenchmarkConfig, host_target, load_target
    from edgeprune.reaching import runner_of, why_unreachable

    share = None if max_regression is None else share_of(max_regression)
    if share is not None and against is None:
        raise UsageError("--max-regression is of one package against another; give --against")
    profile = host_target(device_info(), set_ or ()) if target == "host" else load_target(target, set_ or ())
    reason = why_unreachable(profile)
    if reason is not None:
        raise TargetError(f"{profile.name} can't be timed from here: {reason}")
    with contextlib.closing(runner_of(profile)) as runner, EventRenderer(err, stages=1) as renderer:
        report = run(
            [package] if against is None else [package, against],
            profile,
            runner,
            config=BenchmarkConfig(processes=processes, samples=samples),
            inputs=None if inputs is None else _lines(inputs),
            max_regression=share,
            emit=renderer,
        )
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        print_benchmark(out, report)
    for sentence in budget_misses(report.budget, report.target):
        err.print(f"edgeprune: {sentence}", style="red")
    return report.exit_code


def share_of(text: str) -> float:
    """The share that `5%` or `0.05` is."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise UsageError(f"--max-regression is {text}; give a share below 1, such as 5% or 0.05")
    return value


def _lines(path: Path) -> list[str]:
    try:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    if not found:
        raise UsageError(f"{path} has no lines; give one text, or the path of one image, a line")
    return found
