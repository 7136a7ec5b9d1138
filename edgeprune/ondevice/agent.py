"""Answer one request on the device: read it as JSON, time models, and write JSON lines.

This program imports nothing of edgeprune, only the standard library, numpy and onnxruntime. So it can be copied to any
device with Python 3.9 or newer and run there unchanged:

    python agent.py < request.json

Request:  {"mode": "latency" | "answers" | "throughput" | "memory" | "outputs" | "load" | "probe", "provider", "warmup",
           "block", "parallel", "seconds",
           "sessions": {name: {"threads", "level": "basic" | "extended" | "all", "arena", "config": {key: value}}},
           "models": [{"name", "path"}], "batches": {name: [{"input_ids": [[int]], "attention_mask": [[int]], ...}]}}
          An input is a list of whole numbers, or {"seed": int, "shape": [int]}: normally distributed float32 values. In
          answers mode the paths are folders of packages, and the batches are texts, or images in base64.
Lines:    {"kind": "device", ...}, {"kind": "conditions", "moment": "before" | "after", ...},
          {"kind": "session", "name", "create_ns", "first_run_ns"},
          {"kind": "samples" | "answers", "name", "ns": [int]}, {"kind": "throughput", "name", "runs": [int], "ns": [int]},
          {"kind": "memory", "name", "peak_bytes"}, {"kind": "placement", "name", "nodes": {provider: int}},
          {"kind": "loaded", "name", "error": str | None},
          {"kind": "outputs", "name", "values": [[float]], "shapes": [[int]], "sha256"}: a model's output for each batch,
          flattened; several outputs are stacked along a new last axis,
          {"kind": "error", "type", "message"}

Every model has equally many batches. Of a batch's inputs, a model is given those that it takes.

- Latency mode loads every model, and the models take turns of `block` runs each. All of them get the same batches in
  the same order, and whatever disturbs the machine disturbs all of them.
- Answers mode does the same with packages: it times what a package's own `run.py` does from a text to its answer.
- Throughput mode runs `parallel` sessions of a model, each in its own thread, for so many `seconds`. Each session
  starts with another batch. The mode tells how often each session ran, and in how much time.
- Memory mode loads one model. It tells the peak memory of the process, how long the start took, and where each node
  ran.
- Outputs mode tells what models compute.
- Load mode tells whether models can be opened here.
- Probe mode tells whether the provider is there.

Only the provider that was asked for is timed. If a node ran on another one, the answer is an error that lists such
nodes.
"""

import functools
import glob
import importlib.util
import json
import os
import platform
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# onnxruntime >= 1.29 reports telemetry from an extra thread unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

STATES_OUTPUT = "last_hidden_state"
"""The output beside a sentence embedding that other programs pool themselves."""

ISA_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
)
"""Instruction-set features that decide how a model is quantized or computed, under Linux's names."""

ARM_CORES = {
    "0xd03": "cortex-a53",
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd0d": "cortex-a77",
    "0xd40": "neoverse-v1",
    "0xd41": "cortex-a78",
    "0xd44": "cortex-x1",
    "0xd46": "cortex-a510",
    "0xd47": "cortex-a710",
    "0xd49": "neoverse-n2",
    "0xd4f": "neoverse-v2",
}
"""Names of Arm's own cores (implementer 0x41), by `CPU part`. They are needed because 64-bit kernels print no model
name."""

_ARCH_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def read_cpuinfo(text):
    """Read the instruction-set features and the CPU's name (None if there is none) from the text of /proc/cpuinfo."""
    flags, model, implementer, cores = set(), None, None, []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if name in ("flags", "features") and not flags:
            flags = set(value.split())
        elif name == "model name" and model is None:
            model = value
        elif name == "cpu implementer":
            implementer = value
        elif name == "cpu part":
            core = ARM_CORES.get(value) if implementer == "0x41" else None
            if core is not None and core not in cores:
                cores.append(core)
    return flags, " + ".join(cores) or model


