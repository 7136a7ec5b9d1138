"""edgeprune/graph/quantization.py: every precision of one export."""

import gc
import logging
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import onnx
import onnx_ir
import pytest
from onnxruntime.quantization import quantize_dynamic
from transformers import BertConfig, BertForMaskedLM

from edgeprune.base.memory import peak_memory_mb, release_memory, reset_peak
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.graph.calibration_rows import feeds_of, mean_distance, outputs_of
from edgeprune.graph.quantization import _WEIGHT_TYPES, convert, quantized_products
from edgeprune.graph.serialization import write_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.models.reader import Array
from edgeprune.profiles.precision import (
    EmbeddingsType,
    Mode,
    Precision,
    PrecisionSettings,
    is_quantized,
    resolve_precision,
)
from edgeprune.tasks.prepared import open_prepared
from edgeprune.tasks.registry import COLUMNS
from tests.support.e2e import Built
from tests.support.graphs import export

Feed = dict[str, Array]


class Source(NamedTuple):
    """The pruned export of the shared build, and rows of its data."""

    path: Path
    calibration: list[Feed]
    judged: list[Feed]

    def outputs(self, path: Path) -> list[Array]:
        return outputs_of(onnx_session(path), self.judged)


@pytest.fixture(scope="module")
def source(built: Built) -> Source:
    data = DataSource(DataSpec(train=str(built.data)), columns=COLUMNS["text-classification"], offline=True)
    export = built.artifact("export", 1)
    prepared = open_prepared(built.artifact("prepare", 0), data, splits=("selection",), reader=export.file("reader"))
    return Source(export.file("model.onnx"), *feeds_of(prepared.splits["selection"], prepared.reader))


def settings_of(mode: Mode, embeddings: EmbeddingsType | None = None) -> PrecisionSettings:
    return resolve_precision(Precision(mode=mode, embeddings=embeddings), arch="aarch64", isa=["asimd"])


def converted(source: Source, folder: Path, settings: PrecisionSettings) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    convert(source.path, path, settings, source.calibration)
    return path


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("embeddings", ["int8", "int2"])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_weights_may_lie_beside_the_graph_in_every_mode(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, embeddings: EmbeddingsType
) -> None:
    """As they do above 2 GB."""
    settings = settings_of(mode, embeddings if is_quantized(mode) else None)
    for name in ("inside", "outside", "source"):
        (tmp_path / name).mkdir()
    convert(source.path, tmp_path / "inside" / "model.onnx", settings, source.calibration)
    monkeypatch.setattr("edgeprune.graph.serialization._LIMIT_BYTES", 1000)
    beside = tmp_path / "source" / "model.onnx"
    write_onnx(onnx_ir.load(source.path), beside)
    assert beside.with_name("model.onnx.data").is_file()
    convert(beside, tmp_path / "outside" / "model.onnx", settings, source.calibration)
    beside.with_name("model.onnx.data").unlink()
    made = onnx.load(tmp_path / "outside" / "model.onnx", load_external_data=False)
    outside_it = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in made.graph.initializer)
    assert (tmp_path / "outside" / "model.onnx.data").is_file() == outside_it, "nothing is shipped that nothing reads"
    inside, outside = (source.outputs(tmp_path / name / "model.onnx") for name in ("inside", "outside"))
    for one, other in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("mode", "operator"),
    [
        ("int8-dynamic", "MatMulInteger"),
        ("int8-static", "QuantizeLinear"),
        ("int8-weights", "MatMulNBits"),
        ("int4-weights", "MatMulNBits"),
    ],
)
def test_every_mode_computes_nearly_what_fp32_does(source: Source, tmp_path: Path, mode: Mode, operator: str) -> None:
    path = converted(source, tmp_path, settings_of(mode))
    assert operators(path)[operator] > 0
    exact, found = source.outputs(source.path), source.outputs(path)
    spread = float(np.std(np.concatenate(exact)))
    assert 0 < mean_distance(found, exact) < 0.25 * spread
    assert path.read_bytes() == converted(source, tmp_path / "again", settings_of(mode)).read_bytes()


def test_eight_bits_of_weights_are_nearer_than_four(source: Source, tmp_path: Path) -> None:
    exact = source.outputs(source.path)
    by_mode = {
        mode: mean_distance(source.outputs(converted(source, tmp_path / mode, settings_of(mode, "fp32"))), exact)
        for mode in ("int8-weights", "int4-weights")
    }
    assert by_mode["int8-weights"] < by_mode["int4-weights"] / 4


