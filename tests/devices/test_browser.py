"""edgeprune/devices/browser.py and ondevice/browser/agent.mjs, in a real Chromium."""

import re
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.base.errors import TargetError
from edgeprune.devices.browser import BrowserRunner
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.match import measured_on
from edgeprune.devices.protocol import (
    Conditions,
    DeviceFacts,
    Download,
    Loaded,
    ModelTimes,
    Outputs,
    PeakMemory,
    SessionStart,
    of_type,
)
from edgeprune.devices.runner import runner_of, why_unreachable
from edgeprune.devices.web_modules import RUNTIME, WebModules
from edgeprune.ondevice.agent import STATES_OUTPUT
from edgeprune.pipeline.find_variant import find_variant
from edgeprune.profiles.precision import tolerance_elsewhere
from edgeprune.profiles.runners import BrowserConfig
from edgeprune.profiles.shipped import load_target
from tests.support.agent_requests import asked
from tests.support.e2e import Built, target_text

pytestmark = pytest.mark.usefixtures("node_modules")


@pytest.fixture
def runner() -> BrowserRunner:
    return BrowserRunner(BrowserConfig(type="browser"))


def write_model(path: Path, *, operator: str = "MatMul", beside: bool = False, states: bool = False) -> Path:
    """Write a graph that multiplies rows of a table: from whole numbers, or from pixels. Weights may lie beside it.

    With `states`, the rows are another output, as the states of tokens are beside an embedding.
    """
    weights = np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
    rows, outputs = (STATES_OUTPUT, [STATES_OUTPUT, "logits"]) if states else ("rows", ["logits"])
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], [rows]),
        helper.make_node(operator, [rows, "weights"], ["products"]),
        helper.make_node("Add", ["products", "pixels"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
            helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 64]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "tokens", 64]) for name in outputs],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.parent.mkdir()
    onnx.save(made, path, save_as_external_data=beside, location=f"{path.name}.data", size_threshold=0)
    return path


BATCHES: Any = [{"input_ids": [[1, 2, number]], "pixels": {"seed": number, "shape": [1, 1, 64]}} for number in range(3)]


def request(mode: str = "latency", **changes: Any) -> Any:
    return asked(mode, **{"batches": dict.fromkeys(("dense", "final"), BATCHES), **changes})


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {
        "final": write_model(tmp_path / "final" / "model.onnx"),
        "dense": write_model(tmp_path / "dense" / "model.onnx", beside=True),
    }


def test_models_take_turns_in_a_page_that_says_what_it_is(runner: BrowserRunner, models: dict[str, Path]):
    answers = runner.run(request(), models)
    times = of_type(answers, ModelTimes)
    assert [one.name for one in times] == ["final", "dense"]
    assert all(len(one.ns) == 3 for one in times)
    assert [one.name for one in of_type(answers, SessionStart)] == ["final", "dense"]
    (device,) = of_type(answers, DeviceFacts)
    assert re.fullmatch(r"Chromium \d+ wasm", device.cpu or "")
    assert (device.arch, device.onnxruntime) == ("wasm32", WebModules().version(RUNTIME))
    assert {"simd128", "relaxed-simd", "threads"} == set(device.isa)
    assert device.clock_ns is not None
    assert device.clock_ns <= 10_000
    assert [one.moment for one in of_type(answers, Conditions)] == ["before", "after"]


def test_a_page_computes_what_this_machine_computes(runner: BrowserRunner, models: dict[str, Path]):
    there, here = (of_type(one.run(request("outputs"), models), Outputs) for one in (runner, LocalRunner()))
    for ours, theirs in zip(here, there, strict=True):
        assert ours.shapes == theirs.shapes == [[1, 3, 64]] * 3
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-4, atol=1e-4)


def test_states_of_tokens_beside_an_embedding_are_not_read(runner: BrowserRunner, tmp_path: Path):
    model = {"final": write_model(tmp_path / "final" / "model.onnx", states=True)}
    (ours,), (theirs,) = (of_type(one.run(request("outputs"), model), Outputs) for one in (runner, LocalRunner()))
    assert ours.shapes == theirs.shapes == [[1, 3, 64]] * 3
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-4, atol=1e-4)


def test_int8_products_are_those_of_this_machine(runner: BrowserRunner, built: Built):
    graph = built.package / "onnx/model.onnx"
    rows: Any = [
        {"input_ids": [[2, *range(5, 5 + length), 3]], "attention_mask": [[1] * (length + 2)]}
        for length in range(1, 12)
    ]
    asking = asked("outputs", batches={"final": rows})
    there, here = (
        np.array(of_type(one.run(asking, {"final": graph}), Outputs)[0].values) for one in (runner, LocalRunner())
    )
    assert here.std() > 0.01
    np.testing.assert_allclose(there, here, atol=tolerance_elsewhere("int8-dynamic") * max(1, np.abs(here).max()))
    assert np.abs(there - here).mean() < 0.01  # saturated products would be far off


