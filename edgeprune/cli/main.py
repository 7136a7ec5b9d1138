"""The command line: `edgeprune build | compare | benchmark | verify | inspect | targets | pipelines | store`.

Results go to standard output, progress and errors to standard error. Exit codes: 0 all budgets met, 1 fault of ours, 2 bad
usage, profile or data, 3 latency, memory or size missed, 4 metric missed, 5 parity or integrity failed, 6 target
unreachable, 7 inconclusive, 8 out of space or not writable, 130 interrupted.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.base.errors import EdgepruneError, UsageError, first_exit_code
from edgeprune.cli.packages import Set, benchmark, share_of, verify
from edgeprune.cli.profiles import Json, StoreOption, group, pipelines_app, store_app, store_folder, targets_app
from edgeprune.cli.render import err, out, print_plan

if TYPE_CHECKING:
    from pydantic import JsonValue

    from edgeprune.cli.render import EventRenderer
    from edgeprune.data.source import DataSpec
    from edgeprune.pipeline.plan import Plan
    from edgeprune.pipeline.report import BuildReport
    from edgeprune.pipeline.request import BuildRequest

__all__ = ["app", "main"]


app = group("Prune a Transformer encoder and ship it as a measured ONNX package for a device.")
app.command()(benchmark)
app.command()(verify)
app.add_typer(targets_app, name="targets")
app.add_typer(pipelines_app, name="pipelines")
app.add_typer(store_app, name="store")

Data = Annotated[
    str,
    typer.Option("--data", help="JSONL, CSV, TSV or Parquet file, or a dataset name or folder: training rows, or all."),
]
OptionalData = Annotated[
    str | None, typer.Option("--data", help="As for build; not needed to compare build.json files.")
]
SelectionData = Annotated[str | None, typer.Option(help="File for every choice.  [default: a tenth of --data]")]
TestData = Annotated[str | None, typer.Option(help="File for reported figures and the gate.  [default: 15% of --data]")]
TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", "--image-column", help="Column with the text, the words, the question or the image."),
]
PairColumn = Annotated[
    str | None, typer.Option(help="Column with the second text of a row; the context of question answering.")
]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the label, the labels of the words or the answers.")]
MaxRows = Annotated[int | None, typer.Option(help="Use a seeded subset of at most this many rows.", min=20)]
PipelineOption = Annotated[str, typer.Option("--pipeline", help="Shipped pipeline, or a path ending in .yaml.")]
Task = Annotated[
    str | None,
    typer.Option(
        help="text-classification, token-classification, question-answering, fill-mask, feature-extraction, "
        "image-classification or image-feature-extraction.  [default: from the checkpoint]"
    ),
]
ProblemTypeOption = Annotated[
    str | None,
    typer.Option("--problem-type", help="single_label_classification, multi_label_classification or regression."),
]
Name = Annotated[str | None, typer.Option(help="Name of the package.  [default: the model's]")]
Release = Annotated[str, typer.Option(help="Version of the package.")]
Output = Annotated[Path, typer.Option(help="Folder that packages are written to.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the network for model or data.")]
Events = Annotated[Path | None, typer.Option("--events", help="Append every event to this file, as JSON lines.")]


@app.command()
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
        data=_data_spec(data, selection_data, test_data, text_column, pair_column, label_column, max_rows),
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


@app.command()
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

        spec = _data_spec(data, selection_data, test_data, text_column, pair_column, label_column, max_rows)
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


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A model, an artifact's folder in the store, or a package.")],
    tokens: Annotated[
        int | None,
        typer.Option(
            help="Length of the text that multiply-adds are counted for.  [default: 128; an image's own]", min=1
        ),
    ] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Draw how much heads and neurons matter: importance.png and .html.")
    ] = False,
    attention: Annotated[
        str | None, typer.Option(help="Draw where every head attends in this text: attention.html.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="What to compute importance on; not needed for a pruned artifact.")
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    task: Task = None,
    criterion: Annotated[
        str | None, typer.Option(help="random, magnitude, taylor, fisher or activation.  [default: fisher]")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder that pictures are written to.")] = Path(),
    store: StoreOption = None,
    offline: Offline = False,
    as_json: Json = False,
) -> int:
    """Parameters and multiply-adds by layer and part, dense beside pruned; pictures of importance and attention."""
    from edgeprune.cli.render import print_inspection
    from edgeprune.models.sizes import inspect_model
    from edgeprune.store.store import Store

    if not importance and (data is not None or criterion is not None):
        raise UsageError("--data and --criterion say how importance is computed; add --importance, or leave them out")
    opened = Store(store_folder(store))
    found = inspect_model(model, tokens=tokens, store=opened, offline=offline)
    written: list[Path] = []
    if importance:
        from edgeprune.pipeline.importance import draw_importance

        spec = None if data is None else _data_spec(data, None, None, text_column, pair_column, label_column, None)
        with _progress(stages=2) as renderer:
            written += draw_importance(
                model, spec, criterion=criterion, task=task, store=opened, output=output, offline=offline, emit=renderer
            )
    if attention is not None:
        from edgeprune.pipeline.importance import draw_attention

        written.append(draw_attention(model, attention, store=opened, output=output, offline=offline))
    if as_json:
        document = found.model_dump(mode="json") | {"pictures": [str(path) for path in written]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 0
    print_inspection(out, found)
    for path in written:
        out.print(str(path), soft_wrap=True)
    return 0


def _data_spec(
    data: str,
    selection: str | None,
    test: str | None,
    text_column: str | None,
    pair_column: str | None,
    label_column: str | None,
    max_rows: int | None,
) -> "DataSpec":
    from edgeprune.data.source import DataSpec

    return DataSpec(
        train=data,
        selection=selection,
        test=test,
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        max_rows=max_rows,
    )


def _progress(*, stages: int) -> "EventRenderer":
    from edgeprune.cli.render import EventRenderer

    return EventRenderer(err, stages=stages)


def _run_all(builds: "list[tuple[Plan, BuildRequest]]", events: Path | None) -> "list[BuildReport]":
    from edgeprune.base.events import EventLog
    from edgeprune.pipeline.publish import build as run

    reports = []
    for plan, request in builds:
        if len(builds) > 1:
            err.print(f"{request.target.name}:", style="bold")
        with _progress(stages=len(plan.nodes) + (request.baseline is not None)) as renderer:
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the right code; bad input gives a sentence, never a traceback."""
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
            code = _fail(f"{message.rstrip('.')}; see edgeprune --help", 2, given)
    except Exception as error:  # noqa: BLE001 (a fault of ours, shown whole)
        traceback.print_exc()
        code = _fail(f"this is a fault of edgeprune's, please report it with the traceback above: {error}", 1, given)
    sys.exit(code)


def _leave(arguments: Sequence[str]) -> None:
    """End at once with exit code 130, as the store allows at any moment.

    An exception raised here would surface wherever the process happens to be; inside the exporter's C++ it crashes.
    """
    assert sys.__stdout__ is not None  # noqa: S101 (a command line has one)
    sys.stdout = sys.__stdout__  # a running stage has its libraries write elsewhere
    err.show_cursor()
    _fail("interrupted; the same command goes on from here", 130, arguments)
    sys.__stdout__.flush()
    os._exit(130)


def _fail(message: str, code: int, arguments: Sequence[str]) -> int:
    err.print(f"edgeprune: {message}", style="red")
    if "--json" in arguments:
        document = {"schema_version": 1, "exit_code": code, "error": message}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return code
