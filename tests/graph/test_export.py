import dataclasses
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch._dynamo import config as tracing
from transformers import AutoModelForSequenceClassification

from edgeprune.base.errors import ParityError
from edgeprune.base.memory import discard_weights
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.graph.export import _traced_once, export_onnx
from edgeprune.graph.parity import require_parity
from edgeprune.graph.quantization import convert
from edgeprune.graph.references import REFERENCES, load_references, worst_agreement
from edgeprune.graph.session import onnx_session, predict_onnx
from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import load_checkpoint, save_checkpoint
from edgeprune.models.text_reader import TextReader, load_text_reader
from edgeprune.pipeline.build import build
from edgeprune.pipeline.options import BuildOptions
from edgeprune.pipeline.plan import make_plan
from edgeprune.pipeline.request import read_request
from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.export import Export
from edgeprune.profiles.pipeline import ExportConfig
from edgeprune.profiles.precision import Precision, has_int8_products, resolve_precision
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.evaluation import to_torch
from edgeprune.tasks.prepared import Prepared, open_prepared
from edgeprune.tasks.registry import COLUMNS, task_for
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.e2e import Built, call, contents, work_of
from tests.support.graphs import uneven

LONGEST = 64


def perturb(path: Path, pick: str) -> None:
    """Add a half to one weight of a graph: the first of the first tensor whose name holds `pick`."""
    model = onnx.load(path)
    chosen = next(tensor for tensor in model.graph.initializer if pick in tensor.name)
    values = numpy_helper.to_array(chosen).copy()
    values.flat[0] += 0.5
    chosen.CopyFrom(numpy_helper.from_array(values, chosen.name))
    onnx.save(model, path)


def prepared_of(built: Built) -> Prepared:
    source = DataSource(DataSpec(train=str(built.data)), columns=COLUMNS["text-classification"], offline=True)
    return open_prepared(built.artifact("prepare", 0), source)


# Parity


@pytest.mark.parametrize("pick", ["classifier.bias", "classifier.weight", "layer.1.output.LayerNorm.weight"])
def test_one_perturbed_weight_is_above_the_tolerance(built: Built, tmp_path: Path, pick: str) -> None:
    artifact = built.artifact("export", 1)
    path = tmp_path / "model.onnx"
    path.write_bytes(artifact.file("model.onnx").read_bytes())
    references = load_references(artifact.file(REFERENCES))
    whole = worst_agreement(onnx_session(path), references)
    assert whole.max_error == pytest.approx(artifact.manifest.metrics.scores["parity_max_error"], abs=2e-6)
    assert whole.max_error < 1e-5
    perturb(path, pick)
    with pytest.raises(ParityError, match=r"the graph: outputs differ by .* more than the"):
        require_parity(worst_agreement(onnx_session(path), references), 1e-4, what="the graph")
    assert ParityError.exit_code == 5


def test_pytorch_gives_its_weights_back_before_onnx_runtime_reads_them(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*arguments: Any) -> Any:
            order.append(name)
            return call(*arguments)

        return watching

    monkeypatch.setattr("edgeprune.pipeline.stages.export.discard_weights", watched("discard", discard_weights))
    monkeypatch.setattr("edgeprune.graph.session.onnx_session", watched("session", onnx_session))
    work = work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("finetune", 1))
    with quiet_libraries():
        metrics = Export(ExportConfig(), round_number=1).run(work)
    assert metrics.scores["parity_max_error"] < 1e-4
    assert order == ["discard", "session"]


class PerturbedExport(Export):
    """An exporter with a fault: one weight is not what it was."""

    version = 999

    def run(self, work: Work) -> StageMetrics:
        metrics = super().run(work)
        perturb(work.folder / "model.onnx", "classifier.bias")
        references = load_references(work.folder / REFERENCES)
        found = worst_agreement(onnx_session(work.folder / "model.onnx"), references)
        require_parity(found, self._config.tolerance, what="the ONNX graph against PyTorch")
        return metrics


