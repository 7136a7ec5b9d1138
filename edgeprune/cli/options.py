"""Define the options that commands share. The options of a build come from `BuildOptions`."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from edgeprune.base.errors import UsageError
from edgeprune.cli.help import PanelledCommand
from edgeprune.pipeline.options import OptionField, Panel, option_fields
from edgeprune.store.store import default_store

__all__ = ["Command", "Json", "add", "group", "refuse_unread", "store_folder", "typed_names", "with_build_options"]

Command = Callable[..., int]


def group(help_text: str, *, completion: bool = False) -> typer.Typer:
    """Make a group of commands. Without a command the group shows its help.

    Args:
        help_text: What the commands are for.
        completion: Whether the group has options that complete commands in a shell.
    """
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, add_completion=completion)


def add(to: typer.Typer, command: Command, *, example: str) -> None:
    """Add a command to a group.

    Args:
        to: The group.
        command: The command's function.
        example: A command line that works, which the help and the complaint about a missing argument show.
    """
    to.command(cls=PanelledCommand, epilog=f"Example: {example}")(command)


def store_folder(asked: Path | None) -> Path:
    """Give the store's folder that was asked for, or the default one."""
    return asked or default_store()


def with_build_options(
    *, only: Sequence[str] | None = None, without: Sequence[str] = (), may_lack: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the flags of a build.

    The command gets the flags' values as its parameter `options`, a dict by field name. If the command has a parameter
    with a field's name itself, that parameter replaces the flag.

    Args:
        only: Fields for which the command gets flags; None: all fields.
        without: Fields for which the command gets no flag.
        may_lack: Fields without a default that may be left out. `options` has them only if they were typed.
    """

    def decorated(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        taken = [
            one
            for one in option_fields()
            if (only is None or one.name in only) and one.name not in without and one.name not in own
        ]

        @functools.wraps(command)
        def call(**given: Any) -> int:
            options = {one.name: given.pop(one.name) for one in taken}
            options |= {one.name: one.default for one in taken if options[one.name] is None}
            options = {name: value for name, value in options.items() if value is not MISSING}
            return command(options=options, **given)

        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            ours = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            options = [_parameter(one, may_lack=one.name in may_lack) for one in taken]
            parameters += options if name == "options" else ours
        call.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined] # typer reads it
        call.__annotations__ = {}
        return call

    return decorated


def refuse_unread(context: typer.Context, unread: Sequence[str], why: str) -> None:
    """Refuse flags that were typed and would not be read.

    Args:
        context: The context of the command that runs.
        unread: Names of the command's parameters that would not be read.
        why: The end of the message: why the flags would not be read, and what to do.

    Raises:
        UsageError: At least one of the flags was typed.
    """
    typed = [flag for name, flag in typed_names(context).items() if name in unread]
    if typed:
        raise UsageError(f"{', '.join(typed)} would not be read: {why}")


def typed_names(context: typer.Context) -> dict[str, str]:
    """Give the names of the parameters that were typed, each with its flag."""
    return {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if str(context.get_parameter_source(parameter.name)).endswith("COMMANDLINE")
    }


def _parameter(one: OptionField, *, may_lack: bool) -> inspect.Parameter:
    """Make a command's parameter, in the form that typer reads, from a field."""
    kinds = get_args(one.type) or (one.type,)
    many = one.default == ()
    kind: Any = list[str] if many else Path if Path in kinds else kinds[0]
    if one.default is None or many or may_lack:
        kind |= None
    flag = one.flag
    if one.name == "model":
        declared: Any = typer.Argument(help=one.help, rich_help_panel=one.panel)
    else:
        declared = typer.Option(
            *one.names,
            help=one.help,
            min=flag.minimum,
            parser=flag.parse,
            metavar=flag.metavar,
            rich_help_panel=one.panel,
        )
    default = None if many or may_lack else inspect.Parameter.empty if one.default is MISSING else one.default
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )


Json = Annotated[
    bool,
    typer.Option("--json", help="Write one JSON document to standard output.", rich_help_panel=Panel.OUTPUT),
]