@pytest.mark.parametrize("mode", ["int8-dynamic", "int8-static", "int8-weights"])
def test_embeddings_get_the_type_that_is_asked_for(source: Source, tmp_path: Path, mode: Mode) -> None:
    sizes, exact = {}, source.outputs(source.path)
    for embeddings in get_args(EmbeddingsType):
        path = converted(source, tmp_path / embeddings, settings_of(mode, embeddings))
        types = {tensor.data_type for tensor in onnx.load(path).graph.initializer if "word_embeddings" in tensor.name}
        sizes[embeddings] = path.stat().st_size
        assert (operators(path)["GatherBlockQuantized"] > 0) is (embeddings in ("int4", "int2"))
        assert (onnx.TensorProto.UINT8 in types) is (embeddings != "fp32")
        assert not {onnx.TensorProto.UINT4, onnx.TensorProto.INT4} & types, "ORT format has none"
        spread = float(np.std(np.concatenate(exact)))
        assert mean_distance(source.outputs(path), exact) < (1 if embeddings == "int2" else 0.25) * spread
    assert sizes["fp32"] > sizes["int8"]


def masked_lm(folder: Path, *, tied: bool = True, vocabulary: int = 512) -> Path:
    """The graph of a tiny model whose decoder reads the table of its tokens, or has one of its own."""
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        tie_word_embeddings=tied,
    )  # fmt: skip
    folder.mkdir()
    export(BertForMaskedLM(config).eval(), folder / "model.onnx", ["input_ids", "attention_mask"], ["logits"])
    return folder / "model.onnx"


def require_what_the_library_makes(exact: Path, folder: Path, settings: PrecisionSettings) -> set[str]:
    """Convert, compare with the bare call, and see that nothing else is left; the names of the graph's constants."""
    folder.mkdir()
    ours, theirs = folder / "model.onnx", exact.with_name("theirs.onnx")
    convert(exact, ours, settings)
    assert list(folder.iterdir()) == [ours]
    quantize_dynamic(
        exact, theirs, op_types_to_quantize=["MatMul", "Gather"], weight_type=_WEIGHT_TYPES[settings.weight_type or ""],
        per_channel=bool(settings.per_channel), reduce_range=bool(settings.reduce_range), nodes_to_exclude=list(settings.keep_fp32),
    )  # fmt: skip
    found, expected = (onnx.load(path).graph for path in (ours, theirs))
    assert list(found.node) == list(expected.node)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in expected.initializer}
    assert {tensor.name for tensor in found.initializer} == values.keys()
    for tensor in found.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), values[tensor.name], strict=True)
    return set(values)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("weight_type", ["int8", "uint8"])
def test_tables_get_the_values_that_the_library_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool, kept: bool, weight_type: str
) -> None:
    monkeypatch.setattr("edgeprune.graph.quantization._ROWS_AT_ONCE", 100)
    exact = masked_lm(tmp_path / "exact", tied=tied)
    tables = [node for node in onnx.load(exact).graph.node if node.op_type == "Gather"]
    words = next(node.name for node in tables if node.input[1] == "input_ids")
    settings = settings_of("int8-dynamic").model_copy(
        update={"weight_type": weight_type, "keep_fp32": (words,) if kept else ()}
    )
    expected = require_what_the_library_makes(exact, tmp_path / "made", settings)
    assert (next(node.input[0] for node in tables if node.name == words) in expected) is kept


@pytest.mark.parametrize(
    "nodes",
    [
        "rows = Gather(table, ids) found = MatMul(states, table)",
        "found = MatMul(states, table) rows = Gather(table, ids)",
        "found = Gather <axis = 1> (table, ids)",
    ],
)
def test_a_matrix_that_is_no_table_alone_gets_the_values_that_the_library_gives_it(tmp_path: Path, nodes: str) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]>'
        f"one (int64[1] ids, float[1, 6] states) => (float[n, m] found) {{ {nodes} }}"
    )
    values = np.random.default_rng(0).standard_normal((6, 4), dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "table"))
    write_onnx(onnx_ir.from_proto(model), tmp_path / "exact.onnx")
    require_what_the_library_makes(tmp_path / "exact.onnx", tmp_path / "made", settings_of("int8-dynamic"))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
