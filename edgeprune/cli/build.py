"""Package a model for a device, or for several side by side: `edgeprune build | compare`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeprune.base.errors import UsageError, first_exit_code
from edgeprune.cli.ci_outputs import BenchmarkJson, CiOutputs, Junit
from edgeprune.cli.complain import complain
from edgeprune.cli.options import Json, refuse_unread, with_build_options
from edgeprune.cli.progress import EventRenderer
from edgeprune.cli.render import err, out, print_comparison, print_plan, print_report
from edgeprune.pipeline.options import BuildOptions
from edgeprune.report.misses import misses
from edgeprune.report.records import PAGE_SUFFIX

if TYPE_CHECKING:
    from pydantic import JsonValue

    from edgeprune.pipeline.plan import Plan
    from edgeprune.pipeline.request import BuildRequest
    from edgeprune.report.records import BuildReport

__all__ = ["build", "compare"]

Events = Annotated[Path | None, typer.Option("--events", help="Append every event to this file, as JSON lines.")]


@with_build_options()
def build(
    options: Mapping[str, Any],
    events: Events = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would run and what is in the store, and run nothing.")
    ] = False,
    junit: Junit = None,
    benchmark_json: BenchmarkJson = None,
    as_json: Json = False,
) -> int:
    """Package a model for a device.

    A build prunes the model, recovers it, converts it to ONNX, and measures it on the target. A later build uses
    artifacts in the store again. The exit code is 0 if every budget is met.
    """
    if plan and (junit or benchmark_json):
        raise UsageError("--plan runs nothing, so there is nothing for --junit and --benchmark-json; leave them out")
    outputs = CiOutputs(junit, benchmark_json, baseline=options["baseline"])
    with outputs.telling_errors():
        made, request = _planned(BuildOptions(**options))
    if plan:
        rows = _plan_rows(made)
        if as_json:
            content = {"schema_version": 1, "stages": rows, "not_measured": made.unreachable}
            sys.stdout.write(json.dumps(content, indent=2) + "\n")
        else:
            print_plan(out, rows, made.unreachable)
        return 0
    with outputs.telling_errors():
        (report,) = _run_all([(made, request)], events)
    outputs.write([report])
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        out.print()
        print_report(out, report, Path(f"{report.package.path}.{PAGE_SUFFIX}") if options["report"] else None)
    _say_misses([report])
    return report.exit_code


@with_build_options(without=("target", "baseline", "max_regression"))
def compare(
    context: typer.Context,
    model: Annotated[list[str], typer.Argument(help="A model, or build.json files that were made on any machine.")],
    targets: Annotated[str | None, typer.Option(help="Targets to build for, separated by commas.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Data, as for build. It is not needed to compare build.json files.")
    ] = None,
    *,
    options: Mapping[str, Any],
    events: Events = None,
    junit: Junit = None,
    benchmark_json: BenchmarkJson = None,
    as_json: Json = False,
) -> int:
    """Build for several targets and show the results side by side.

    With build.json files in the model's place, show these builds side by side. A page about all of them is written too.
    """
    from edgeprune.report.records import read_report

    models = [one for one in model if not one.endswith(".json")]
    if len(models) > 1:
        raise UsageError(
            f"compare takes one model and any number of build.json files, but got the models {', '.join(models)}"
        )
    if not models:
        unread = ["targets", "data", "events", *(name for name in options if name != "report")]
        refuse_unread(
            context, unread, "build.json files are compared as they are; name a model to build, or leave this out"
        )
    files = [Path(one) for one in model if one.endswith(".json")]
    reports = [read_report(path) for path in files]
    outputs = CiOutputs(junit, benchmark_json)
    if models:
        if not targets or data is None:
            raise UsageError("to compare a model on targets, give --targets a,b,… and --data")
        asked = [BuildOptions(models[0], data=data, target=target.strip(), **options) for target in targets.split(",")]
        with outputs.telling_errors():
            reports += (made := _run_all([_planned(one) for one in asked], events))
        files += [Path(f"{report.package.path}.build.json") for report in made]
    page = _compared_page(files, Path(options["output"]) if models else None) if options["report"] else None
    outputs.write(reports)
    if as_json:
        sys.stdout.write("[" + ",\n".join(report.model_dump_json(indent=2) for report in reports) + "]\n")
    else:
        print_comparison(out, reports, page)
    _say_misses(reports)
    return first_exit_code({report.exit_code for report in reports} - {0})


def _planned(options: BuildOptions) -> "tuple[Plan, BuildRequest]":
    from edgeprune.pipeline.plan import make_plan
    from edgeprune.pipeline.request import read_request

    request = read_request(options)
    return make_plan(request), request


def _run_all(builds: "Sequence[tuple[Plan, BuildRequest]]", events: Path | None) -> "list[BuildReport]":
    from edgeprune.base.events import EventLog
    from edgeprune.pipeline.build import build as run

    reports = []
    for plan, request in builds:
        if len(builds) > 1:
            err.print(f"{request.target.name}:", style="bold")
        stages = None if plan.shipped is None else len(plan.nodes)
        with EventRenderer(err, stages=stages) as renderer:
            reports.append(run(plan, request, emit=EventLog(events, renderer) if events else renderer))
    return reports


def _compared_page(files: Sequence[Path], folder: Path | None) -> Path:
    """Write the page about builds into a folder; None: beside the first one."""
    from edgeprune.report.files import page_beside, read_build, write_page

    page = page_beside(files) if folder is None else folder / page_beside(files).name
    write_page([read_build(path) for path in files], page)
    return page


def _plan_rows(plan: "Plan") -> "list[dict[str, JsonValue]]":
    """List what would run and what is in the store. A key is None if it depends on a race that wasn't run yet."""
    return [
        {
            "stage": node.stage.name,
            "round": node.stage.round,
            "key": key,
            "in_store": not node.stage.measures
            and key is not None
            and node.store.folder(node.stage.name, key).is_dir(),
        }
        for node, key in ((node, node.key) for node in plan.nodes)
    ]


def _say_misses(reports: "Sequence[BuildReport]") -> None:
    for report in reports:
        for sentence in misses(report):
            complain(sentence, about=f"{report.name} for {report.target}")
