"""The command line: `edgeprune build | compare | verify | inspect | targets | pipelines | store`.

Results go to standard output, progress and errors to standard error. Exit codes: 0 all budgets met, 1 fault of ours, 2 bad
usage, profile or data, 3 latency, memory or size missed, 4 metric missed, 5 parity or integrity failed, 6 target
unreachable, 7 inconclusive, 8 out of space or not writable, 130 interrupted.
"""

import json
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from edgeprune.errors import EdgepruneError, UsageError, first_exit_code

if TYPE_CHECKING:
    from edgeprune.data import DataSpec
    from edgeprune.pipeline import BuildRequest, Plan
    from edgeprune.profiles import Pipeline, Target
    from edgeprune.results import BuildReport

__all__ = ["app", "main"]


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


app = _group("Prune a Transformer encoder and ship it as a measured ONNX package for a device.")
targets_app = _group("Device profiles.")
pipelines_app = _group("Pipeline definitions.")
store_app = _group("What builds left behind, to be used again.")
app.add_typer(targets_app, name="targets")
app.add_typer(pipelines_app, name="pipelines")
app.add_typer(store_app, name="store")

_PIPE_WIDTH = 200
"""Columns of a table that doesn't go to a terminal; rich would cut it to 80."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Where artifacts are kept.  [default: $EDGEPRUNE_STORE or .edgeprune]")
]
Data = Annotated[
    str, typer.Option("--data", help="JSONL, CSV, TSV or Parquet file, or a dataset name: training rows, or all.")
]
OptionalData = Annotated[
    str | None, typer.Option("--data", help="As for build; not needed to compare build.json files.")
]
SelectionData = Annotated[str | None, typer.Option(help="File for every choice.  [default: a tenth of --data]")]
TestData = Annotated[str | None, typer.Option(help="File for reported figures and the gate.  [default: 15% of --data]")]
TextColumn = Annotated[str | None, typer.Option(help="Column with the text.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column with the label.")]
MaxRows = Annotated[int | None, typer.Option(help="Use a seeded subset of at most this many rows.", min=20)]
PipelineOption = Annotated[str, typer.Option("--pipeline", help="Shipped pipeline, or a path ending in .yaml.")]
Task = Annotated[
    str | None, typer.Option(help="text-classification or feature-extraction.  [default: from the checkpoint]")
]
ProblemTypeOption = Annotated[
    str | None,
    typer.Option("--problem-type", help="single_label_classification, multi_label_classification or regression."),
]
Name = Annotated[str | None, typer.Option(help="Name of the package.  [default: the model's]")]
Release = Annotated[str, typer.Option(help="Version of the package.")]
Output = Annotated[Path, typer.Option(help="Folder that packages are written to.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override, e.g. stages.finetune.epochs=1 or target.budget.size_mb=30.")
]
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
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would run and what is in the store; run nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Package a model for a device."""
    from edgeprune.pipeline import make_plan

    request = _request(
        model,
        _data_spec(data, selection_data, test_data, text_column, label_column, max_rows),
        target,
        pipeline=pipeline,
        task=task,
        problem_type=problem_type,
        name=name,
        release=release,
        output=output,
        store=store,
        set_=set_,
        offline=offline,
    )
    made = make_plan(request)
    if plan:
        _print_plan(made, request, as_json=as_json)
        return 0
    (report,) = _run_all([(made, request)], events)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        from edgeprune.render import print_report

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
    from edgeprune.compare import read_report
    from edgeprune.render import comparison_table

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
        from edgeprune.pipeline import make_plan

        spec = _data_spec(data, selection_data, test_data, text_column, label_column, max_rows)
        requests = [
            _request(
                models[0],
                spec,
                target.strip(),
                pipeline=pipeline,
                task=task,
                problem_type=problem_type,
                name=name,
                release=release,
                output=output,
                store=store,
                set_=set_,
                offline=offline,
            )
            for target in targets.split(",")
        ]
        reports += _run_all([(make_plan(request), request) for request in requests], events)
    if as_json:
        sys.stdout.write("[" + ",\n".join(report.model_dump_json(indent=2) for report in reports) + "]\n")
    else:
        out.print(comparison_table(reports))
    _say_misses(reports)
    return first_exit_code({report.exit_code for report in reports} - {0})


@app.command()
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


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A model, an artifact's folder in the store, or a package.")],
    tokens: Annotated[int, typer.Option(help="Length of the text that multiply-adds are counted for.", min=1)] = 128,
    store: StoreOption = None,
    offline: Offline = False,
    as_json: Json = False,
) -> int:
    """Parameters and multiply-adds by layer and part, dense beside pruned."""
    from edgeprune.artifacts import Store
    from edgeprune.inspection import inspect_model
    from edgeprune.render import inspection_table

    found = inspect_model(model, tokens=tokens, store=Store(_store(store)), offline=offline)
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        out.print(inspection_table(found))
    return 0


