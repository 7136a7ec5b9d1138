"""Put a tokenizer in front of a graph and the labels behind it: a text goes in, a label comes out, all in one file.

    text [1] → input_ids [1, tokens] → the graph → label [1], scores [1, labels]     one label
                                                 → labels [any], scores [1, labels]  several
                                                 → value [1]                         a regression
                                                 → the graph's own outputs           embeddings

`input_ids` is an output too, so that what the tokenizer read can be compared anywhere. A run takes one text, because dynamic
quantization chooses its scales over a whole batch: the answer never depends on another text. The operators of the tokenizer are
onnxruntime-extensions', which a session is told of (`text_session`).
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime

from edgeprune.base.errors import ModelError
from edgeprune.base.extras import from_extra
from edgeprune.graph.rewrites.pooled_only import PooledOnly
from edgeprune.graph.serialization import write_onnx
from edgeprune.graph.wordpiece_nodes import EXTENSIONS, ML, Nodes, tokens_of
from edgeprune.models.spelling import Spelling
from edgeprune.models.wordpiece import WordPiece
from edgeprune.ondevice.agent import session_options
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.store.files import graph_files, total_bytes
from edgeprune.tasks.spec import TaskSpec

__all__ = ["EXTRA", "import_extensions", "text_session", "write_text_graph"]

EXTRA = "tokenizer-graph"
_FILLS = {"attention_mask": 1, "token_type_ids": 0}
"""What one text without padding has in every place of an input. Not every graph has these inputs."""
_LARGEST_BYTES = 2_000_000_000


def import_extensions() -> Any:
    """Import onnxruntime-extensions.

    Raises:
        UsageError: It isn't installed.
    """
    return from_extra("onnxruntime_extensions", EXTRA, "stages.package.tokenizer: graph")


def text_session(path: Path, session: SessionOptions) -> onnxruntime.InferenceSession:
    """Open a graph that reads texts, on the CPU."""
    options = session_options(session.model_dump(mode="json"))
    options.register_custom_ops_library(import_extensions().get_library_path())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write_text_graph(
    source: Path,
    destination: Path,
    spec: TaskSpec,
    wordpiece: WordPiece,
    spelling: Spelling,
    *,
    max_length: int,
    from_left: bool,
) -> None:
    """Write a graph that reads a text.

    Args:
        source: The graph that reads tokens: input_ids and, if it takes them, attention_mask and token_type_ids.
        destination: The .onnx file to write.
        spec: The task, which says what the outputs mean.
        wordpiece: What the tokenizer looks words up with.
        spelling: What the tokenizer makes of each character.
        max_length: Tokens that a text is cut to.
        from_left: Whether a text loses its first tokens when it is cut, not its last ones.

    Raises:
        ModelError: The graph is too large for one file, or an added token can't be read in a graph.
    """
    if total_bytes(graph_files(source)) > _LARGEST_BYTES:
        raise ModelError("the model is above 2 GB, which one ONNX file can't hold; leave stages.package.tokenizer out")
    model = onnx_ir.load(source)
    PooledOnly()(model)
    graph = model.graph
    _make_room(graph)
    front, back = Nodes("text"), Nodes("label")
    text = onnx_ir.val("text", onnx_ir.DataType.STRING, [1])
    ids = tokens_of(front, text, wordpiece, spelling, max_length=max_length, from_left=from_left)
    shape = front.add("Shape", ids)
    first = graph[0]
    for value in list(graph.inputs):
        given = ids
        if value.name in _FILLS:
            fill = onnx_ir.tensor(np.array([_FILLS[value.name]], np.int64))
            given = front.add("ConstantOfShape", shape, value=fill)
        value.replace_all_uses_with(given)
        graph.inputs.remove(value)
    graph.inputs.append(text)
    graph.insert_before(first, front.all)
    if spec.task == "text-classification":
        (logits,) = graph.outputs
        graph.outputs.clear()
        graph.outputs.extend(_answers(back, logits, spec))
        graph.extend(back.all)
    _declare(ids, "input_ids", onnx_ir.DataType.INT64, [1, "tokens"])
    graph.outputs.append(ids)
    graph.opset_imports.update({EXTENSIONS: 1, ML: max(2, graph.opset_imports.get(ML, 0))})
    write_onnx(model, destination)


def _answers(nodes: Nodes, logits: onnx_ir.Value, spec: TaskSpec) -> list[onnx_ir.Value]:
    """Add what `postprocess_classification` does."""
    if spec.problem_type == "regression":
        value = nodes.add("Reshape", logits, nodes.numbers(1))
        return [_declare(value, "value", logits.dtype, [1])]
    names = nodes.strings(*spec.labels)
    if spec.problem_type == "multi_label_classification":
        scores = nodes.add("Sigmoid", logits)
        above = nodes.add("Greater", logits, nodes.add("Constant", value_float=0.0))  # its score is above 0.5
        chosen = nodes.add("Compress", names, nodes.add("Reshape", above, nodes.numbers(-1)))
        label = _declare(chosen, "labels", onnx_ir.DataType.STRING, ["chosen"])
    else:
        scores = nodes.add("Softmax", logits, axis=-1)
        best = nodes.add("ArgMax", logits, axis=1, keepdims=0)
        label = _declare(nodes.add("Gather", names, best), "label", onnx_ir.DataType.STRING, [1])
    return [label, _declare(scores, "scores", logits.dtype, [1, len(spec.labels)])]


def _declare(value: onnx_ir.Value, name: str, dtype: onnx_ir.DataType | None, shape: list[int | str]) -> onnx_ir.Value:
    value.name, value.dtype, value.shape = name, dtype, onnx_ir.Shape(shape)
    return value


def _make_room(graph: onnx_ir.Graph) -> None:
    """Rename what has a name that an input or output is going to have."""
    wanted = {"text", "input_ids", "label", "labels", "scores", "value"}
    inside = [
        value
        for node in onnx_ir.traversal.RecursiveGraphIterator(graph)
        for value in node.outputs
        if not value.is_graph_output()
    ]
    for value in inside:
        if value.name in wanted:
            value.name = f"inner_{value.name}"
