import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgeprune.base.errors import ProfileError
from edgeprune.devices.match import host_target, mismatches
from edgeprune.devices.protocol import DeviceFacts
from edgeprune.ondevice.agent import describe_cpu
from edgeprune.profiles.pipeline import Pipeline, RaceConfig
from edgeprune.profiles.shipped import Kind, load_pipeline, load_target, schema, shipped, shipped_names
from edgeprune.profiles.steps import StructuredStep
from edgeprune.profiles.target import Budget, Target

VNNI = ["avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"]
PIPELINE: dict[str, Any] = {"schema_version": 1, "name": "mine", "description": "x", "stages": {}}
TARGET: dict[str, Any] = {
    "schema_version": 1,
    "name": "board",
    "description": "x",
    "device": {"arch": "x86_64"},
    "runtime": {"threads": 1},
    "precision": {"mode": "int8-dynamic"},
    "runner": None,
}
WASM = {"arch": "wasm32", "isa": ["simd128"]}


def device(**changes: object) -> DeviceFacts:
    facts = {"arch": "x86_64", "isa": ["avx2", "fma"], "cpu": "Some CPU", "cores": 2, "system": "Linux", "python": "3"}
    return DeviceFacts.model_validate({**facts, **changes})


def written(tmp_path: Path, content: dict[str, Any]) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return str(path)


@pytest.mark.parametrize("name", shipped_names("pipelines"))
def test_every_shipped_pipeline_is_valid_and_bears_its_file_name(name: str):
    pipeline = load_pipeline(name)
    assert pipeline.name == name
    assert Pipeline.model_validate(pipeline.model_dump(mode="json")) == pipeline


@pytest.mark.parametrize("name", shipped_names("targets"))
def test_every_shipped_target_is_valid_and_bears_its_file_name(name: str):
    target = load_target(name)
    assert target.name == name
    assert Target.model_validate(target.model_dump(mode="json")) == target


def test_what_is_shipped():
    assert shipped_names("pipelines") == [
        "demo", "embeddings", "fastest", "fit", "gradient", "greedy-layers", "iterative", "layerwise-iterative", "magnitude", "random-masks", "smallest",
        "structured", "structured-oneshot", "vocabulary",
    ]  # fmt: skip
    assert shipped_names("targets") == [
        "android-arm64",
        "cpu-x86-avx2",
        "cpu-x86-avx512-vnni",
        "gpu-cuda-fp16",
        "neoverse-n1",
        "neoverse-n2",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "web",
    ]


def test_a_path_is_the_users_own(tmp_path: Path):
    assert load_pipeline(written(tmp_path, PIPELINE)).name == "mine"
    (tmp_path / "mine.yaml").rename(tmp_path / "structured.yml")
    assert load_pipeline(str(tmp_path / "structured.yml")).name == "mine"
    assert load_target(written(tmp_path, TARGET)).name == "board"


def test_overrides_go_to_the_definition_they_name():
    overrides = [
        "stages.prune.steps.0.keep_ffn=0.4",
        "seed=7",
        "target.budget.size_mb=30",
        "target.budget.metric_drop=null",
    ]
    pipeline, target = load_pipeline("structured", overrides), load_target("cpu-x86-avx2", overrides)
    assert pipeline.stages.prune is not None
    assert pipeline.stages.prune.steps[0].keep_ffn == 0.4
    assert pipeline.stages.prune.steps[0].keep_heads == 0.5
    assert pipeline.seed == 7
    assert (target.budget.size_mb, target.budget.metric_drop, target.budget.latency_p90_ms) == (30, None, 40)


def test_a_stage_can_be_overridden_away():
    pipeline = load_pipeline("structured", ["stages.prune=null", "stages.finetune=null"])
    assert (pipeline.stages.prune, pipeline.stages.finetune) == (None, None)


def test_an_override_of_an_unknown_key_is_refused_with_its_path():
    with pytest.raises(ProfileError, match=r"--set stages\.finetune\.epoch=1: unknown key; did you mean 'epochs'\?"):
        load_pipeline("structured", ["stages.finetune.epoch=1"])
    with pytest.raises(ProfileError, match=r"--set target\.budget\.size=1: unknown key; did you mean 'size_mb'\?"):
        load_target("cpu-x86-avx2", ["target.budget.size=1"])


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ProfileError, match=r"no pipeline 'structred'; did you mean 'structured'\?"):
        load_pipeline("structred")
    with pytest.raises(ProfileError, match=r"no target profile 'rasberry-pi-4'; did you mean 'raspberry-pi-4'\?"):
        load_target("rasberry-pi-4")


