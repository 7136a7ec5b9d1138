"""Turn matplotlib's figures into SVG that is part of a page: in the page's fonts and colours, light or dark.

A figure is drawn with the colours of `COLOURS`. They stand for variables of the page's style sheet, so one picture fits
light pages, dark ones and paper. A figure is as wide as a phone; on a wider screen it is scaled up. The same figure gives
the same bytes.
"""

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from markupsafe import Markup

from edgeprune.report.words import amount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "LONGEST_LABEL", "MARKERS", "SERIES", "as_svg", "new_figure", "styled", "use_log_axis"]

COLOURS = {
    name: f"#0{number:x}0{number:x}0{number:x}"
    for number, name in enumerate(
        ("ink", "quiet", "line", "paper", "dense", "quantized", "package", "s1", "s2", "s3", "s4", "s5", "s6"), start=1
    )
}
"""What stands in a drawing for each colour of the page's style sheet."""

SERIES = tuple(COLOURS[f"s{number}"] for number in range(1, 7))
"""Colours of things side by side, from Okabe and Ito's palette, which the colour-blind can tell apart."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""The sign of each of several things side by side, so that colour isn't all that tells them apart."""

LONGEST_LABEL = 26
"""Characters of a name beside a plot; more would leave the plot no place."""

_WIDTH = 5.0
"""Width of a figure, in inches of 72 SVG units."""
_FONT_SIZE = 9.5

_STYLE = {
    "axes.edgecolor": COLOURS["line"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": COLOURS["quiet"],
    "axes.labelsize": _FONT_SIZE,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": _FONT_SIZE,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "legend.fontsize": _FONT_SIZE,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "xtick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["quiet"],
    "ytick.color": COLOURS["line"],
    "ytick.labelcolor": COLOURS["quiet"],
}

_TAG = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
_LEFT_OUT = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", re.DOTALL)
_FAMILY = re.compile(r"'DejaVu Sans'(, [^;\"]*)?")
_GROUP = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_BETWEEN = re.compile(r">\s*\n\s*<")


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the page's style inside the block, whatever style the user has set."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # Texts aren't drawn with matplotlib's font, so signs that it lacks are no fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def new_figure(height: float) -> "tuple[Figure, Axes]":
    """Make a figure of one plot, `height` inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def as_svg(figure: "Figure", name: str, said: str) -> Markup:
    """Write a figure as an SVG element for a page.

    Args:
        figure: What was drawn inside `styled`.
        name: The figure's name in its page. Names inside the SVG are made of it, so no two figures of a page share any.
        said: What the picture shows, for those who can't see it.
    """
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = _LEFT_OUT.sub("", text.getvalue())
    opening = _TAG.search(drawn)
    assert opening is not None  # noqa: S101 (matplotlib always writes one)
    inside = drawn[opening.end() :].replace("xlink:href", "href")
    for colour, code in COLOURS.items():
        inside = inside.replace(code, f"var(--{colour})")
    inside = _GROUP.sub("", _FAMILY.sub("inherit", inside))
    inside = _BETWEEN.sub(">\n<", inside).strip()
    label = html.escape(said)
    return Markup(  # noqa: S704 (matplotlib escapes what it draws)
        f'<svg class="plot" viewBox="{opening.group(1)}" role="img" aria-label="{label}">\n{inside}'
    )


def use_log_axis(axes: "Axes") -> None:
    """Space equal ratios equally, since a ladder's rungs are ratios, and label the axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: amount(value)))
    axes.xaxis.set_minor_locator(NullLocator())
