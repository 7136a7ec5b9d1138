"""Package a model for a device, or for several side by side: `edgeprune build | compare`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.base.errors import UsageError, first_exit_code
from edgeprune.cli.options import (
    Data,
    Events,
    Json,
    LabelColumn,
    MaxRows,
    Name,
    Offline,
    OptionalData,
    Output,
    PairColumn,
    PipelineOption,
    ProblemTypeOption,
    Release,
    SelectionData,
    Set,
    StoreOption,
    Task,
    TestData,
    TextColumn,
    data_spec,
    share_of,
)
from edgeprune.cli.render import err, out, print_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from edgeprune.cli.progress import EventRenderer
    from edgeprune.pipeline.plan import Plan
    from edgeprune.pipeline.report import BuildReport
    from edgeprune.pipeline.request import BuildRequest

__all__ = ["build", "compare", "progress"]


def build(
    model: Annotated[str, typer.Argument(help="Local folder, hub id with @revision, or package:NAME/FOLDER.")],
    data: Data,
    target: Annotated[str, typer.Option(help="Shipped target, path, or host.")] = "host",
    pipeline: PipelineOption = "structured",
    selection_data: SelectionData = None,
    test_data: TestData = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    max_rows: MaxRows = None,
    task: Task = None,
    problem_type: ProblemTypeOption = None,
    name: Name = None,
    release: Release = "0",
    output: Output = Path("dist"),
    store: StoreOption = None,
    set_: Set = None,
    offline: Offline = False,
    events: Events = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A package that the new one is timed against, by turns.")
    ] = None,
    max_regression: Annotated[
        str | None, typer.Option(help="With --baseline: how much slower the new one may be.  [default: 5%]")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would run and what is in the store; run nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Package a model for a device."""
    from edgeprune.pipeline.api import make_request
    from edgeprune.pipeline.plan import make_plan

    if max_regression is not None and baseline is None:
        raise UsageError("--max-regression is of the new package against another; give --baseline")
    request = make_request(
        model,
        data=data_spec(data, selection_data, test_data, text_column, pair_column, label_column, max_rows),
        target=target,
        pipeline=pipeline,
        task=task,
        problem_type=problem_type,
        name=name,
        release=release,
        output=output,
        store=store,
        set_=set_ or (),
        offline=offline,
        baseline=baseline,
        max_regression=share_of(max_regression or "5%"),
    )
    made = make_plan(request)
    if plan:
        rows = _plan_rows(made)
        if as_json:
            content = {"schema_version": 1, "stages": rows, "not_measured": made.unreachable}
            sys.stdout.write(json.dumps(content, indent=2) + "\n")
        else:
            print_plan(out, rows, made.unreachable)
        return 0
    (report,) = _run_all([(made, request)], events)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        from edgeprune.cli.render import print_report

        out.print()
        print_report(out, report)
    _say_misses([report])
    return report.exit_code


def compare(
    model: Annotated[list[str], typer.Argument(help="A model, or build.json files made anywhere.")],
    targets: Annotated[str | None, typer.Option(help="Targets, separated by commas.")] = None,
    data: OptionalData = None,
    pipeline: PipelineOption = "structured",
    selection_data: SelectionData = None,
    test_data: TestData = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    max_rows: MaxRows = None,
    task: Task = None,
    problem_type: ProblemTypeOption = None,
    name: Name = None,
    release: Release = "0",
    output: Output = Path("dist"),
    store: StoreOption = None,
    set_: Set = None,
    offline: Offline = False,
    events: Events = None,
    as_json: Json = False,
) -> int:
    """Build for several targets, or read build.json files, and show them side by side."""
    from edgeprune.cli.render import print_comparison
    from edgeprune.pipeline.report import read_report

    files = [Path(one) for one in model if one.endswith(".json")]
    reports = [read_report(path) for path in files]
    models = [one for one in model if not one.endswith(".json")]
    if len(models) > 1:
        raise UsageError(
            f"compare takes one model and any number of build.json files, got the models {', '.join(models)}"
        )
    if models:
        if not targets or data is None:
            raise UsageError("to compare a model on targets, give --targets a,b,… and --data")
        from edgeprune.pipeline.api import make_request
        from edgeprune.pipeline.plan import make_plan

        spec = data_spec(data, selection_data, test_data, text_column, pair_column, label_column, max_rows)
        requests = [
            make_request(
                models[0],
                data=spec,
                target=target.strip(),
                pipeline=pipeline,
                task=task,
                problem_type=problem_type,
                name=name,
                release=release,
                output=output,
                store=store,
                set_=set_ or (),
                offline=offline,
            )
            for target in targets.split(",")
        ]
        reports += _run_all([(make_plan(request), request) for request in requests], events)
    if as_json:
        sys.stdout.write("[" + ",\n".join(report.model_dump_json(indent=2) for report in reports) + "]\n")
    else:
        print_comparison(out, reports)
    _say_misses(reports)
    return first_exit_code({report.exit_code for report in reports} - {0})


def progress(*, stages: int) -> "EventRenderer":
    from edgeprune.cli.progress import EventRenderer

    return EventRenderer(err, stages=stages)


def _run_all(builds: "list[tuple[Plan, BuildRequest]]", events: Path | None) -> "list[BuildReport]":
    from edgeprune.base.events import EventLog
    from edgeprune.pipeline.publish import build as run

    reports = []
    for plan, request in builds:
        if len(builds) > 1:
            err.print(f"{request.target.name}:", style="bold")
        with progress(stages=len(plan.nodes) + (request.baseline is not None)) as renderer:
            emit = EventLog(events, renderer) if events else renderer
            reports.append(run(plan, request, emit=emit))
    return reports


def _plan_rows(plan: "Plan") -> "list[dict[str, JsonValue]]":
    """What would run and what is in the store; a key that depends on a race that wasn't run yet is None."""
    return [
        {
            "stage": node.stage.name,
            "round": node.stage.round,
            "key": key,
            "in_store": node is not plan.benchmark
            and key is not None
            and node.store.folder(node.stage.name, key).is_dir(),
        }
        for node, key in ((node, node.key) for node in plan.nodes)
    ]


def _say_misses(reports: "Sequence[BuildReport]") -> None:
    from edgeprune.cli.render import misses

    for report in reports:
        for sentence in misses(report):
            err.print(f"edgeprune: {sentence}", style="red")
