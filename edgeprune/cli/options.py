"""Define the options that commands share. The options of a build come from `BuildOptions`."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from edgeprune.base.errors import UsageError
from edgeprune.pipeline.options import OptionField, option_fields
from edgeprune.store.store import default_store

__all__ = ["Command", "Json", "group", "refuse_unread", "store_folder", "with_build_options"]

Command = Callable[..., int]


def group(help_text: str) -> typer.Typer:
    """Make a group of commands. Without a command the group shows its help."""
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def store_folder(asked: Path | None) -> Path:
    """Give the store's folder that was asked for, or the default one."""
    return asked or default_store()


def with_build_options(
    *, only: Sequence[str] | None = None, without: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """Give a command the flags of a build.

    The command gets the flags' values as its parameter `options`, a dict by field name. If the command has a parameter
    with a field's name itself, that parameter replaces the flag.

    Args:
        only: Fields for which the command gets flags; None: all fields.
        without: Fields for which the command gets no flag.
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
            return command(options=options, **given)

        parameters: list[inspect.Parameter] = []
        for name, parameter in own.items():
            ours = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            parameters += map(_parameter, taken) if name == "options" else ours
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
    typed = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in unread and str(context.get_parameter_source(parameter.name)).endswith("COMMANDLINE")
    ]
    if typed:
        raise UsageError(f"{', '.join(typed)} would not be read: {why}")


def _parameter(one: OptionField) -> inspect.Parameter:
    """Make a command's parameter, in the form that typer reads, from a field."""
    kinds = get_args(one.type) or (one.type,)
    many = one.default == ()
    kind: Any = list[str] if many else Path if Path in kinds else kinds[0]
    if one.default is None or many:
        kind |= None
    if one.name == "model":
        declared: Any = typer.Argument(help=one.help)
    else:
        flag = one.flag
        declared = typer.Option(*one.names, help=one.help, min=flag.minimum, parser=flag.parse, metavar=flag.metavar)
    default = inspect.Parameter.empty if one.default is MISSING else None if many else one.default
    return inspect.Parameter(
        one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )


Json = Annotated[bool, typer.Option("--json", help="Write one JSON document to standard output.")]