def describe_cpu(machine, cpuinfo):
    """Give the facts arch, isa and cpu, from the output of `uname -m` and the text of /proc/cpuinfo."""
    flags, model = read_cpuinfo(cpuinfo)
    arch = machine.lower()
    return {"arch": _ARCH_NAMES.get(arch, arch), "isa": [flag for flag in ISA_FLAGS if flag in flags], "cpu": model}


def device_info():
    """Say what this machine is: arch, isa, cpu, cores, system, python. A fact that can't be read is None."""
    cpuinfo = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            cpuinfo = file.read()
    except OSError:
        pass
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count()
    return {
        **describe_cpu(platform.machine(), cpuinfo),
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def conditions():
    """Read what may change from run to run: governor, frequency, temperature, throttling, load, cgroup quota, affinity.

    A fact that this machine doesn't tell is None, and `reasons` says why.
    """
    reasons = {}
    system = "/sys/devices/system/cpu"

    def fact(name, read):
        try:
            return read()
        except FileNotFoundError as error:
            reasons[name] = "no %s" % error.filename
        except (OSError, ValueError, AttributeError, IndexError) as error:
            reasons[name] = str(error)
        return None

    affinity = fact("affinity", lambda: sorted(os.sched_getaffinity(0)))

    def of_cores(name):
        return [_text("%s/cpu%d/%s" % (system, core, name)) for core in affinity or [0]]

    def quota():
        limit, period = _text("/sys/fs/cgroup/cpu.max").split()
        return None if limit == "max" else int(limit) / int(period)

    def hottest():
        zones = glob.glob("/sys/class/thermal/thermal_zone*/temp")
        if not zones:
            raise OSError("no /sys/class/thermal/thermal_zone*")
        return max(int(_text(zone)) for zone in zones) / 1000

    return {
        "governor": fact("governor", lambda: " ".join(sorted(set(of_cores("cpufreq/scaling_governor"))))),
        "frequency_mhz": fact("frequency_mhz", lambda: max(map(int, of_cores("cpufreq/scaling_cur_freq"))) / 1000),
        "temperature_c": fact("temperature_c", hottest),
        "throttle_events": fact(
            "throttle_events", lambda: sum(map(int, of_cores("thermal_throttle/core_throttle_count")))
        ),
        "load_1min": fact("load_1min", lambda: round(os.getloadavg()[0], 2)),
        "quota_cores": fact("quota_cores", quota),
        "affinity": affinity,
        "reasons": reasons,
    }


def _text(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()


def _say(**record):
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def session_options(wanted):
    """Make onnxruntime.SessionOptions from a request's {"threads", "level", "arena", "config"}."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = getattr(levels, "ORT_ENABLE_" + wanted["level"].upper())
    options.enable_cpu_mem_arena = wanted["arena"]
    for key, value in wanted["config"].items():
        options.add_session_config_entry(key, value)
    return options


def _check_provider(request):
    import onnxruntime

    if request["provider"] not in onnxruntime.get_available_providers():
        raise LookupError(
            "onnxruntime %s here has %s, not %s"
            % (onnxruntime.__version__, ", ".join(onnxruntime.get_available_providers()), request["provider"])
        )


def _session(request, model):
    import onnxruntime

    _check_provider(request)
    options = session_options(request["sessions"][model["name"]])
    return onnxruntime.InferenceSession(model["path"], options, providers=[request["provider"]])


def placement(request, model, feed):
    """Count the nodes that each provider ran, and list the nodes that ran on another provider than asked.

    A run with ONNX Runtime's profiler tells both. Nodes that compute shapes aren't listed: ONNX Runtime runs them on
    the CPU on purpose, whatever the provider.
    """
    import onnxruntime

    options = session_options(request["sessions"][model["name"]])
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = onnxruntime.InferenceSession(model["path"], options, providers=[request["provider"]])
        session.run(outputs_read(session), feed)
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    counts, elsewhere = {}, []
    for event in events:
        node = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in node:
            counts[node["provider"]] = counts.get(node["provider"], 0) + 1
            if node["provider"] != request["provider"] and not _yields_shapes(node):
                elsewhere.append("%s (%s)" % (event["name"].replace("_kernel_time", ""), node["op_name"]))
    return counts, elsewhere


def _yields_shapes(node):
    outputs = [output for one in node.get("output_type_shape", ()) for output in one.items()]
    return bool(outputs) and all(kind in ("int64", "int32") and len(shape) <= 1 for kind, shape in outputs)


def _refuse_elsewhere(request, model, feed):
    if request["provider"] == "CPUExecutionProvider":
        return
    _, elsewhere = placement(request, model, feed)
    if elsewhere:
        shown = ", ".join(elsewhere[:20]) + (" and %d more" % (len(elsewhere) - 20) if len(elsewhere) > 20 else "")
        raise LookupError(
            "%d nodes did not run on %s, so that no time would be its own: %s"
            % (len(elsewhere), request["provider"], shown)
        )


def input_array(value):
    """Make a numpy array of one input as it stands in a request."""
    import numpy

    if isinstance(value, list):
        return numpy.array(value, dtype=numpy.int64)
    return numpy.random.default_rng(value["seed"]).standard_normal(value["shape"], dtype=numpy.float32)


def outputs_read(session):
    """The names of the outputs that answers are made of: all but the token states beside an embedding."""
    names = [output.name for output in session.get_outputs()]
    return [name for name in names if name != STATES_OUTPUT] or names


def _feeds(request, model, session):
    taken, drawn = {value.name for value in session.get_inputs()}, {}

    def array(value):
        key = json.dumps(value, sort_keys=True)
        if key not in drawn:
            drawn[key] = input_array(value)
        return drawn[key]

    return [
        {name: array(value) for name, value in batch.items() if name in taken}
        for batch in request["batches"][model["name"]]
    ]


def _started(request, model):
    """Open a session, run it once, and say how long both took. Return the session and its feeds."""
    start = time.perf_counter_ns()
    session = _session(request, model)
    created = time.perf_counter_ns()
    feeds = _feeds(request, model, session)
    began = time.perf_counter_ns()
    session.run(outputs_read(session), feeds[0])
    ran = time.perf_counter_ns()
    _say(kind="session", name=model["name"], create_ns=created - start, first_run_ns=ran - began)
    return session, feeds


def _latency(request):
    started = [(model, *_started(request, model)) for model in request["models"]]
    for model, _, feeds in started:
        _refuse_elsewhere(request, model, feeds[0])
    calls = [
        (model["name"], functools.partial(session.run, outputs_read(session)), feeds)
        for model, session, feeds in started
    ]
    _time_by_turns(request, calls, "samples")


def _answers(request):
    _check_provider(request)
    calls = []
    for model in request["models"]:
        package = _package(model["path"], request["provider"])
        contents = [package.preprocess.from_json(value) for value in request["batches"][model["name"]]]
        calls.append((model["name"], package.answer, contents))
    _time_by_turns(request, calls, "answers")


def _package(folder, provider):
    """Load a package's model with the package's own run.py. Nothing is written into the package's folder."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("run", os.path.join(folder, "run.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(folder, provider=provider)


def _time_by_turns(request, calls, kind):
    """Time functions by turns of `block` calls, and say the times of each one.

    `calls` lists (name, function, arguments); each argument is one call. All functions have equally many arguments.
    """
    for _, call, arguments in calls:
        for index in range(request["warmup"]):
            call(arguments[index % len(arguments)])
    samples = {name: [] for name, _, _ in calls}
    clock = time.perf_counter_ns
    for start in range(0, len(calls[0][2]), request["block"]):
        for name, call, arguments in calls:
            taken = samples[name]
            # The first run after the other model's turn only brings this one's weights back into the caches.
            call(arguments[start])
            for argument in arguments[start : start + request["block"]]:
                begin = clock()
                call(argument)
                taken.append(clock() - begin)
    for name, taken in samples.items():
        _say(kind=kind, name=name, ns=taken)


def _throughput(request):
    for model in request["models"]:
        found = _together(request, model)
        _say(kind="throughput", name=model["name"], runs=[runs for runs, _ in found], ns=[ns for _, ns in found])


def _together(request, model):
    """Run parallel sessions of a model. Return for each session how often it ran, and in how many ns."""
    sessions = [_session(request, model) for _ in range(request["parallel"])]
    feeds = _feeds(request, model, sessions[0])
    _refuse_elsewhere(request, model, feeds[0])
    ready = threading.Barrier(len(sessions))
    with ThreadPoolExecutor(len(sessions)) as pool:
        running = [
            pool.submit(_run_for_a_while, request, feeds, ready, session, number * len(feeds) // len(sessions))
            for number, session in enumerate(sessions)
        ]
    errors = [one.exception() for one in running if one.exception() is not None]
    if errors:  # the others' is that they waited in vain
        raise next((one for one in errors if not isinstance(one, threading.BrokenBarrierError)), errors[0])
    return [one.result() for one in running]


def _run_for_a_while(request, feeds, ready, session, first):
    """Run one session beside the others, from feed number `first` on. Return how often it ran, and in how many ns."""
    names = outputs_read(session)
    try:
        for index in range(request["warmup"]):
            session.run(names, feeds[(first + index) % len(feeds)])
    except Exception:
        ready.abort()
        raise
    ready.wait()
    runs, begin = 0, time.perf_counter_ns()
    end, now = begin + request["seconds"] * 1e9, begin
    while now < end:
        session.run(names, feeds[(first + runs) % len(feeds)])
        runs += 1
        now = time.perf_counter_ns()
    return runs, now - begin


def _load(request):
    _check_provider(request)
    for model in request["models"]:
        error = None
        try:
            session = _session(request, model)
            feed = _feeds(request, model, session)[0]
            session.run(outputs_read(session), feed)  # some of what a runtime lacks it only says then
            _refuse_elsewhere(request, model, feed)
        except Exception as fault:  # onnxruntime has a class for every way in which a graph can be refused
            error = str(fault).strip().partition("\n")[0]
        _say(kind="loaded", name=model["name"], error=error)


def _memory(request):
    (model,) = request["models"]
    session, feeds = _started(request, model)
    _say(kind="memory", name=model["name"], peak_bytes=peak_memory_bytes())
    del session
    _say(kind="placement", name=model["name"], nodes=placement(request, model, feeds[0])[0])


def _outputs(request):
    import hashlib

    import numpy

    for model in request["models"]:
        session = _session(request, model)
        names = outputs_read(session)
        runs = [session.run(names, feed) for feed in _feeds(request, model, session)]
        found = [numpy.asarray(run[0] if len(run) == 1 else numpy.stack(run, -1)) for run in runs]
        digest = hashlib.sha256(b"".join(numpy.ascontiguousarray(one).tobytes() for one in found)).hexdigest()
        _say(
            kind="outputs",
            name=model["name"],
            values=[one.ravel().tolist() for one in found],
            shapes=[list(one.shape) for one in found],
            sha256=digest,
        )


def peak_memory_bytes():
    """Read the largest resident size of this process so far, in bytes. None if the system doesn't tell it."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def die_with_parent():
    """Ask Linux to kill this process when its parent ends for any reason, so that nothing is left running."""
    if sys.platform in ("linux", "android"):
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # 1: PR_SET_PDEATHSIG


def main():
    """Answer the request on standard input. Return the exit code."""
    die_with_parent()
    request = json.load(sys.stdin)
    try:
        import onnxruntime

        _say(kind="device", onnxruntime=onnxruntime.__version__, **device_info())
        modes = {
            "latency": _latency,
            "answers": _answers,
            "throughput": _throughput,
            "memory": _memory,
            "outputs": _outputs,
            "load": _load,
            "probe": _check_provider,
        }
        _say(kind="conditions", moment="before", **conditions())
        modes[request["mode"]](request)
        _say(kind="conditions", moment="after", **conditions())
    except Exception as error:
        _say(kind="error", type=type(error).__name__, message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