def test_a_model_alone_tells_its_memory_and_what_it_fetched(runner: BrowserRunner, models: dict[str, Path]):
    answers = runner.run(request("memory"), {"dense": models["dense"]})
    (peak,) = of_type(answers, PeakMemory)
    assert peak.peak_bytes is not None
    assert 50e6 < peak.peak_bytes < 1e9
    (start,) = of_type(answers, SessionStart)
    assert start.create_ns > 10 * 10**6  # the runtime is fetched and compiled in it
    (download,) = of_type(answers, Download)
    files = {"ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "model.onnx", "model.onnx.data"}
    assert download.files.keys() == files
    assert download.files["model.onnx.data"] == models["dense"].with_name("model.onnx.data").stat().st_size
    assert 1e6 < download.gzip_bytes < sum(download.files.values())


def test_a_graph_that_the_runtime_refuses_is_named_and_the_next_is_tried(
    runner: BrowserRunner, models: dict[str, Path], tmp_path: Path
):
    models = {"broken": write_model(tmp_path / "broken" / "model.onnx", operator="Nothing"), **models}
    names = dict.fromkeys(models)
    sessions = {
        name: {"threads": 1 + number, "level": "all", "arena": True, "config": {}} for number, name in enumerate(names)
    }
    asking = request("load", batches=dict.fromkeys(names, BATCHES), sessions=sessions)
    broken, *others = of_type(runner.run(asking, models), Loaded)
    assert "Nothing" in (broken.error or "")
    assert [one.error for one in others] == [None, None]


def test_session_options_reach_the_runtime(runner: BrowserRunner, models: dict[str, Path]):
    options = {"threads": 1, "level": "extended", "arena": False, "config": {"session.load_model_format": "ORT"}}
    (loaded,) = of_type(runner.run(request("load", sessions={"final": options}), {"final": models["final"]}), Loaded)
    assert "ORT" in (loaded.error or ""), "the graph is none in ORT format"


def test_a_model_that_is_not_there_is_a_target_error(runner: BrowserRunner, tmp_path: Path):
    with pytest.raises(TargetError, match=r"the benchmark failed on Chromium .*models/0/none\.onnx: 404") as caught:
        runner.run(request(), {"final": tmp_path / "none.onnx"})
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("mode", ["answers", "throughput"])
def test_what_a_page_cannot_tell_is_refused(runner: BrowserRunner, mode: str):
    with pytest.raises(ValueError, match=f"no mode {mode}"):
        runner.run(asked(mode), {})


def test_a_browser_leaves_nothing_behind(runner: BrowserRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runner.run(asked("probe"), {})
    assert list(tmp_path.iterdir()) == []
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [one for one in commands if str(tmp_path).encode() in one]


def test_what_is_missing_is_named_with_what_to_install(tmp_path: Path):
    no_browser = BrowserRunner(BrowserConfig(type="browser", chromium="no-such-chromium"))
    assert "there is no no-such-chromium here; install Chromium" in (no_browser.lacking or "")
    no_modules = BrowserRunner(BrowserConfig(type="browser", node_modules=str(tmp_path)))
    with pytest.raises(TargetError, match=r"there is no onnxruntime-web in .*; run make browser") as caught:
        no_modules.run(asked("probe"), {})
    assert caught.value.exit_code == 6
    assert why_unreachable(load_target("web")) is None
    elsewhere = load_target("web", [f"target.runner.node_modules={tmp_path}"])
    assert why_unreachable(elsewhere) == no_modules.lacking


def test_a_measurement_holds_for_the_versions_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    web = load_target("web")
    before = measured_on(web)
    assert re.search(r"Chromium \d+", str(before))
    assert before != measured_on(load_target("web", ["target.runner.chromium=ls"]))
    package = tmp_path / RUNTIME / "package.json"
    package.parent.mkdir()
    package.write_text('{"version": "1.0.0"}', encoding="utf-8")
    monkeypatch.setenv("EDGEPRUNE_NODE_MODULES", str(tmp_path))
    assert measured_on(web) != before
    assert "1.0.0" in str(measured_on(web))


def test_a_page_is_no_other_target():
    runner = runner_of(load_target("web", ["target.device.cpu=Firefox"]))
    with pytest.raises(TargetError, match="a page in chromium is not a web: the target is a Firefox, this is Chromium"):
        runner.run(asked("probe"), {})


def test_a_program_that_is_no_browser_is_said():
    program = shutil.which("true")
    assert program is not None
    with pytest.raises(TargetError, match="ended with 0 before it answered"):
        BrowserRunner(BrowserConfig(type="browser", chromium=program)).run(asked("probe"), {})


def test_a_program_that_closes_the_pipe_and_runs_on_is_said_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edgeprune.devices.chromium._END_S", 0.2)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec 4>&-\nsleep 25\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(
        TargetError, match="program closed its pipe, though it still runs, before it answered; see that"
    ):
        BrowserRunner(BrowserConfig(type="browser", chromium=str(program))).run(asked("probe"), {})
    assert not Path("/proc", (tmp_path / "pid").read_text(encoding="utf-8").strip()).exists()


def test_a_build_is_raced_and_measured_in_a_page(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one_heat = partial(find_variant, most_heats=1)  # later heats ask nothing else of a runner
    monkeypatch.setattr("edgeprune.pipeline.find_variant.find_variant", one_heat)
    monkeypatch.setattr("edgeprune.benchmark.measure._ALONE", 1)
    target = tmp_path / "page.yaml"
    target.write_text(
        target_text(
            "page",
            device={"arch": "wasm32", "isa": ["simd128"]},
            budget={"download_mb": 1, "metric_drop": 1},
            runner={"type": "browser"},
        ),
        encoding="utf-8",
    )
    arguments = ["--set", "stages.race={processes: 1, samples: 60}", "--set", "stages.benchmark.samples=16"]
    done = built.again("--target", target, *arguments, "--json", output=tmp_path / "dist")
    assert done.code == 3, done.err
    assert "download_mb is " in done.err
    assert "but the budget of page is 1" in done.err
    report = done.document
    assert re.fullmatch(r"Chromium \d+ wasm", report["device"]["cpu"])
    assert [row for row in report["race"] if row["why"].startswith("won")]
    final = report["latency"][-1]
    assert (final["artifact"], final["samples"]) == ("final", 16)
    # The runtime, and little more of a tiny model; with its tokenizer.
    assert 14 < final["download_mb"] < 16
    assert final["download_gzip_mb"] < final["download_mb"] / 2
    assert final["cold_start_ms"] > 10
