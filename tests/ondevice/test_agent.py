import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.ondevice import agent
from edgeprune.ondevice.agent import ISA_FLAGS, device_info, peak_memory_bytes, read_cpuinfo

REQUEST: dict[str, Any] = {
    "mode": "latency",
    "provider": "CPUExecutionProvider",
    "sessions": {name: {"threads": 1, "level": "all", "arena": True, "config": {}} for name in ("a", "dense", "final")},
    "warmup": 3,
    "block": 4,
    "batches": dict.fromkeys(
        ("a", "dense", "final"), [{"input_ids": [[1, 2, 3], [4, 5, 6]]}, {"input_ids": [[7]]}] * 5
    ),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model with a weight of 4 MB: every id times a row."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1_000_000], b"\x00" * 4_000_000, raw=True)
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "w"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [weight],
    )
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def ask(folder: Path, text: str) -> tuple[int, list[dict[str, Any]]]:
    """Runs a copy of the agent alone in a folder, as on a device; -I keeps everything of ours out of its path."""
    (folder / "agent.py").write_bytes(Path(agent.__file__).read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "agent.py"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=60,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    moments = [line["moment"] for line in lines if line["kind"] == "conditions"]
    assert moments == (["before", "after"] if done.returncode == 0 else moments[:1])
    return done.returncode, [line for line in lines if line["kind"] != "conditions"]


def test_this_machine_is_described():
    found = device_info()
    assert set(found) == {"arch", "isa", "cpu", "cores", "system", "python"}
    assert found["arch"] in ("x86_64", "aarch64")
    assert set(found["isa"]) <= set(ISA_FLAGS)
    assert found["cores"] >= 1
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    flags = Path("/proc/cpuinfo").read_text().split()
    assert found["isa"] == [flag for flag in ISA_FLAGS if flag in flags]


def test_models_take_turns_and_every_batch_is_timed(tmp_path: Path, graph: Path):
    models = [{"name": name, "path": str(graph)} for name in ("dense", "final")]
    code, lines = ask(tmp_path, json.dumps(REQUEST | {"models": models}))
    assert code == 0
    assert [(line["kind"], line.get("name")) for line in lines] == [
        ("device", None),
        ("session", "dense"),
        ("session", "final"),
        ("samples", "dense"),
        ("samples", "final"),
    ]
    assert lines[0]["arch"] == device_info()["arch"]
    assert lines[0]["onnxruntime"]
    for line in lines[1:3]:
        assert line["create_ns"] > 0
        assert line["first_run_ns"] > 0
    for line in lines[3:]:
        assert len(line["ns"]) == len(REQUEST["batches"]["dense"])
        assert all(isinstance(value, int) and value > 0 for value in line["ns"])


def test_each_model_has_its_own_session_options(tmp_path: Path, graph: Path):
    wanted = {"threads": 1, "level": "basic", "arena": False, "config": {"session.intra_op.allow_spinning": "0"}}
    options = agent.session_options(wanted)
    assert (options.intra_op_num_threads, options.enable_cpu_mem_arena) == (1, False)
    assert options.graph_optimization_level.name == "ORT_ENABLE_BASIC"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    refused = {**wanted, "level": "most"}
    sessions = {"sessions": {"dense": wanted, "final": refused}}
    models = [{"name": name, "path": str(graph)} for name in ("dense", "final")]
    code, lines = ask(tmp_path, json.dumps(REQUEST | sessions | {"models": models}))
    assert code == 1
    assert [line["kind"] for line in lines] == ["device", "session", "error"]
    assert "ORT_ENABLE_MOST" in lines[-1]["message"]


def test_a_model_is_given_the_inputs_that_it_takes(tmp_path: Path, graph: Path):
    batches = {"a": [{"input_ids": [[1, 2]], "attention_mask": [[1, 1]]}] * 4}
    request = REQUEST | {"models": [{"name": "a", "path": str(graph)}], "batches": batches}
    code, lines = ask(tmp_path, json.dumps(request))
    assert code == 0
    assert len(lines[-1]["ns"]) == 4


def test_an_input_may_be_a_shape_and_a_seed(tmp_path: Path) -> None:
    made = helper.make_graph(
        [helper.make_node("ReduceMean", ["pixel_values"], ["logits"], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 4, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
    )
    path = tmp_path / "float.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    batches = [{"pixel_values": {"seed": number % 2, "shape": [2, 3, 4, 5]}} for number in range(6)]
    request = REQUEST | {"models": [{"name": "a", "path": str(path)}], "batches": {"a": batches}}
    code, lines = ask(tmp_path, json.dumps(request))
    assert code == 0, lines
    assert len(lines[-1]["ns"]) == 6
    model = {"name": "a", "path": str(path)}
    feeds = agent._feeds(request, model, agent._session(request, model))
    (first, second, third) = (feed["pixel_values"] for feed in feeds[:3])
    assert (first.shape, first.dtype) == ((2, 3, 4, 5), np.float32)
    assert third is first
    assert not np.array_equal(first, second)


def test_memory_is_that_of_one_model_in_its_process(tmp_path: Path, graph: Path):
    request = REQUEST | {"mode": "memory", "models": [{"name": "final", "path": str(graph)}]}
    code, lines = ask(tmp_path, json.dumps(request))
    assert code == 0
    assert [line["kind"] for line in lines] == ["device", "session", "memory", "placement"]
    assert lines[3]["nodes"] == {"CPUExecutionProvider": 3}
    assert lines[1]["create_ns"] > 0 < lines[1]["first_run_ns"]
    assert lines[2]["name"] == "final"
    assert 10e6 < lines[2]["peak_bytes"] < 1e9


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"provider": "NoSuchExecutionProvider"}, "LookupError", "not NoSuchExecutionProvider"),
        ({"models": [{"name": "a", "path": "nowhere.onnx"}]}, "NoSuchFile", "nowhere.onnx"),
        ({"batches": {"a": [{"other": [[1]]}]}}, "ValueError", "input_ids"),
        ({"mode": "magic"}, "KeyError", "magic"),
    ],
)
def test_a_failure_is_a_line_and_an_exit_code(
    tmp_path: Path, graph: Path, changes: dict[str, Any], kind: str, message: str
):
    code, lines = ask(tmp_path, json.dumps(REQUEST | {"models": [{"name": "a", "path": str(graph)}]} | changes))
    assert code == 1
    assert lines[-1]["kind"] == "error"
    assert lines[-1]["type"] == kind
    assert message in lines[-1]["message"]


