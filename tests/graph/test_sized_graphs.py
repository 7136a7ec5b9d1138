"""edgeprune/graph/sized_graphs.py, with size_template, layer_surgery and sized_exports: graphs of sizes that weren't exported."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from transformers import PreTrainedConfig

from edgeprune.base.errors import IntegrityError
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.graph.export import export_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.graph.size_template import Sizes, SizeTemplate, template_sizes
from edgeprune.graph.sized_exports import SizedExports, export_sizes
from edgeprune.graph.sized_graphs import SizedGraphs, is_narrowed
from edgeprune.models.architectures import architecture_of, head_dim_of, longest_text
from edgeprune.models.checkpoint import load_config
from edgeprune.models.random_weights import random_model
from edgeprune.models.reader import Reader
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.profiles.precision import Precision, PrecisionSettings, resolve_precision
from edgeprune.profiles.variant import RewriteName
from edgeprune.tasks.evaluation import to_torch
from edgeprune.tasks.registry import load_reader, task_for
from edgeprune.tasks.roles import Task
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import ModelFactory

LAYERS = 3
NARROW = {"deberta-v2": tuple(range(0, 32, 2))}
"""Families of which the hidden size was pruned too, and what is left of it."""
FACTORED = {"deberta-v2": 8}
"""Families of which the token embedding was factored too, and its rank."""
FP32 = PrecisionSettings(mode="fp32")


def settings_of(mode: Any) -> PrecisionSettings:
    return resolve_precision(Precision(mode=mode), arch="x86_64", isa=("avx512_vnni",))


@dataclass(frozen=True)
class Family:
    """A family's two exports, and what they were made with."""

    exports: SizedExports
    config: PreTrainedConfig
    task: Task
    reader: Reader
    rows: list[Any]

    def graphs(
        self, folder: Path, settings: PrecisionSettings = FP32, rewrites: tuple[RewriteName, ...] = ()
    ) -> SizedGraphs:
        calibration = [self.exports.known(self.reader.collate([row])) for row in self.rows]
        return SizedGraphs(
            self.exports.files, self.exports.sizes, architecture_of(self.config), rewrites=rewrites, settings=settings,
            calibration=calibration, folder=folder / "graphs",
        )  # fmt: skip

    def export(self, layers: Sizes, path: Path) -> None:
        """Export a model of these sizes by itself; the lowest layers are dropped."""
        record = PruningRecord(
            base_digest="",
            head_dim=head_dim_of(self.config),
            layers=tuple(
                LayerRecord(index=index, heads=tuple(range(heads)), neurons=tuple(range(neurons)))
                for index, (heads, neurons) in enumerate(layers, start=LAYERS - len(layers))
            ),
            hidden=NARROW.get(self.config.model_type),
            embedding_rank=FACTORED.get(self.config.model_type),
        )
        model = random_model(self.config, record, self.task.auto_class, attn_implementation="eager")
        with quiet_libraries():
            export_onnx(
                self.task.exportable(model),
                to_torch(self.reader.collate((self.rows * 2)[:2], full=True)),
                path,
                opset=20,
                longest_sequence=longest_text(self.config),
                output_names=self.task.output_names,
            )

    def run(self, path: Path) -> np.ndarray[Any, Any]:
        session = onnx_session(path)
        taken = {value.name for value in session.get_inputs()}
        batch = self.exports.known(self.reader.collate(self.rows[:1]))
        (found,) = session.run(None, {name: values for name, values in batch.items() if name in taken})
        return np.asarray(found)


