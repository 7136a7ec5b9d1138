"""Run the command line: `edgeprune build | init | doctor | compare | report | run | serve | benchmark | verify | sign | push | pull | inspect | package | targets | pipelines | store | ci`.

Results go to standard output, progress and errors to standard error. Exit codes: 0 all budgets met, 1 fault in
edgeprune, 2 bad usage, profile or data, 3 latency, memory or size missed, 4 metric missed, 5 parity or integrity
failed, 6 target or place of packages unreachable, 7 inconclusive, 8 out of space, not writable or not readable, 130 interrupted.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from edgeprune.base.errors import EdgepruneError
from edgeprune.cli.build import build, compare
from edgeprune.cli.ci import ci_app
from edgeprune.cli.complain import complain
from edgeprune.cli.console import err, out
from edgeprune.cli.doctor import doctor
from edgeprune.cli.init import init
from edgeprune.cli.inspect import inspect
from edgeprune.cli.merge import package_app
from edgeprune.cli.options import add, group
from edgeprune.cli.packages import benchmark, run, verify
from edgeprune.cli.profiles import pipelines_app, targets_app
from edgeprune.cli.publish import pull, push
from edgeprune.cli.report import report
from edgeprune.cli.serve import serve
from edgeprune.cli.sign import sign
from edgeprune.cli.store import store_app

__all__ = ["app", "main"]


app = group(
    """Prune a Transformer encoder and ship it as a measured ONNX package for a device.

Results go to standard output. Progress and errors go to standard error.

\b
Exit codes:
  0    every budget is met
  1    a fault in edgeprune
  2    bad usage, profile or data
  3    a budget of latency, memory or size is missed
  4    a budget of the metric is missed
  5    parity or integrity failed
  6    the target, or a place of packages, can't be reached
  7    a verdict is inconclusive, or a budget was not measured
  8    no space left, or not readable or writable
  130  interrupted""",
    completion=True,
)


def _say_version(asked: bool) -> None:
    if asked:
        out.print(f"edgeprune {version('edgeprune')}")
        raise typer.Exit


add(app, build, example="edgeprune build ./my-model --data reviews.jsonl")
add(app, init, example="edgeprune init ./my-model --data reviews.jsonl")
add(app, doctor, example="edgeprune doctor")
add(app, compare, example="edgeprune compare ./my-model --data reviews.jsonl --targets host,raspberry-pi-4")
add(app, report, example="edgeprune report dist/my-model-0-raspberry-pi-4.build.json")
add(app, run, example="edgeprune run dist/my-model-0-raspberry-pi-4 'A text.'")
add(app, serve, example="edgeprune serve dist/my-model-0-raspberry-pi-4")
add(app, benchmark, example="edgeprune benchmark dist/my-model-0-raspberry-pi-4")
add(app, verify, example="edgeprune verify dist/my-model-0-raspberry-pi-4")
add(app, sign, example="edgeprune sign dist/my-model-0-raspberry-pi-4 --key release.key")
add(app, push, example="edgeprune push dist/my-model-0-raspberry-pi-4 oci://registry.example.com/team/my-model:1")
add(app, pull, example="edgeprune pull oci://registry.example.com/team/my-model:1")
add(app, inspect, example="edgeprune inspect ./my-model")
app.add_typer(package_app, name="package")
app.add_typer(targets_app, name="targets")
app.add_typer(pipelines_app, name="pipelines")
app.add_typer(store_app, name="store")
app.add_typer(ci_app, name="ci")


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the right code. Bad input gives one sentence, never a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: _leave(given))
    try:
        code = app(given, prog_name="edgeprune", standalone_mode=False)
    except EdgepruneError as error:
        code = _fail(str(error), error.exit_code, given)
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # a command group without a command
            err.print(message)
            code = 2
        else:
            code = _fail(f"{message.rstrip('.')}; {_where_to_look(error)}", 2, given)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 (a fault in edgeprune, shown whole; a panic in Rust is no Exception)
        traceback.print_exc()
        code = _fail(f"this is a fault in edgeprune; please report it with the traceback above: {error}", 1, given)
    sys.exit(code)


def _where_to_look(error: typer.TyperException) -> str:
    """Name the help of the command that was typed, and its example."""
    context = getattr(error, "ctx", None)
    if context is None:
        return "see edgeprune --help"
    example = context.command.epilog
    return f"see {context.command_path} --help" + (f". {example}" if example else "")


def _leave(arguments: Sequence[str]) -> None:
    """End at once with exit code 130. The store allows this at any moment.

    An exception that is raised here would surface wherever the process happens to be. Inside the exporter's C++ it
    would crash.
    """
    if (baseline := sys.modules.get("edgeprune.pipeline.baseline")) is not None:
        baseline.remove_fetched()
    assert sys.__stdout__ is not None  # noqa: S101 (a command line has one)
    sys.stdout = sys.__stdout__  # while a stage runs, standard output is redirected
    err.show_cursor()
    _fail("interrupted; run the same command again to go on from here", 130, arguments)
    sys.__stdout__.flush()
    os._exit(130)


def _fail(message: str, code: int, arguments: Sequence[str]) -> int:
    complain(message)
    if "--json" in arguments:
        document = {"schema_version": 1, "exit_code": code, "error": message}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return code
