"""Graphs for the tests of rewrites: exported ones, ones written by hand, and how they are run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch

from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.graph.export import export_onnx
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.pruning.surgery import cut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Feed = dict[str, np.ndarray]
RawExport = Callable[[str, Sequence[str]], Path]
"""Gives the graph of a family's tiny classifier with these inputs, before anything is made plain; a fixture."""

LONGEST = 64
SHAPES = ((1, 1), (1, 2), (1, 30), (3, 7), (2, LONGEST))
"""Batches and lengths; a ModernBERT layer's window is 8 tokens wide."""


def uneven(model: "PreTrainedModel") -> PruningRecord:
    """Cut a tiny model so that no two layers are alike."""
    record = PruningRecord.dense(model, "0" * 64)
    keep = (
        LayerRecord(index=0, heads=(2,), neurons=tuple(range(0, 120, 5))),
        LayerRecord(index=1, heads=(0, 1, 3), neurons=tuple(range(7, 128))),
    )
    return cut(model, record, keep[: len(record.layers)])


def randomise(model: torch.nn.Module) -> None:
    """Biases and norms as in a trained model: x + 0 and x · 1 would hide a lost or doubled one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def export_uneven(model: "PreTrainedModel", path: Path, inputs: Sequence[str]) -> None:
    randomise(model)
    uneven(model.eval())
    export(model, path, inputs, ["logits"])


def export(model: torch.nn.Module, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    for module in model.modules():
        if hasattr(module, "config") and hasattr(module, "set_attn_implementation"):
            module.set_attn_implementation("eager")
            break
    example = {name: torch.ones(2, 9, dtype=torch.int64) for name in inputs}
    with quiet_libraries():
        export_onnx(model.eval(), example, path, opset=20, longest_sequence=LONGEST, output_names=outputs)


def feed(names: Sequence[str], batch: int, length: int, *, padded: bool) -> Feed:
    """Random texts; every one but the first ends in padding, if they are padded."""
    generator = np.random.default_rng(length)
    ids = generator.integers(5, 33, size=(batch, length))
    mask = np.ones((batch, length), dtype=np.int64)
    for row in range(1, batch if padded else 0):
        mask[row, int(generator.integers(1, length)) :] = 0
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
    return {name: values[name].astype(np.int64) for name in names}


def written(text: str, **constants: np.ndarray | list[Any]) -> onnx_ir.Model:
    """A graph in ONNX's text syntax, with these initializers and inferred shapes; its nodes have no names."""
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 20, "com.microsoft": 1, "custom": 1]> g {text}'
    )
    for name, numbers in constants.items():
        array = np.asarray(numbers)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return onnx_ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def content(model: onnx_ir.Model) -> bytes:
    return onnx_ir.to_proto(model).SerializeToString(deterministic=True)


def session_of(model: onnx_ir.Model) -> onnxruntime.InferenceSession:
    """A session of a model that is well-formed and whose stated shapes are right."""
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx_ir.Model, values: Feed) -> Feed:
    """A model's outputs by name; inputs that it doesn't have are left out."""
    session = session_of(model)
    names = [one.name for one in session.get_inputs()]
    outputs = [one.name for one in session.get_outputs()]
    return dict(zip(outputs, session.run(None, {name: values[name] for name in names}), strict=True))


def assert_same(found: Feed, expected: Feed) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=5e-6, err_msg=name)