@pytest.fixture(scope="module")
def family(tiny_model_folder: ModelFactory, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    made: dict[str, Family] = {}

    def make(model_type: str) -> Family:
        if model_type not in made:
            folder = tiny_model_folder(model_type, layers=LAYERS)
            config, reader = load_config(folder), load_reader("text-classification", folder, 16)
            reader.fit_to(config)
            spec = TaskSpec(
                task="text-classification", problem_type="single_label_classification", labels=("neg", "pos"),
                max_length=16, inputs=reader.inputs,
            )  # fmt: skip
            task = task_for(spec)
            rows = [one.inputs for one in task.encode(reader, ["a good film .", "the plot was very dull ."])]
            with quiet_libraries():
                exports = export_sizes(
                    config, range(LAYERS), task, reader, rows, tmp_path_factory.mktemp(model_type), opset=20,
                    settings=FP32, progress=lambda _done: None, hidden=NARROW.get(model_type),
                    embedding_rank=FACTORED.get(model_type),
                )  # fmt: skip
            made[model_type] = Family(exports, config, task, reader, rows)
        return made[model_type]

    return make


def facts(path: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """How often a graph has each operator, each shape of a weight, and each constant of whole numbers."""
    graph = onnx.load(path).graph
    return (
        Counter(node.op_type for node in graph.node),
        Counter(f"{tensor.data_type} {list(tensor.dims)}" for tensor in graph.initializer),
        Counter(
            str(numpy_helper.to_array(tensor).tolist())
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.INT64
        ),
    )


@pytest.mark.parametrize("model_type", ["bert", "deberta-v2"])
def test_a_graph_of_other_sizes_is_like_its_own_export(
    family: Callable[[str], Family], tmp_path: Path, model_type: str
) -> None:
    given = family(model_type)
    layers = ((2, 24), (4, 40), (3, 128)) if model_type == "deberta-v2" else ((0, 24), (3, 0))
    given.export(layers, tmp_path / "own.onnx")
    with given.graphs(tmp_path) as graphs:
        made = graphs.make(layers)
        assert np.isfinite(given.run(made)).all()
        (operators, shapes, constants), own = facts(made), facts(tmp_path / "own.onnx")
    lacking = any(0 in size for size in layers)
    assert operators - own[0] == (Counter({"Shape": 2}) if lacking else Counter()), "zeros have a shape of their own"
    assert own[0] - operators == Counter()
    # Of equal constants, an export keeps one, unless they are large.
    assert (set(shapes), set(constants)) == tuple(map(set, own[1:]))
    assert not (tmp_path / "graphs").exists()


@pytest.mark.parametrize("mode", ["int8-dynamic", "int8-static", "fp16"])
def test_graphs_are_made_in_the_form_that_is_shipped(
    family: Callable[[str], Family], tmp_path: Path, mode: str
) -> None:
    given, settings = family("bert"), settings_of(mode)
    rewrites: tuple[RewriteName, ...] = ("narrow-reads", "packed-projections", "fused-attention", "right-padding")
    with given.graphs(tmp_path, settings, rewrites) as graphs:
        for layers in (((4, 128),) * 3, ((1, 8), (4, 128), (2, 40)), ((2, 16), (0, 0)), ((3, 64),)):
            made = graphs.make(layers)
            assert np.isfinite(given.run(made)).all()
            heads = [
                onnx.helper.get_node_attr_value(node, "num_heads")
                for node in onnx.load(made).graph.node
                if node.op_type == "MultiHeadAttention"
            ]
            assert heads == [heads for heads, _ in layers if heads]


def test_projections_that_are_packed_over_layers_have_the_width_of_all_layers(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    given = family("deberta-v2")
    with given.graphs(tmp_path, rewrites=("packed-projections",)) as graphs:
        made = graphs.make(((2, 24), (4, 40), (3, 128)))
        assert np.isfinite(given.run(made)).all()


def test_the_top_is_narrow_where_one_token_is_read(family: Callable[[str], Family]) -> None:
    export = family("bert").exports.files[0]
    assert is_narrowed(export, ("narrow-reads",))
    assert not is_narrowed(export, ("packed-projections",))


@pytest.mark.parametrize(("heads_step", "width_step"), [(1, 1), (4, 128)])
def test_the_ratio_of_two_sizes_is_no_other_ones(heads_step: int, width_step: int) -> None:
    first, second = template_sizes(48, first_heads=17, heads_step=heads_step, width_step=width_step)
    ratios = [
        one / other for ones, others in zip(first, second, strict=True) for one, other in zip(ones, others, strict=True)
    ]
    assert len(set(ratios)) == 96
    for layers in (1, 3, 6, 12, 47, 48):
        one, other = template_sizes(layers, first_heads=17, heads_step=heads_step, width_step=width_step)
        of_layers = {ones[0] / others[0] for ones, others in zip(one, other, strict=True)}
        of_all = sum(heads for heads, _ in one) / sum(heads for heads, _ in other)
        assert layers == 1 or of_all not in of_layers
    assert all(heads % heads_step == 0 and width % width_step == 0 for heads, width in (*first, *second))


def graph_of(path: Path, weight: tuple[int, ...], shape: list[int], op_type: str = "Reshape") -> Path:
    """Write a graph with a weight of this shape, and a constant."""
    node = onnx.helper.make_node(op_type, ["weight", "shape"], ["out"], name="node")
    output = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)
    tensors = [
        numpy_helper.from_array(np.arange(np.prod(weight), dtype=np.float32).reshape(weight), "weight"),
        numpy_helper.from_array(np.array(shape, np.int64), "shape"),
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [], [output], tensors))
    onnx.save(model, path)
    return path


SIZES: tuple[Sizes, Sizes] = ([(3, 101)], [(4, 103)])


def test_numbers_are_multiples_of_sizes_and_blocks_are_counted_up(tmp_path: Path) -> None:
    first = graph_of(tmp_path / "first.onnx", (24, 101), [1, 24, -1])
    second = graph_of(tmp_path / "second.onnx", (32, 103), [1, 32, -1])
    template = SizeTemplate(first, second, SIZES)
    template.make([(5, 2)], tmp_path / "made.onnx")
    weight, shape = (numpy_helper.to_array(one) for one in onnx.load(tmp_path / "made.onnx").graph.initializer)
    assert weight.shape == (40, 2)
    assert weight.ravel().tolist() == list(range(80))
    assert shape.tolist() == [1, 40, -1]
    template.make([(1, 3)], tmp_path / "made.onnx")
    assert onnx.load(tmp_path / "made.onnx").graph.initializer[0].dims == [8, 3]


@pytest.mark.parametrize(
    ("weight", "shape", "op_type", "complaint"),
    [
        ((25, 101), [1], "Reshape", "the initializer weight is 24 in one graph and 25 in the other"),
        ((24, 101, 1), [1], "Reshape", "the initializer weight differs"),
        ((24, 101), [2], "Reshape", "the initializer shape is 1 in one graph and 2 in the other"),
        ((24, 101), [1], "Expand", "the node node differs"),
    ],
)
def test_graphs_that_differ_in_more_than_sizes_are_refused(
    tmp_path: Path, weight: tuple[int, ...], shape: list[int], op_type: str, complaint: str
) -> None:
    first = graph_of(tmp_path / "first.onnx", (24, 101), [1])
    second = graph_of(tmp_path / "second.onnx", weight, shape, op_type)
    with pytest.raises(IntegrityError, match=f"{complaint}.*, so that graphs of other sizes can't be made"):
        SizeTemplate(first, second, SIZES)