def test_an_unknown_name_like_no_other_is_refused_with_all_there_are():
    with pytest.raises(ProfileError, match="no pipeline 'qqq'") as caught:
        load_pipeline("qqq")
    assert all(name in str(caught.value) for name in shipped_names("pipelines"))
    assert "?" not in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere.yaml", "nowhere/mine", "nowhere.yml", "~nobody-of-this-name/mine.yaml"])
def test_a_path_that_is_not_there_is_refused(name: str):
    with pytest.raises(ProfileError, match="no file"):
        load_target(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version: 2 is not one of 1"),
        ({"name": "Mine"}, "name: "),
        ({"name": "../up"}, "name: "),
        ({"seed": -1}, "seed: -1 is below 0"),
        ({"rounds": 0}, "rounds: 0 is not above 0"),
        ({"rounds": 2}, "rounds is 2, but there is no prune stage to repeat"),
        ({"stages": {"prune": {"steps": []}}}, "stages.prune.steps: "),
        (
            {
                "rounds": 2,
                "stages": {"prune": {"schedule": {"shape": "stepwise"}, "steps": [{"method": "vocabulary"}]}},
            },
            "stages.prune.schedule.shape is stepwise, whose steps take turns, but fewer than two steps remove something",
        ),
        (
            {
                "stages": {
                    "prune": {
                        "schedule": {"shape": "stepwise"},
                        "steps": [{"method": "vocabulary"}, {"method": "layers", "drop": [1]}],
                    }
                }
            },
            "a round of its own, but rounds is 1; raise rounds to 2 or more",
        ),
        (
            {"stages": {"prepare": {"epochs": 3, "patience": 2}}},
            "stages.prepare: patience is 2, but with 3 evaluation(s) in all the training would never stop early",
        ),
        ({"stages": {"prune": {"steps": [{"method": "magic"}]}}}, "stages.prune.steps.0.method: 'magic' is not one of"),
        ({"stages": {"prune": {"steps": [{}]}}}, "stages.prune.steps.0.method: required, but missing"),
        (
            {"stages": {"prune": {"steps": [{"method": "structured", "keep_heads": 0}]}}},
            "stages.prune.steps.0.keep_heads: 0 is not above 0",
        ),
        (
            {"stages": {"finetune": {"distill": {"logits": 0, "hidden": 0, "labels": 0}}}},
            "stages.finetune.distill: logits, hidden and labels are all 0",
        ),
        (
            {"stages": {"finetune": {"distill": {"logits": 0, "teachers": 3}}}},
            "stages.finetune.distill: teachers is 3, but has no effect without logits, which is 0; leave it out",
        ),
        ({"stages": {"finetune": {"distill": {"teachers": 0}}}}, "stages.finetune.distill.teachers: 0 is not above 0"),
        (
            {"stages": {"finetune": {"augment": 0.5, "distill": {"logits": 0, "hidden": 0}}}},
            "stages.finetune: augment needs the dense model's answers, but distill.logits and distill.hidden are 0",
        ),
        (
            {"stages": {"finetune": {"replace": {}, "distill": {"logits": 0, "hidden": 0}}}},
            "stages.finetune: replace needs the dense model's answers, but distill.logits and distill.hidden are 0",
        ),
        ({"stages": {"finetune": {"replace": {"words": 0}}}}, "stages.finetune.replace.words: 0 is not above 0"),
        ({"stages": {"export": {"opset": 17}}}, "stages.export.opset: 17 is below 18"),
        ({"stages": {"benchmark": {"samples": 15}}}, "stages.benchmark.samples: 15 is below 16"),
        ({"stages": {"quantize": {"mode": "fp16"}}}, "stages.quantize.mode: unknown key"),
        ({"stages": {"prepare": {"learning_rate": 1}}}, "stages.prepare.learning_rate: 1 is not below 1"),
        ({"stages": {"prepare": {"learning_rate": [1e-4, 2]}}}, "stages.prepare.learning_rate.1: 2 is not below 1"),
        (
            {"stages": {"prepare": {"learning_rate": [1e-4, 1e-4]}}},
            "stages.prepare: learning_rate names 0.0001 twice; name each rate once",
        ),
        ({"stages": {"prepare": {"epochs": "automatic"}}}, "'automatic' is not one of 'auto'; did you mean 'auto'?"),
        (
            {"stages": {"prepare": {"epochs": "auto", "patience": 20}}},
            "stages.prepare: patience is 20, but with 20 evaluation(s) in all the training would never stop early",
        ),
    ],
)
def test_an_invalid_pipeline_is_refused_with_the_path_of_its_fault(
    tmp_path: Path, changes: dict[str, Any], message: str
):
    with pytest.raises(ProfileError, match="is not a valid pipeline") as caught:
        load_pipeline(written(tmp_path, PIPELINE | changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": {"arch": "riscv"}}, "device.arch: 'riscv' is not one of 'x86_64', 'aarch64' or 'wasm32'"),
        ({"device": {"arch": "x86_64", "isa": ["avx3"]}}, "device.isa.0: expected one of avx2, fma"),
        ({"runtime": {"threads": 0}}, "runtime.threads: 0 is not above 0"),
        ({"runtime": {}}, "runtime.threads: required, but missing"),
        ({"runtime": {"provider": "CUDAExecutionProvider", "threads": 1}}, "int8-dynamic falls back to the CPU"),
        ({"precision": {"mode": "int8dynamic"}}, "did you mean 'int8-dynamic'?"),
        ({"budget": {"metric_drop": 1.5}}, "budget.metric_drop: 1.5 is above 1"),
        ({"budget": {"size_mb": 0}}, "budget.size_mb: 0 is not above 0"),
        ({"runner": {"type": "telnet"}}, "runner.type: 'telnet' is not one of 'local', 'ssh'"),
        ({"runner": {"type": "ssh", "host": "board", "python": "python3; reboot"}}, "runner.python: "),
        ({"runner": {"type": "ssh", "host": "board", "folder": "/tmp/$(reboot)"}}, "runner.folder: "),
        ({"runner": {"type": "adb", "serial": "R5CT reboot"}}, "runner.serial: "),
        ({"runner": {"type": "adb", "serial": "R5CT", "app": "com.termux sh"}}, "runner.app: "),
        ({"runner": {"type": "browser", "chromium": ""}}, "runner.chromium: "),
        (
            {"runner": {"type": "local"}, "budget": {"download_mb": 30}},
            "budget.download_mb is what a page fetches, but runner.type is local",
        ),
        (
            {"device": WASM, "runner": {"type": "browser"}, "workload": {"text": True, "sessions": 2}},
            "which is not what workload.text and workload.sessions asks for; leave it out",
        ),
        (
            {"runner": {"type": "browser"}},
            "device.arch is x86_64, but the runner browser runs a page's wasm; set it to wasm32",
        ),
        (
            {"device": WASM, "runner": {"type": "local"}},
            "device.arch is wasm32, which is a page, but runner.type is local; use the runner browser",
        ),
        (
            {"device": {"arch": "wasm32", "isa": ["simd128", "avx2", "fma"]}},
            "device.isa has avx2, fma of a CPU, but device.arch is wasm32; leave it out",
        ),
        (
            {"device": {"arch": "x86_64", "isa": ["avx2", "simd128"]}},
            "device.isa has simd128 of WebAssembly, but device.arch is x86_64; leave it out",
        ),
        ({"workload": {"batch_size": 0}}, "workload.batch_size: 0 is not above 0"),
    ],
)
def test_an_invalid_target_is_refused_with_the_path_of_its_fault(tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ProfileError, match="is not a valid target profile") as caught:
        load_target(written(tmp_path, TARGET | changes))
    assert message in str(caught.value)