@pytest.mark.parametrize("weight_type", ["int8", "uint8"])
def test_products_get_the_values_that_the_library_gives_them(
    tmp_path: Path, weight_type: str, reduce_range: bool, per_channel: bool
) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]>'
        "one (float[n, 6] states) => (float[n, 4] found) { hidden = MatMul(states, first) found = MatMul(hidden, second) }"
    )
    generator = np.random.default_rng(0)
    first, second = (generator.standard_normal(shape, dtype=np.float32) for shape in ((6, 8), (8, 4)))
    first[:, 0] = 0  # as pruning leaves a neuron
    first[:, 1] = 1e-40
    first[:, 2] = abs(first[:, 2])
    second[:] = -abs(second)
    for name, values in (("first", first), ("second", second)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    write_onnx(onnx_ir.from_proto(model), tmp_path / "exact.onnx")
    changes = {"weight_type": weight_type, "reduce_range": reduce_range, "per_channel": per_channel}
    settings = settings_of("int8-dynamic").model_copy(update=changes)
    made = require_what_the_library_makes(tmp_path / "exact.onnx", tmp_path / "made", settings)
    assert {"first_quantized", "second_quantized"} <= made


def test_a_table_is_not_held_several_times_over(tmp_path: Path) -> None:
    exact = masked_lm(tmp_path / "exact", vocabulary=1_500_000)
    convert(masked_lm(tmp_path / "small"), tmp_path / "small.onnx", settings_of("int8-dynamic"))  # imports and pools
    release_memory()
    reset_peak()
    before = peak_memory_mb()
    convert(exact, tmp_path / "model.onnx", settings_of("int8-dynamic"))
    assert peak_memory_mb() - before < 2.5 * exact.stat().st_size / 1e6


def test_written_weights_are_let_go_of_at_once(tmp_path: Path) -> None:
    model = onnx_ir.load(masked_lm(tmp_path / "exact"))
    weights = [weakref.ref(value.const_value) for value in model.graph.initializers.values()]
    gc.disable()
    try:
        write_onnx(model, tmp_path / "model.onnx")
        assert not [one for one in weights if one() is not None]
    finally:
        gc.enable()


def test_a_table_that_a_decoder_reads_too_gets_no_copy(tmp_path: Path) -> None:
    exact = masked_lm(tmp_path / "exact")
    sizes = {}
    for embeddings in ("int8", "int4"):
        path = tmp_path / embeddings / "model.onnx"
        path.parent.mkdir()
        convert(exact, path, settings_of("int8-dynamic", embeddings))
        onnx_session(path)
        sizes[embeddings] = path.stat().st_size
    assert sizes["int4"] <= sizes["int8"]


@pytest.mark.parametrize("mode", ["int8-dynamic", "int8-static", "int8-weights", "int4-weights"])
def test_each_product_can_be_kept(source: Source, tmp_path: Path, mode: Mode) -> None:
    """The weight of one that is kept is in the file as it was; those of the others aren't."""
    plain = settings_of(mode)
    weights = {node.name: node.input[1] for node in onnx.load(source.path).graph.node if len(node.input) > 1}
    products = quantized_products(source.path, plain)
    assert ("classifier" in products) is (mode == "int8-dynamic")
    for kept in [(), *((name,) for name in products)]:
        settings = plain.model_copy(update={"keep_fp32": kept})
        graph = onnx.load(converted(source, tmp_path / "-".join(["kept", *kept]), settings)).graph
        in_fp32 = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
        # A Gemm's weight is transposed on the way, and gets a name of its own.
        left = [name for name in products if {weights[name], f"{weights[name]}_Transposed"} & in_fp32]
        assert left == list(kept), kept


def test_products_are_called_by_their_modules(source: Source) -> None:
    products = quantized_products(source.path, settings_of("int8-dynamic"))
    assert "bert.encoder.layer.0.attention.self.query" in products
    assert len(products) == len(set(products))


def test_the_importing_programs_logging_is_left_alone() -> None:
    """onnxruntime's module calls logging.basicConfig when it is imported."""
    program = """
import logging, sys
from pathlib import Path
import onnx
from edgeprune.graph.quantization import convert
from edgeprune.profiles.precision import PrecisionSettings
try:
    convert(Path("nothing.onnx"), Path("x.onnx"), PrecisionSettings(mode="int4-weights", embeddings="fp32"))
except FileNotFoundError:
    pass
from edgeprune.graph import quantization
try:
    quantization._in_blocks(Path("nothing.onnx"), Path("x.onnx"), [], bits=4)
except FileNotFoundError:
    pass
assert "onnxruntime.quantization.matmul_nbits_quantizer" in sys.modules
assert not logging.getLogger().handlers, logging.getLogger().handlers
assert logging.getLogger().level == logging.WARNING
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert logging.getLogger().level == logging.WARNING