def test_outputs_are_told_with_their_shapes_and_several_are_stacked(tmp_path: Path):
    nodes = [helper.make_node("Identity", ["input_ids"], ["start"]), helper.make_node("Neg", ["input_ids"], ["end"])]
    named = {
        name: helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "start", "end")
    }
    made = helper.make_graph(nodes, "g", [named["input_ids"]], [named["start"], named["end"]])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    request = {"mode": "outputs", "models": [{"name": "a", "path": str(path)}]}
    code, (_, line) = ask(tmp_path, json.dumps(REQUEST | request))
    assert code == 0
    assert line["shapes"][:2] == [[2, 3, 2], [1, 1, 2]]
    assert line["values"][:2] == [[1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6], [7, -7]]


def test_the_peak_is_no_less_than_what_is_used_now():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    peak = peak_memory_bytes()
    assert peak >= pages * os.sysconf("SC_PAGESIZE")
    assert peak < 16e9


ARM_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm {features} cpuid
CPU implementer\t: {implementer}
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 3

"""


def test_a_64_bit_arm_kernel_names_no_model_so_the_core_is_told_by_its_part() -> None:
    four = ARM_CPUINFO.format(features="crc32", implementer="0x41", part="0xd08") * 4
    assert read_cpuinfo(four + "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n") == (
        {"fp", "asimd", "evtstrm", "crc32", "cpuid"},
        "cortex-a72",
    )
    phone = ARM_CPUINFO.format(features="asimddp", implementer="0x41", part="0xd05") * 2
    phone += ARM_CPUINFO.format(features="asimddp", implementer="0x41", part="0xd0b")
    assert read_cpuinfo(phone)[1] == "cortex-a55 + cortex-a76"


@pytest.mark.parametrize(("implementer", "part"), [("0x51", "0xd08"), ("0x41", "0xfff")])
def test_a_core_that_is_not_in_the_table_has_no_name(implementer: str, part: str) -> None:
    assert read_cpuinfo(ARM_CPUINFO.format(features="", implementer=implementer, part=part))[1] is None


def test_conditions_are_facts_or_none_with_a_reason(monkeypatch: pytest.MonkeyPatch):
    files = {
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance",
        "/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2400000",
        "/sys/fs/cgroup/cpu.max": "150000 100000",
        "/sys/class/thermal/thermal_zone0/temp": "61500",
        "/sys/class/thermal/thermal_zone1/temp": "42000",
    }

    def text(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path]

    monkeypatch.setattr(agent, "_text", text)
    monkeypatch.setattr(agent.glob, "glob", lambda _pattern: [path for path in files if "thermal_zone" in path])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 0})
    monkeypatch.setattr(os, "getloadavg", lambda: (0.512, 0, 0))
    found = agent.conditions()
    assert set(found["reasons"]) == {"throttle_events"}
    reason = found.pop("reasons")["throttle_events"]
    assert reason == "no /sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    assert found == {
        "governor": "performance powersave", "frequency_mhz": 2400.0, "temperature_c": 61.5, "throttle_events": None,
        "load_1min": 0.51, "quota_cores": 1.5, "affinity": [0, 1],
    }  # fmt: skip
    files["/sys/fs/cgroup/cpu.max"] = "max 100000"
    assert agent.conditions()["quota_cores"] is None
    assert "quota_cores" not in agent.conditions()["reasons"]
    monkeypatch.setattr(agent.glob, "glob", lambda _pattern: [])
    assert agent.conditions()["reasons"]["temperature_c"] == "no /sys/class/thermal/thermal_zone*"


def test_nodes_that_ran_elsewhere_are_listed_and_nothing_is_timed(tmp_path: Path, graph: Path) -> None:
    """The Azure provider of every onnxruntime for CPUs takes no node of an ordinary graph, as a GPU's may leave some."""
    request = REQUEST | {"provider": "AzureExecutionProvider", "models": [{"name": "a", "path": str(graph)}]}
    for mode in ("latency", "throughput"):
        code, lines = ask(tmp_path, json.dumps(request | {"mode": mode, "parallel": 2, "seconds": 0.01}))
        assert code == 1
        assert not {"samples", "throughput"} & {line["kind"] for line in lines}
        message = lines[-1]["message"]
        assert message.startswith("3 nodes did not run on AzureExecutionProvider")
        assert "(Cast)" in message
        assert "(Mul)" in message


