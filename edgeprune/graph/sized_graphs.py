"""Make graphs of one model at any sizes of its layers, in the form that is shipped: rewritten, in the target's precision.

The model is exported twice, with random weights. From both exports, a form is made for every set of what layers lack
(heads, neurons, the layer itself), because rewrites see what is there. All graphs of a form are made from one template.
"""

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Self

import onnx_ir

from edgeprune.graph.layer_surgery import Left, take_out
from edgeprune.graph.quantization import Feed, convert
from edgeprune.graph.rewrites import REWRITES
from edgeprune.graph.serialization import remove_graph, write_onnx
from edgeprune.graph.size_template import Sizes, SizeTemplate
from edgeprune.models.architectures import Architecture
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import RewriteName

__all__ = ["SizedGraphs", "is_narrowed"]


class SizedGraphs:
    """Make graphs. Their files live as long as this object's context.

    Args:
        exports: The model's fp32 graphs at both sizes.
        sizes: The sizes of both, as `template_sizes` gives them.
        architecture: The model's family.
        rewrites: The rewrites of the form that is shipped. Each is applied where it finds something to change.
        settings: The precision of that form.
        calibration: Inputs of real rows, which int8-static is calibrated on.
        folder: The folder for the files, which must not exist yet.
    """

    def __init__(
        self,
        exports: tuple[Path, Path],
        sizes: tuple[Sizes, Sizes],
        architecture: Architecture,
        *,
        rewrites: Sequence[RewriteName],
        settings: PrecisionSettings,
        calibration: Sequence[Feed],
        folder: Path,
    ) -> None:
        self._exports = exports
        self._sizes = sizes
        self._architecture = architecture
        self._rewrites = rewrites
        self._settings = settings
        self._calibration = calibration
        self._folder = folder
        self._templates: dict[tuple[Left, ...], SizeTemplate] = {}
        self._numbers = count()

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def make(self, layers: Sizes) -> Path:
        """Make the graph of a model with these layers, from the bottom up, and return its file."""
        left = tuple(Left(heads=heads > 0, neurons=neurons > 0) for heads, neurons in layers)
        dropped = len(self._sizes[0]) - len(layers)
        if left not in self._templates:
            first, second = (self._form(export, left) for export in self._exports)
            has = [*[(0, 0)] * dropped, *((one.heads, one.neurons) for one in left)]
            one, other = (
                [
                    (heads * has_heads, width * has_neurons)
                    for (heads, width), (has_heads, has_neurons) in zip(sizes, has, strict=True)
                ]
                for sizes in self._sizes
            )
            self._templates[left] = SizeTemplate(first, second, (one, other))
        path = self._new()
        self._templates[left].make([*[(0, 0)] * dropped, *layers], path)
        return path

    def _form(self, export: Path, left: Sequence[Left]) -> Path:
        """Make the form that is shipped of an export without what layers lack."""
        model = onnx_ir.load(export)
        take_out(model, self._architecture, len(self._sizes[0]), left)
        for name, change in REWRITES.items():
            if name in self._rewrites:
                change(model)
        exact, path = self._new(), self._new()
        write_onnx(model, exact)
        convert(exact, path, self._settings, self._calibration)
        remove_graph(exact)
        return path

    def _new(self) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder / "model.onnx"


def is_narrowed(export: Path, rewrites: Sequence[RewriteName]) -> bool:
    """Tell whether rewrites make the topmost layers compute one token only."""
    model = onnx_ir.load(export)
    done = {name: change(model).modified for name, change in REWRITES.items() if name in rewrites}
    return bool(done.get("narrow-reads"))