@targets_app.command("list")
def targets_list(as_json: Json = False) -> int:
    """The shipped targets."""
    from edgeprune.profiles import load_target, shipped_names
    from edgeprune.render import table

    found = [load_target(name) for name in shipped_names("targets")]
    if as_json:
        sys.stdout.write(json.dumps([target.model_dump(mode="json") for target in found], indent=2) + "\n")
        return 0
    rows = [
        [one.name, one.device.arch, one.precision.mode, one.runner.type if one.runner else "null", one.description]
        for one in found
    ]
    out.print(table(None, ["target", "arch", "precision", "runner", "description"], rows))
    return 0


@targets_app.command("match")
def targets_match(as_json: Json = False) -> int:
    """Which targets fit this machine, and why the others don't."""
    import os

    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    from edgeprune.agent import device_info
    from edgeprune.profiles import load_target, mismatches, shipped_names
    from edgeprune.render import table

    device, providers = device_info(), onnxruntime.get_available_providers()
    found = {name: mismatches(load_target(name), device, providers) for name in shipped_names("targets")}
    if as_json:
        document = [{"target": name, "fits": not reasons, "reasons": reasons} for name, reasons in found.items()]
        sys.stdout.write(json.dumps({"device": device, "targets": document}, indent=2) + "\n")
        return 0
    out.print(f"{device['cpu'] or 'this CPU'}: {device['arch']}, {device['cores']} cores, {' '.join(device['isa'])}")
    rows = [[name, "no" if reasons else "fits", "; ".join(reasons)] for name, reasons in found.items()]
    out.print(table(None, ["target", "", "why not"], rows))
    return 0


@pipelines_app.command("list")
def pipelines_list(as_json: Json = False) -> int:
    """The shipped pipelines."""
    from edgeprune.profiles import load_pipeline, shipped_names
    from edgeprune.render import table

    found = [load_pipeline(name) for name in shipped_names("pipelines")]
    if as_json:
        sys.stdout.write(json.dumps([pipeline.model_dump(mode="json") for pipeline in found], indent=2) + "\n")
        return 0
    out.print(
        table(
            None, ["pipeline", "rounds", "description"], [[one.name, str(one.rounds), one.description] for one in found]
        )
    )
    return 0


def _definition_commands(group: typer.Typer, kind: Literal["targets", "pipelines"]) -> None:
    """show, validate and schema, alike for both kinds of definition."""

    @group.command("show")
    def show(name: Annotated[str, typer.Argument(help="A shipped name or a path.")], as_json: Json = False) -> int:
        """A definition with every default filled in."""
        import yaml

        content = _load(kind, name).model_dump(mode="json")
        sys.stdout.write(
            json.dumps(content, indent=2) + "\n" if as_json else yaml.safe_dump(content, sort_keys=False, width=110)
        )
        return 0

    @group.command("validate")
    def validate(paths: Annotated[list[str], typer.Argument(help="Shipped names or paths.")]) -> int:
        """Check definitions, naming every fault."""
        faults = []
        for name in paths:
            try:
                _load(kind, name)
                out.print(f"{name}: valid")
            except EdgepruneError as error:
                faults.append(error)
                err.print(str(error), markup=False)
        return first_exit_code({fault.exit_code for fault in faults})

    @group.command("schema")
    def schema() -> int:
        """The JSON Schema, for editors."""
        from edgeprune import profiles

        sys.stdout.write(profiles.schema(kind))
        return 0


_definition_commands(targets_app, "targets")
_definition_commands(pipelines_app, "pipelines")


@store_app.command("list")
def store_list(store: StoreOption = None, as_json: Json = False) -> int:
    """Every artifact in the store."""
    from edgeprune.artifacts import Store
    from edgeprune.render import table

    found = list(Store(_store(store)).artifacts())
    if as_json:
        sys.stdout.write(json.dumps([one.manifest.model_dump(mode="json") for one in found], indent=2) + "\n")
        return 0
    rows = [
        [
            one.manifest.stage,
            one.key[:12],
            one.manifest.started_at,
            f"{sum(record.size_bytes for record in one.manifest.files) / 1e6:.1f}",
            f"{one.manifest.duration_s:.1f}",
        ]
        for one in sorted(found, key=lambda artifact: artifact.manifest.started_at)
    ]
    out.print(table(None, ["stage", "key", "made", "MB", "seconds"], rows))
    return 0


@store_app.command("size")
def store_size(store: StoreOption = None, as_json: Json = False) -> int:
    """How much the store holds, by stage."""
    from edgeprune.artifacts import total_bytes
    from edgeprune.render import table

    root = _store(store)
    sizes = {
        folder.name: total_bytes([folder])
        for folder in sorted(root.glob("*"))
        if folder.is_dir() and folder.name != "locks"
    }
    if as_json:
        sys.stdout.write(
            json.dumps({"store": str(root), "size_bytes": sum(sizes.values()), "stages": sizes}, indent=2) + "\n"
        )
        return 0
    rows = [[name, f"{size / 1e6:.1f}"] for name, size in sizes.items()]
    out.print(table(None, [str(root), "MB"], [*rows, ["total", f"{sum(sizes.values()) / 1e6:.1f}"]]))
    return 0


