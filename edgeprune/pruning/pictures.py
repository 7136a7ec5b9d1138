"""Draw pictures of a model: how much its heads and neurons matter, and where its attention goes.

The pictures of attention need bertviz (extra `viz`), which no other module imports.
"""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgeprune.base.extras import from_extra
from edgeprune.models.architectures import depth_of
from edgeprune.models.record import PruningRecord
from edgeprune.models.text_reader import TextReader
from edgeprune.pruning.allocation import FloatArray
from edgeprune.pruning.importance import Scores
from edgeprune.store.files import write_text

__all__ = ["ImportanceMap", "importance_map", "write_attention", "write_importance"]

_NEURON_BINS = 96

_PAGE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>$title</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
img{max-width:100%}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left}</style>
<h1>$title</h1><p>$caption</p><img alt="$title" src="data:image/png;base64,$picture">
<table><tr><th>layer</th><th>heads kept</th><th>neurons kept</th></tr>$rows</table></html>
""")


@dataclass(frozen=True)
class ImportanceMap:
    """Hold scores in the dense model's numbering. NaN: the unit was gone before the scores were computed."""

    heads: FloatArray
    """[layers, heads]"""
    neurons: FloatArray
    """[layers, neurons]"""
    kept: PruningRecord | None
    """What pruning left; None: nothing was pruned."""


def importance_map(steps: Sequence[Scores], dense: PruningRecord, kept: PruningRecord | None) -> ImportanceMap:
    """Spread scores over the dense model's layers, heads and neurons. The last step that scored a unit counts."""
    heads = np.full((len(dense.layers), max(len(layer.heads) for layer in dense.layers)), np.nan)
    neurons = np.full((len(dense.layers), max(len(layer.neurons) for layer in dense.layers)), np.nan)
    for scores in steps:
        for position, layer in enumerate(scores.layers):
            heads[layer.index, list(layer.heads)] = scores.heads[position]
            neurons[layer.index, list(layer.neurons)] = scores.neurons[position]
    return ImportanceMap(heads, neurons, kept)


def write_importance(found: ImportanceMap, title: str, folder: Path) -> tuple[Path, Path]:
    """Write `importance.png` and `importance.html`. The page has the picture, and says what each layer kept."""
    figure = _figure(found, title)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, bbox_inches="tight")
    folder.mkdir(parents=True, exist_ok=True)
    png, page = folder / "importance.png", folder / "importance.html"
    png.write_bytes(picture.getvalue())
    rows = [
        (str(index), "all", "all") if found.kept is None else (str(index), "dropped", "")
        for index in range(len(found.heads))
    ]
    for layer in found.kept.layers if found.kept else ():
        rows[layer.index] = (str(layer.index), " ".join(map(str, layer.heads)), str(len(layer.neurons)))
    text = _PAGE.substitute(
        title=html.escape(title),
        caption=_caption(found),
        picture=base64.b64encode(picture.getvalue()).decode(),
        rows="".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows),
    )
    write_text(page, text)
    return png, page


def write_attention(
    model: PreTrainedModel,
    reader: TextReader,
    text: str,
    record: PruningRecord,
    dense: PruningRecord,
    folder: Path,
) -> Path:
    """Write `attention.html`: bertviz's interactive view of every head's attention over a text's tokens.

    Layers and heads have their numbers in the dense model. Removed layers and heads attend to nothing.

    Raises:
        UsageError: bertviz isn't installed.
    """
    bertviz = from_extra("bertviz", "viz", "this picture")
    encoded = reader.tokenizer(text, return_tensors="pt", truncation=True, max_length=reader.max_length)
    with torch.inference_mode():
        attentions = model(**{name: encoded[name] for name in reader.inputs}, output_attentions=True).attentions
    tokens = reader.tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist())
    depth = depth_of(model.config)
    spread = [
        torch.zeros(1, len(layer.heads), len(tokens), len(tokens)) for layer in dense.layers for _turn in range(depth)
    ]
    for number, attention in enumerate(attentions):
        layer = record.layers[number // depth]
        spread[layer.index * depth + number % depth][:, list(layer.heads)] = attention[:, : len(layer.heads)]
    shown = bertviz.head_view(spread, tokens, html_action="return")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "attention.html"
    title = html.escape(text)
    write_text(
        path, f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{shown.data}</html>\n'
    )
    return path


def _figure(found: ImportanceMap, title: str) -> Any:
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    layers = len(found.heads)
    figure = Figure(figsize=(11, 1.4 + 0.42 * layers), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    figure.suptitle(title, x=0.01, ha="left")
    columns = _sorted_bins(found)
    for axes, values, name in (
        (left, found.heads, "attention heads"),
        (right, columns, f"FFN neurons, {'those kept first, ' if found.kept else ''}most important first"),
    ):
        positive = values[np.isfinite(values) & (values > 0)]
        low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
        image = axes.imshow(
            np.ma.masked_invalid(np.maximum(values, low)),
            aspect="auto",
            cmap="viridis",
            norm=LogNorm(low, max(high, low * 1.01)),
        )
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_yticks(range(layers))
        axes.set_facecolor("#dddddd")
        figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    left.set_ylabel("layer")
    left.set_xticks(range(found.heads.shape[1]))
    share = found.neurons.shape[1] / columns.shape[1]
    right.set_xticks(
        np.linspace(0, columns.shape[1], 5) - 0.5,
        [f"{round(place * share)}" for place in np.linspace(0, columns.shape[1], 5)],
    )
    for layer in found.kept.layers if found.kept else ():
        for head in layer.heads:
            left.add_patch(
                Rectangle((head - 0.46, layer.index - 0.44), 0.92, 0.88, fill=False, edgecolor="white", linewidth=2)
            )
        width = len(layer.neurons) / share
        right.add_patch(Rectangle((-0.5, layer.index - 0.44), width, 0.88, fill=False, edgecolor="white", linewidth=2))
    return figure


def _sorted_bins(found: ImportanceMap) -> FloatArray:
    """Sort every layer's scores in descending order, and average them into equally many columns.

    Kept neurons come before removed neurons, and NaN comes last among each.
    """
    gone = np.zeros(found.neurons.shape, bool) if found.kept is None else np.ones(found.neurons.shape, bool)
    for layer in found.kept.layers if found.kept else ():
        gone[layer.index, list(layer.neurons)] = False
    order = np.lexsort((-found.neurons, gone), axis=1)
    ordered = np.take_along_axis(found.neurons, order, axis=1)
    edges = np.linspace(0, ordered.shape[1], min(_NEURON_BINS, ordered.shape[1]) + 1).astype(int)
    return np.stack([ordered[:, first:last].mean(1) for first, last in pairwise(edges)], 1)


def _caption(found: ImportanceMap) -> str:
    what = "Brighter matters more (logarithmic). Grey: gone before the scores were computed."
    return f"{what} White outlines: what was kept." if found.kept else what