def test_a_runner_must_be_named_even_if_there_is_none(tmp_path: Path):
    without = {name: value for name, value in TARGET.items() if name != "runner"}
    with pytest.raises(ProfileError, match="runner: required, but missing"):
        load_target(written(tmp_path, without))


def test_defaults_of_a_step():
    step = StructuredStep(method="structured")
    assert (step.keep_heads, step.keep_ffn, step.importance, step.allocation) == (1, 1, "fisher", "uniform")


@pytest.mark.parametrize(
    ("name", "changes", "reasons"),
    [
        ("cpu-x86-avx2", {}, []),
        ("cpu-x86-avx2", {"isa": ["fma"]}, ["needs avx2, which this CPU lacks"]),
        ("cpu-x86-avx2", {"arch": "aarch64"}, ["needs x86_64, this is aarch64"]),
        ("cpu-x86-avx512-vnni", {"isa": VNNI}, []),
        (
            "cpu-x86-avx512-vnni",
            {},
            ["needs avx512f, avx512bw, avx512vl, avx512_vnni, which this CPU lacks"],
        ),
        ("raspberry-pi-4", {"arch": "aarch64", "isa": ["asimd"], "cpu": "cortex-a72", "cores": 4}, []),
        (
            "raspberry-pi-4",
            {"arch": "aarch64", "isa": ["asimd"], "cpu": None, "cores": 2},
            ["is a cortex-a72, this is unknown", "uses 4 threads, this machine has 2 cores"],
        ),
        ("web", {}, ["needs wasm32, this is x86_64"]),
        (
            "web",
            {"arch": "wasm32", "isa": ["threads"], "cpu": "Chromium 1 wasm"},
            ["needs simd128, which this CPU lacks"],
        ),
        ("gpu-cuda-fp16", {}, ["needs CUDAExecutionProvider, onnxruntime here has CPUExecutionProvider"]),
    ],
)
def test_mismatches_say_why_this_machine_is_not_the_target(name: str, changes: dict[str, Any], reasons: list[str]):
    assert mismatches(load_target(name), device(**changes), ["CPUExecutionProvider"]) == reasons