def test_a_build_with_a_faulty_exporter_ends_with_exit_5_and_ships_nothing(built: Built, tmp_path: Path) -> None:
    options = BuildOptions(
        str(built.model), data=str(built.data), pipeline=str(built.pipeline), target=str(built.target),
        task="text-classification", store=built.copied_store(tmp_path), output=tmp_path / "dist",
    )  # fmt: skip
    request = read_request(options)
    plan = make_plan(request)
    stage = PerturbedExport(ExportConfig(), round_number=1)
    nodes = [dataclasses.replace(node, stage=stage) if node.id == "export-1" else node for node in plan.nodes]
    before = contents(request.store)
    with pytest.raises(ParityError) as caught:
        build(dataclasses.replace(plan, collected=dataclasses.replace(plan.collected, all=nodes)), request)
    assert caught.value.exit_code == 5
    assert contents(request.store) == before
    assert not list(request.store.glob("export/.tmp-*"))
    assert not (tmp_path / "dist").exists()


def test_a_trace_that_fails_leaves_the_collector_and_torchs_cache_as_they_were() -> None:
    inside: list[tuple[bool, bool]] = []

    @_traced_once()
    def fails() -> None:
        inside.append((gc.isenabled(), tracing.fake_tensor_cache_enabled))
        raise ZeroDivisionError

    before = (gc.isenabled(), tracing.fake_tensor_cache_enabled)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert (inside, before) == ([(False, False)], (True, True))
    assert (gc.isenabled(), tracing.fake_tensor_cache_enabled) == before


def test_a_tolerance_nothing_meets_is_exit_5(built: Built, tmp_path: Path) -> None:
    store = built.copied_store(tmp_path)
    before = contents(store)
    done = call(
        *built.arguments, "--store", store, "--output", tmp_path / "dist", "--set", "stages.export.tolerance=1e-12",
        "--json",
    )  # fmt: skip
    assert done.code == 5
    assert done.document["exit_code"] == 5
    assert "Traceback" not in done.err
    assert len(done.complaints) == 1
    assert "more than the tolerance of 1e-12" in done.complaints[0]
    assert contents(store) == before
    assert not (tmp_path / "dist").exists()


# The graph


def example(reader: TextReader) -> dict[str, torch.Tensor]:
    first: dict[str, list[int]] = {name: [1] * 9 for name in reader.inputs}
    second: dict[str, list[int]] = {name: [1] * 5 for name in reader.inputs}
    return to_torch(reader.collate([first, second]))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_uneven_widths_and_any_batch_and_length(
    tiny_model_folder: ModelFactory, tmp_path: Path, model_type: str
) -> None:
    source = tiny_model_folder(model_type)
    reader = load_text_reader(source, LONGEST)
    pad = reader.tokenizer.pad_token_id
    spec = TaskSpec(
        task="text-classification", problem_type="single_label_classification", labels=("neg", "pos"), max_length=LONGEST,
        inputs=reader.inputs,
    )  # fmt: skip
    task = task_for(spec)
    dense = AutoModelForSequenceClassification.from_pretrained(source).eval()
    record = uneven(dense)
    save_checkpoint(dense, tmp_path / "pruned", record=record, reader=reader)
    model = load_checkpoint(tmp_path / "pruned", task.auto_class, attn_implementation="eager")
    assert [parts.attention_output.linear.in_features for parts in layers_of(model)] == [8, 24][: len(record.layers)]
    path = tmp_path / "model.onnx"
    with quiet_libraries():
        export_onnx(
            task.exportable(model), example(reader), path, opset=20, longest_sequence=LONGEST,
            output_names=task.output_names,
        )  # fmt: skip
    onnx.checker.check_model(onnx.load(path), full_check=True)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_inputs()] == [
        (name, ["batch", "sequence"]) for name in spec.inputs
    ]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("logits", ["batch", 2])]

    generator = np.random.default_rng(0)
    vocabulary = model.config.vocab_size
    for batch, length in ((1, 1), (1, 2), (1, LONGEST), (3, 1), (5, 7), (2, LONGEST), (33, 3)):
        ids = generator.integers(5, vocabulary, size=(batch, length))
        mask = np.ones((batch, length), dtype=np.int64)
        for row in range(1, batch):  # every row but the first ends in padding
            end = int(generator.integers(1, length + 1))
            mask[row, end:], ids[row, end:] = 0, pad
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
        feed = {name: values[name].astype(np.int64) for name in spec.inputs}
        with torch.inference_mode():
            expected, _ = task.forward(model, to_torch(feed))
        (found,) = session.run(["logits"], feed)
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-5, err_msg=f"batch {batch}, length {length}")


