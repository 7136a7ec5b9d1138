"""List, show and check device profiles and pipelines: `edgeprune targets | pipelines`."""

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgeprune.base.errors import EdgepruneError, first_exit_code
from edgeprune.cli.budgets import limits_words
from edgeprune.cli.console import err, out, print_table, table
from edgeprune.cli.help import PanelledCommand
from edgeprune.cli.options import Json, group

if TYPE_CHECKING:
    from edgeprune.profiles.pipeline import Pipeline
    from edgeprune.profiles.target import Target

__all__ = ["pipelines_app", "targets_app"]


targets_app = group("List, show, check and make device profiles.")
pipelines_app = group("List, show and check pipelines.")


@targets_app.command("list", cls=PanelledCommand)
def targets_list(as_json: Json = False) -> int:
    """List the shipped targets."""
    from edgeprune.profiles.shipped import load_target, shipped_names

    found = [load_target(name) for name in shipped_names("targets")]
    if as_json:
        sys.stdout.write(json.dumps([target.model_dump(mode="json") for target in found], indent=2) + "\n")
        return 0
    rows = [
        [
            one.name,
            one.device.arch,
            str(one.runtime.threads),
            one.precision.mode,
            one.runner.type if one.runner else "null",
            limits_words(one.budget),
            one.description,
        ]
        for one in found
    ]
    print_table(out, None, ["target", "arch", "threads", "precision", "runner", "budgets", "description"], rows)
    return 0


@targets_app.command("match", cls=PanelledCommand)
def targets_match(as_json: Json = False) -> int:
    """Tell which targets fit this machine, and why others don't."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    from edgeprune.devices.match import this_machine
    from edgeprune.devices.runner import fitting_targets

    device = this_machine()
    found = fitting_targets(device, onnxruntime.get_available_providers())
    if as_json:
        facts = device.model_dump(exclude={"kind", "onnxruntime"})
        document = [{"target": name, "fits": not reasons, "reasons": reasons} for name, reasons in found.items()]
        sys.stdout.write(json.dumps({"device": facts, "targets": document}, indent=2) + "\n")
        return 0
    out.print(f"{device.cpu or 'this CPU'}: {device.arch}, {device.cores} cores, {' '.join(device.isa)}")
    rows = [[name, "no" if reasons else "fits", "; ".join(reasons)] for name, reasons in found.items()]
    out.print(table(None, ["target", "", "why not"], rows))
    return 0


@targets_app.command("probe", cls=PanelledCommand)
def targets_probe(
    device: Annotated[
        str | None, typer.Argument(help="The device: ssh://user@host or adb://serial.  [default: this machine]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the profile.  [default: made from the CPU's name]")] = None,
    python: Annotated[str | None, typer.Option(help="Python on the device.  [default: python3]")] = None,
    perf_test: Annotated[
        str | None, typer.Option(help="onnxruntime_perf_test on the device, for a device without a Python.")
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            help="Folder on the device in which a work folder may be made.  [default: /tmp; for adb: /data/local/tmp]"
        ),
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="For adb: the app as whose user everything runs, e.g. com.termux.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Write a profile of a device to standard output.

    The profile is made from what the device says about itself. It sets no latency budget.
    """
    from edgeprune.devices.probe import place_of, probe

    place = place_of(device, python=python, perf_test=perf_test, folder=folder, app=app)
    _write(probe(place, name), as_json=as_json)
    return 0


@pipelines_app.command("list", cls=PanelledCommand)
def pipelines_list(as_json: Json = False) -> int:
    """List the shipped pipelines."""
    from edgeprune.profiles.shipped import load_pipeline, shipped_names

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


def _write(definition: "Pipeline | Target", *, as_json: bool) -> None:
    """Write a definition to standard output, with every default filled in."""
    import yaml

    content = definition.model_dump(mode="json")
    sys.stdout.write(
        json.dumps(content, indent=2) + "\n" if as_json else yaml.safe_dump(content, sort_keys=False, width=110)
    )


def _definition_commands(group: typer.Typer, kind: Literal["targets", "pipelines"]) -> None:
    """Add the commands show, validate and schema to a group. They are alike for targets and pipelines."""

    @group.command("show", cls=PanelledCommand)
    def show(name: Annotated[str, typer.Argument(help="A shipped name or a path.")], as_json: Json = False) -> int:
        """Show a definition with every default filled in."""
        _write(_load(kind, name), as_json=as_json)
        return 0

    @group.command("validate", cls=PanelledCommand)
    def validate(paths: Annotated[list[str], typer.Argument(help="Shipped names or paths.")]) -> int:
        """Check definitions and name every fault."""
        faults = []
        for name in paths:
            try:
                _load(kind, name)
                out.print(f"{name}: valid")
            except EdgepruneError as error:
                faults.append(error)
                err.print(str(error))
        return first_exit_code({fault.exit_code for fault in faults})

    @group.command("schema", cls=PanelledCommand)
    def schema() -> int:
        """Write the JSON Schema of definitions, for editors."""
        from edgeprune.profiles.shipped import schema as schema_of

        sys.stdout.write(schema_of(kind))
        return 0


_definition_commands(targets_app, "targets")
_definition_commands(pipelines_app, "pipelines")


def _load(kind: Literal["targets", "pipelines"], name: str) -> "Pipeline | Target":
    from edgeprune.profiles.shipped import load_pipeline, load_target

    return load_target(name) if kind == "targets" else load_pipeline(name)