@store_app.command("gc")
def store_gc(
    store: StoreOption = None,
    older_than_days: Annotated[
        float | None, typer.Option("--older-than", help="Also delete artifacts not used for so many days.", min=0)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> int:
    """Delete what killed builds left; with --older-than, also what hasn't been used for long."""
    from edgeprune.artifacts import Store, total_bytes

    opened = Store(_store(store))
    doomed = list(opened.garbage(older_than_days))
    freed = total_bytes(doomed)
    if not dry_run:
        for folder in doomed:
            opened.remove(folder)
    if as_json:
        document = {"removed": [str(path) for path in doomed], "size_bytes": freed, "dry_run": dry_run}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        out.print(
            f"{len(doomed)} folders, {freed / 1e6:.1f} MB {'would be' if dry_run else ''} deleted".replace("  ", " ")
        )
    return 0


def _store(asked: Path | None) -> Path:
    from edgeprune.api import default_store

    return asked or default_store()


def _load(kind: Literal["targets", "pipelines"], name: str) -> "Pipeline | Target":
    from edgeprune.profiles import load_pipeline, load_target

    return load_target(name) if kind == "targets" else load_pipeline(name)


def _data_spec(
    data: str,
    selection: str | None,
    test: str | None,
    text_column: str | None,
    label_column: str | None,
    max_rows: int | None,
) -> "DataSpec":
    from edgeprune.data import DataSpec

    return DataSpec(
        train=data,
        selection=selection,
        test=test,
        text_column=text_column,
        label_column=label_column,
        max_rows=max_rows,
    )


def _request(
    model: str,
    data: "DataSpec",
    target: str,
    *,
    pipeline: str,
    task: str | None,
    problem_type: str | None,
    name: str | None,
    release: str,
    output: Path,
    store: Path | None,
    set_: list[str] | None,
    offline: bool,
) -> "BuildRequest":
    from typing import get_args

    from edgeprune.api import make_request
    from edgeprune.tasks import ProblemType

    if problem_type is not None and problem_type not in get_args(ProblemType):
        raise UsageError(f"--problem-type {problem_type!r} is not one of {', '.join(get_args(ProblemType))}")
    return make_request(
        model,
        data=data,
        target=target,
        pipeline=pipeline,
        task=task,
        problem_type=problem_type,  # type: ignore[arg-type]
        name=name,
        release=release,
        output=output,
        store=store,
        set_=set_ or (),
        offline=offline,
    )


def _run_all(builds: "list[tuple[Plan, BuildRequest]]", events: Path | None) -> "list[BuildReport]":
    from edgeprune.events import EventLog
    from edgeprune.pipeline import build as run
    from edgeprune.render import EventRenderer

    reports = []
    for plan, request in builds:
        if len(builds) > 1:
            err.print(f"{request.target.name}:", style="bold")
        with EventRenderer(err, stages=len(plan.nodes)) as renderer:
            emit = EventLog(events, renderer) if events else renderer
            reports.append(run(plan, request, emit=emit))
    return reports


def _print_plan(plan: "Plan", request: "BuildRequest", *, as_json: bool) -> None:
    from edgeprune.artifacts import Store
    from edgeprune.render import table

    store = Store(request.store)
    rows = [
        {
            "stage": node.stage.name,
            "round": node.stage.round,
            "key": node.key,
            "in_store": node is not plan.benchmark and store.folder(node.stage.name, node.key).is_dir(),
        }
        for node in plan.nodes
    ]
    if as_json:
        sys.stdout.write(
            json.dumps({"schema_version": 1, "stages": rows, "not_measured": plan.unreachable}, indent=2) + "\n"
        )
        return
    shown = [
        [str(row["stage"]), str(row["round"]), str(row["key"])[:12], "in the store" if row["in_store"] else "would run"]
        for row in rows
    ]
    out.print(table(None, ["stage", "round", "key", ""], shown))
    if plan.unreachable:
        out.print(f"benchmark: not measured, {plan.unreachable}")


def _say_misses(reports: "Sequence[BuildReport]") -> None:
    from edgeprune.render import misses

    for report in reports:
        for sentence in misses(report):
            err.print(f"edgeprune: {sentence}", style="red", markup=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the right code; bad input gives a sentence, never a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="edgeprune", standalone_mode=False)
    except EdgepruneError as error:
        code = _fail(str(error), error.exit_code, given)
    except typer.TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # a command group without a command
            err.print(message, markup=False)
            code = 2
        else:
            code = _fail(f"{message.rstrip('.')}; see edgeprune --help", 2, given)
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001 (a fault of ours, shown whole)
        traceback.print_exc()
        code = _fail(f"this is a fault of edgeprune's, please report it with the traceback above: {error}", 1, given)
    if code == 130:
        _fail("interrupted; the same command goes on from here", code, given)
    sys.exit(code)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int, arguments: Sequence[str]) -> int:
    err.print(f"edgeprune: {message}", style="red", markup=False)
    if "--json" in arguments:
        document = {"schema_version": 1, "exit_code": code, "error": message}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return code
