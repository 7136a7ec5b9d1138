"""A stand-in for `onnxruntime_perf_test`, which no Python package has: its options, its files and what it prints, in Python.

As ONNX Runtime 1.21's, which was built from onnxruntime/test/perftest and tried: it draws from the data sets beside the model,
prints what the start and the first run took, and appends a line a run to the result file.
"""

import sys
from pathlib import Path

__all__ = ["write_stand_in"]

_PROGRAM = """#!{python}
# OrtGetApiBase@VERS_1.21: what a linker writes into the real one
import getopt, glob, json, os, random, resource, sys, time

if not sys.argv[1:]:
    print("perf_test [options...] model_path [result_file]")
    sys.exit(255)
options, rest = getopt.getopt(sys.argv[1:], "m:e:r:x:y:o:C:A")
given = dict(options)
model, *result = rest
import numpy, onnx, onnxruntime
from onnx import numpy_helper

settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads, settings.inter_op_num_threads = int(given["-x"]), int(given["-y"])
settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel(int(given["-o"]))
settings.enable_cpu_mem_arena = "-A" not in given
settings.log_severity_level = 4
for entry in given.get("-C", "").split():
    settings.add_session_config_entry(*entry.split("|"))
try:
    begin = time.perf_counter()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    created = time.perf_counter() - begin
except Exception as error:
    print(error, file=sys.stderr)
    sys.exit(255)
sets = []
for folder in glob.glob(os.path.join(os.path.dirname(model), "test_data_set_*")):
    tensors = [onnx.load_tensor(path) for path in glob.glob(os.path.join(folder, "input_*.pb"))]
    sets.append({{tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}})
if not sets:
    print("there is no test data for model g")
    sys.exit(255)
with open("{log}", "a") as log:
    shown = [{{name: array.tolist() for name, array in feed.items()}} for feed in sets]
    print(json.dumps({{"arguments": sys.argv[1:], "sets": shown}}), file=log)
assert given["-m"] == "times"
begin = time.perf_counter()
session.run(None, random.choice(sets))
first = time.perf_counter() - begin
costs = []
for _ in range(int(given["-r"])):
    feed = random.choice(sets)
    begin = time.perf_counter()
    session.run(None, feed)
    costs.append(time.perf_counter() - begin)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print("Session creation time cost:", f"{{created:.6g}}", "s")
print("First inference time cost:", int(1000 * first), "ms")
print("Peak working set size:", peak, "bytes")
with open(result[0], "a") as file:
    for number, cost in enumerate(costs):
        file.write(f"{{os.path.basename(model)}},{{cost:.6g}},{{peak}},100,{{number}}\\n")
"""


def write_stand_in(folder: Path) -> Path:
    """The program; what it is called with and the data sets that it found are written to `calls` beside it, a JSON line a call."""
    path = folder / "onnxruntime_perf_test"
    path.write_text(_PROGRAM.format(python=sys.executable, log=folder / "calls"), encoding="utf-8")
    path.chmod(0o755)
    return path