def test_shapes_may_be_worked_out_on_the_cpu(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Neg", ["input_ids"], ["negative"]),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    made = helper.make_graph(
        nodes,
        "g",
        [ids],
        [
            helper.make_tensor_value_info("zeros", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("negative", TensorProto.INT64, None),
        ],
    )
    path = tmp_path / "shape.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    request = REQUEST | {"provider": "AzureExecutionProvider"}
    model = {"name": "a", "path": str(path)}
    counts, elsewhere = agent.placement(request, model, {"input_ids": np.ones((1, 3), np.int64)})
    assert counts == {"CPUExecutionProvider": 3}
    assert sorted(name.rpartition(" ")[2] for name in elsewhere) == ["(ConstantOfShape)", "(Neg)"]


def test_sessions_in_parallel_say_how_often_each_ran(tmp_path: Path, graph: Path) -> None:
    asked = {"mode": "throughput", "parallel": 3, "seconds": 0.05, "models": [{"name": "a", "path": str(graph)}]}
    code, lines = ask(tmp_path, json.dumps(REQUEST | asked))
    assert code == 0
    (line,) = (line for line in lines if line["kind"] == "throughput")
    assert len(line["runs"]) == len(line["ns"]) == 3
    assert all(runs >= 1 for runs in line["runs"])
    assert all(ns >= 0.05e9 for ns in line["ns"])


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_session_that_fails_ends_the_others_wait(tmp_path: Path, graph: Path, parallel: int) -> None:
    asked = {"mode": "throughput", "parallel": parallel, "seconds": 0.05, "models": [{"name": "a", "path": str(graph)}]}
    # Of another rank, and met by one session only before they run together.
    faulty = [{"input_ids": [[1]]}] * (parallel - 1) + [{"input_ids": [[[1]]]}]
    code, lines = ask(tmp_path, json.dumps(REQUEST | asked | {"warmup": 1, "batches": {"a": faulty}}))
    assert code == 1
    assert "rank" in lines[-1]["message"].lower()


def test_sessions_in_parallel_start_at_different_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self) -> None:
            self.given: list[int] = []

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="logits")]

        def run(self, names: list[str], feed: int) -> None:
            assert names == ["logits"]
            self.given.append(feed)

    sessions: list[Session] = []

    def opened(*_arguments: object) -> Session:
        sessions.append(Session())
        return sessions[-1]

    monkeypatch.setattr(agent, "_session", opened)
    monkeypatch.setattr(agent, "_feeds", lambda *_: list(range(40)))
    monkeypatch.setattr(agent, "_say", lambda **_: None)
    request = {"provider": "CPUExecutionProvider", "parallel": 4, "warmup": 0, "seconds": 0.001}
    agent._throughput(request | {"models": [{"name": "a"}]})
    assert sorted(session.given[0] for session in sessions) == [0, 10, 20, 30]
    assert all(session.given[:3] == [session.given[0] + step for step in range(3)] for session in sessions)