def test_providers_are_checked_only_where_they_are_known():
    assert mismatches(load_target("gpu-cuda-fp16"), device()) == []


@pytest.mark.parametrize(
    ("isa", "name"), [(["avx2", "fma"], "cpu-x86-avx2"), ([*VNNI, "amx_int8"], "cpu-x86-avx512-vnni")]
)
def test_the_host_target_uses_most_of_the_instruction_set_and_has_no_latency_budget(isa: list[str], name: str):
    target = host_target(device(isa=isa))
    shipped_one = load_target(name)
    assert target.name == name
    assert target.budget == Budget(metric_drop=shipped_one.budget.metric_drop)
    assert target.precision == shipped_one.precision
    assert target.runner is not None


N1 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"


@pytest.mark.parametrize(
    ("part", "features", "name"),
    [("0xd0c", N1, "neoverse-n1"), ("0xd49", f"{N1} sve sve2 i8mm svei8mm bf16 svebf16", "neoverse-n2")],
)
def test_an_arm_server_is_its_own_target(part: str, features: str, name: str):
    """What the kernel says of itself on hosted ARM runners, past and present."""
    said = f"processor\t: 0\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
    server = device(**describe_cpu("aarch64", said))
    target = host_target(server)
    assert (target.name, target.runtime.threads, target.budget.latency_p90_ms) == (name, 1, None)
    assert mismatches(load_target("raspberry-pi-4"), server)[0].startswith("is a cortex-a72")


def test_overrides_reach_the_host_target():
    target = host_target(device(), ["target.budget.latency_p90_ms=3", "target.runtime.threads=2", "seed=1"])
    assert (target.budget.latency_p90_ms, target.runtime.threads) == (3, 2)


@pytest.mark.parametrize("changes", [{"isa": []}, {"arch": "riscv64"}])
def test_a_machine_that_no_shipped_target_fits_is_told_so(changes: dict[str, Any]):
    with pytest.raises(ProfileError, match="no shipped target fits this machine"):
        host_target(device(**changes))


@pytest.mark.parametrize(("kind", "required"), [("pipelines", "stages"), ("targets", "device")])
def test_the_schema_refuses_what_the_loader_refuses(kind: Kind, required: str):
    found = json.loads(schema(kind))
    assert required in found["required"]
    assert found["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in found["$defs"].values() if part["type"] == "object")


def test_shipped_folders_hold_yaml():
    assert (shipped("pipelines") / "structured.yaml").is_file()
    assert (shipped("targets") / "cpu-x86-avx2.yaml").is_file()


@pytest.mark.parametrize(
    ("processes", "samples", "enough"), [(1, 60, True), (3, 11, True), (6, 10, True), (1, 50, False), (2, 20, False)]
)
def test_a_race_has_turns_enough_to_tell_variants_apart(processes: int, samples: int, enough: bool):
    if enough:
        RaceConfig(processes=processes, samples=samples)
        return
    with pytest.raises(
        ValidationError, match=r"turns of 10, but telling variants apart takes 6 turns or more; raise samples"
    ):
        RaceConfig(processes=processes, samples=samples)