@pytest.mark.parametrize(("stage", "number"), [("export", 0), ("export", 1), ("quantize", 1)])
def test_a_graph_has_no_paths_and_no_stack_traces(built: Built, stage: str, number: int) -> None:
    path = built.artifact(stage, number).file("model.onnx")
    content = path.read_bytes()
    for secret in (
        str(built.root),
        str(Path.home()),
        str(Path(torch.__file__).parent.parent),
        str(Path(__file__).parents[1]),
    ):
        assert secret.encode() not in content
    for trace in (b"site-packages", b".py", b'File "', b"stack_trace", b"Traceback", b"forward(", b"pkg.torch"):
        assert trace not in content
    model = onnx.load(path)
    assert not model.doc_string
    assert not any(node.doc_string or list(node.metadata_props) for node in model.graph.node)


def test_two_exports_in_different_folders_are_byte_identical(built: Built, tmp_path: Path) -> None:
    prepared = prepared_of(built)
    checkpoint = built.artifact("finetune").file("checkpoint")
    paths = []
    for folder in ("a", "b/with a longer name"):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "model.onnx"
        model = load_checkpoint(checkpoint, prepared.task.auto_class, attn_implementation="eager")
        selection = prepared.splits["selection"].inputs
        inputs = to_torch(prepared.reader.collate([selection[0], selection[-1]]))
        with quiet_libraries():
            export_onnx(
                prepared.task.exportable(model), inputs, path, opset=20, longest_sequence=LONGEST,
                output_names=prepared.task.output_names,
            )  # fmt: skip
        paths.append(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_texts_of_one_length_export_a_graph_for_every_length(built: Built, tmp_path: Path) -> None:
    # An exporter that sees one length only would specialise the graph for it.
    data = tmp_path / "same.jsonl"
    words = {"neg": "awful", "pos": "great"}
    rows = [json.dumps({"text": word, "label": label}) for label, word in words.items()]
    data.write_text("\n".join(rows * 40) + "\n", encoding="utf-8")
    done = call(
        "build", built.artifact("prepare", 0).file("checkpoint"), "--data", data, "--pipeline", built.pipeline,
        "--target", built.target, "--store", tmp_path / "store", "--output", tmp_path / "dist", "--json",
        "--set", "stages.prune=null", "--set", "stages.finetune=null",
    )  # fmt: skip
    assert done.code == 0, done.err
    (path,) = (tmp_path / "store").glob("export/*/model.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for length in (1, 3, 16, LONGEST):
        feed = {one.name: np.ones((2, length), dtype=np.int64) for one in session.get_inputs()}
        assert session.run(None, feed)[0].shape == (2, 2)


@pytest.mark.parametrize("mode", ["fp32", "int8-dynamic", "fp16"])
def test_a_graph_whose_weights_lie_beside_it_converts_to_the_same_bytes_of_outputs(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    prepared = prepared_of(built)
    model = load_checkpoint(
        built.artifact("finetune").file("checkpoint"), prepared.task.auto_class, attn_implementation="eager"
    )
    examples = prepared.test.examples[:4]
    found = []
    for name, limit in (("inside", 2**31), ("beside", 1000)):
        monkeypatch.setattr("edgeprune.graph.serialization._LIMIT_BYTES", limit)
        source, result = tmp_path / name / "model.onnx", tmp_path / f"{name}-{mode}" / "model.onnx"
        source.parent.mkdir()
        result.parent.mkdir()
        inputs = to_torch(prepared.reader.collate([one.inputs for one in examples[:2]], full=True))
        with quiet_libraries():
            export_onnx(model, inputs, source, opset=20, longest_sequence=64, output_names=["logits"])
        assert (source.parent / "model.onnx.data").exists() is (name == "beside")
        per_channel = False if has_int8_products(mode) else None
        convert(
            source,
            result,
            resolve_precision(Precision(mode=mode, per_channel=per_channel), arch="x86_64", isa=["avx512_vnni"]),
        )
        found.append(predict_onnx(onnx_session(result), prepared.task, examples, prepared.reader))
    np.testing.assert_array_equal(found[0], found[1])


def test_int8_weights_have_a_scale_a_channel(built: Built) -> None:
    graph = onnx.load(built.artifact("quantize", 1).file("model.onnx")).graph
    assert any("scale" in one.name and one.dims and one.dims[0] > 1 for one in graph.initializer)