def test_a_model_that_opens_and_does_not_run_cannot_be_loaded(tmp_path: Path) -> None:
    """As MultiHeadAttention with a mask in onnxruntime 1.19."""
    made = helper.make_graph(
        [helper.make_node("Reshape", ["input_ids", "shape"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.INT64, None)],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [2, 2])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    request = REQUEST | {"mode": "load", "models": [{"name": "a", "path": str(path)}]}
    code, lines = ask(tmp_path, json.dumps(request))
    assert code == 0
    (loaded,) = (line for line in lines if line["kind"] == "loaded")
    assert "reshape" in loaded["error"].lower()


def test_a_model_that_runs_elsewhere_cannot_be_loaded_where_it_should(tmp_path: Path, graph: Path) -> None:
    request = {"mode": "load", "provider": "AzureExecutionProvider", "models": [{"name": "a", "path": str(graph)}]}
    code, lines = ask(tmp_path, json.dumps(REQUEST | request))
    assert code == 0
    assert lines[-1]["error"].startswith("3 nodes did not run on AzureExecutionProvider")


RUN = """
import types

class Model:
    def __init__(self, folder, provider):
        assert provider == "CPUExecutionProvider"
        self.preprocess = types.SimpleNamespace(from_json=lambda value: value + "!")

    def answer(self, content):
        assert content in ("a!", "b!")
"""


def test_answers_are_timed_as_a_packages_own_file_gives_them(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "run.py").write_text(RUN)
    asked = {"mode": "answers", "models": [{"name": "a", "path": str(package)}], "batches": {"a": ["a", "b", "a"]}}
    code, lines = ask(tmp_path, json.dumps(REQUEST | asked))
    assert code == 0, lines
    assert [line["kind"] for line in lines] == ["device", "answers"]
    assert len(lines[1]["ns"]) == 3
    assert [path.name for path in package.iterdir()] == ["run.py"], "nothing is written there"
    code, lines = ask(tmp_path, json.dumps(REQUEST | asked | {"provider": "NoSuchExecutionProvider"}))
    assert (code, lines[-1]["type"]) == (1, "LookupError")


def test_what_cannot_be_opened_is_told_by_model(tmp_path: Path, graph: Path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    models = [{"name": "final", "path": str(broken)}, {"name": "dense", "path": str(graph)}]
    code, lines = ask(tmp_path, json.dumps(REQUEST | {"mode": "load", "models": models}))
    assert code == 0
    refused, opened = lines[1:]
    assert (refused["kind"], refused["name"], opened["error"]) == ("loaded", "final", None)
    assert "broken.onnx" in refused["error"]
    code, lines = ask(tmp_path, json.dumps(REQUEST | {"mode": "load", "models": models, "provider": "NoSuch"}))
    assert (code, lines[-1]["kind"]) == (1, "error")


def test_token_states_are_not_read_unless_there_is_nothing_else() -> None:
    def read(*names: str) -> list[str]:
        return agent.outputs_read(SimpleNamespace(get_outputs=lambda: [SimpleNamespace(name=name) for name in names]))

    assert read("last_hidden_state", "sentence_embedding") == ["sentence_embedding"]
    assert read("start_logits", "end_logits") == ["start_logits", "end_logits"]
    assert read("last_hidden_state") == ["last_hidden_state"]
