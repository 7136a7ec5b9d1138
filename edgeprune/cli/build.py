"""Package a model for a device, or for several side by side: `edgeprune build | compare`."""

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgeprune.base.errors import PlaceError, UsageError, first_exit_code
from edgeprune.cli.ci_outputs import BenchmarkJson, CiOutputs, Junit
from edgeprune.cli.complain import complain
from edgeprune.cli.console import err, out
from edgeprune.cli.options import Json, refuse_unread, typed_names, with_build_options
from edgeprune.cli.preview import print_preview
from edgeprune.cli.progress import EventRenderer
from edgeprune.cli.render import print_comparison, print_report
from edgeprune.pipeline.options import BuildOptions, Panel
from edgeprune.profiles.project import PROJECT_FILE
from edgeprune.report.misses import misses
from edgeprune.report.records import PAGE_SUFFIX

if TYPE_CHECKING:
    from edgeprune.base.strict_yaml import Frozen
    from edgeprune.pipeline.plan import Plan
    from edgeprune.pipeline.request import BuildRequest
    from edgeprune.report.records import BuildReport
    from edgeprune.report.tracking import Tracker

__all__ = ["build", "compare"]

Events = Annotated[
    Path | None,
    typer.Option(
        "--events", help="Append every event to this file, as JSON lines.", rich_help_panel=Panel.OUTPUT, metavar="FILE"
    ),
]

_EXAMPLE = "edgeprune build ./my-model --data reviews.jsonl (edgeprune build --help has every option)"


@with_build_options(may_lack=("model", "data"))
def build(
    context: typer.Context,
    options: Mapping[str, Any],
    events: Events = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Check the model, the data and the target, show what would run, and run nothing.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    junit: Junit = None,
    benchmark_json: BenchmarkJson = None,
    track: Annotated[
        Literal["mlflow"] | None,
        typer.Option(
            "--track",
            help="Record the build in MLflow, where MLFLOW_TRACKING_URI says. Needs the extra mlflow.",
            rich_help_panel=Panel.OUTPUT,
            metavar="mlflow",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Package a model for a device.

    A build prunes the model, recovers it, converts it to ONNX, and measures it on the target. A later build uses
    artifacts in the store again. The exit code is 0 if every budget is met.

    Without a model, edgeprune.yaml in the current folder says what is built, and the options that are given win over it.
    `edgeprune init` writes that file.
    """
    if plan and (junit or benchmark_json or track):
        raise UsageError(
            "--plan runs nothing, so there is nothing for --junit, --benchmark-json and --track; leave them out"
        )
    outputs = CiOutputs(junit, benchmark_json)
    tracker = _tracker() if track else None
    with outputs.telling_errors():
        builds = _asked(options, typed_names(context))
    if plan:
        from edgeprune.pipeline.preview import preview

        previews = [preview(made, request) for made, request in builds]
        if as_json:
            _write_all(previews)
        for number, one in enumerate([] if as_json else previews):
            if number:
                out.print()
            print_preview(out, one)
        return 0
    outputs.read_baselines([request.baseline for _, request in builds])
    with outputs.telling_errors():
        reports = _run_all(builds, events)
    outputs.write(reports)
    if tracker is not None:
        _record(tracker, [request for _, request in builds], reports)
    if as_json:
        _write_all(reports)
    for report in [] if as_json else reports:
        out.print()
        print_report(out, report, Path(f"{report.package.path}.{PAGE_SUFFIX}") if options["report"] else None)
    _say_misses(reports)
    return first_exit_code({report.exit_code for report in reports} - {0})


def _asked(options: Mapping[str, Any], typed: Collection[str]) -> "list[tuple[Plan, BuildRequest]]":
    """Plan what the command line asks for: one build of the model that it names, or those of the project file."""
    from edgeprune.pipeline.project import read_project

    path = Path(PROJECT_FILE)
    if "model" in options:
        if "data" not in options:
            unread = f" ({path} is not read, because a model is named)" if path.exists() else ""
            raise UsageError(f"a build of {options['model']} needs --data{unread}, as in {_EXAMPLE}")
        return [_planned(BuildOptions(**options))]
    if not path.exists():
        raise UsageError(
            f"there is no {path} in this folder, and no model is named; write the file with edgeprune init, or name a "
            f"model and its data, as in {_EXAMPLE}"
        )
    project = read_project(path)
    given = {name: options[name] for name in options if name in typed}
    asked = project.builds(given)
    with project.told(given):
        builds = [_planned(one) for one in asked]
        builds[0][0].subject.data.columns()  # they are the same for all targets
    folders = [plan.name.folder for plan, _ in builds]
    if twice := sorted({folder for folder in folders if folders.count(folder) > 1}):
        raise UsageError(
            f"{path}: two of the targets would write the package {', '.join(twice)}; name each target once"
        )
    return builds


def _write_all(documents: "Sequence[Frozen]") -> None:
    """Write one document as it is, and several as a list."""
    texts = [document.model_dump_json(indent=2) for document in documents]
    sys.stdout.write((texts[0] if len(texts) == 1 else "[" + ",\n".join(texts) + "]") + "\n")


@with_build_options(without=("target", "baseline", "baseline_key", "max_regression"))
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


def _tracker() -> "Tracker":
    from edgeprune.report.tracking import Tracker

    return Tracker()


def _record(tracker: "Tracker", requests: "Sequence[BuildRequest]", reports: "Sequence[BuildReport]") -> None:
    """Record builds. A place that can't be reached loses no build: it is told, and changes no exit code."""
    from edgeprune.pipeline.describe import asked_options

    for request, report in zip(requests, reports, strict=True):
        try:
            tracker.record(report, asked_options(request))
        except PlaceError as error:
            err.print(f"warning: {error}", style="yellow", markup=False, soft_wrap=True)


def _say_misses(reports: "Sequence[BuildReport]") -> None:
    for report in reports:
        for sentence in misses(report.budget, report.target):
            complain(sentence, about=f"{report.name} for {report.target}")
