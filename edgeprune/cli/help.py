"""Lay out the help of commands: options in panels, and values named by what they are, not by their types in Python.

typer prints panels only by rich, which would read the brackets in our sentences as markup. So a panel is a plain section here.
"""

from typing import Any

from typer.core import TyperCommand

from edgeprune.pipeline.options import Panel

__all__ = ["PanelledCommand"]

_NAMES = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "Path": "PATH"}
"""What the help calls a value, by its type, where the option doesn't say it better."""


class PanelledCommand(TyperCommand):
    """Be a command whose help has a section for each `rich_help_panel`. An example is its epilog."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for one in self.params:
            if one.param_type_name == "argument":
                one.metavar = one.metavar or one.name.upper() + ("..." if one.nargs != 1 else "")
            elif not getattr(one, "is_flag", False):
                one.metavar = one.metavar or _value_name(one)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel."""
        panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in ("Arguments", *Panel)}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is None:
                continue
            is_argument = one.param_type_name == "argument"
            panel = getattr(one, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
            panels.setdefault(panel, []).append((str(one.metavar), record[1]) if is_argument else record)
        for panel, records in panels.items():
            if not records:
                continue
            with formatter.section(panel):
                formatter.write_dl(records)


def _value_name(option: Any) -> str:
    kind = option.type_descriptor.annotation
    return _NAMES[getattr(kind, "__args__", (kind,))[0].__name__]
