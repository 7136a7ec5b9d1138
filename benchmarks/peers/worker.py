"""A competitor while it is timed and judged: runs in its own environment, sleeps until it is asked.

It imports nothing of ours. Requests are JSON lines on standard input, one answer each on standard output:

    {"do": "load", "runtime", "path", "cpu", "session", "workloads": {name: [[id]]}}   {"versions", "load_ms", "precision"}
    {"do": "turn", "workload", "start", "stop"}                                                {"ns": [int]}
    {"do": "predict", "texts": [[id]]}                                                         {"logits": [[float]]}

`precision` is what a runtime computes in where the model leaves it the choice; null: it doesn't.

A turn's first run is not timed: it only brings the model back into the caches after the others' turns.
"""

import json
import os
import sys
import time
from importlib.metadata import version

# onnxruntime >= 1.29 reports telemetry from an extra thread unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np


class OnnxRuntime:
    """An ONNX graph on the CPU provider, one thread."""

    packages = ("onnxruntime",)
    precision = None

    def __init__(self, path: str, session: dict | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        if session is not None:  # as a package's run.py does
            levels = onnxruntime.GraphOptimizationLevel
            options.graph_optimization_level = getattr(levels, f"ORT_ENABLE_{session['level'].upper()}")
            options.enable_cpu_mem_arena = session["arena"]
            for name, value in session["config"].items():
                options.add_session_config_entry(name, value)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self._session.get_inputs()]

    def run(self, feed: dict) -> np.ndarray:
        """Logits, [1, labels]."""
        return self._session.run(None, feed)[0]


class OpenVino:
    """An OpenVINO model on the CPU, one thread; bfloat16 for what isn't int8 if the CPU has it."""

    packages = ("openvino", "nncf")

    def __init__(self, path: str, session: dict | None) -> None:
        import openvino

        core = openvino.Core()
        self.precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
        }
        self._model = core.compile_model(path, "CPU", settings)
        self._request = self._model.create_infer_request()
        self.inputs = [one.get_any_name() for one in self._model.inputs]

    def run(self, feed: dict) -> np.ndarray:
        """Logits, [1, labels]."""
        return self._request.infer(feed, share_inputs=True)[0]


class Torch:
    """The checkpoint itself in PyTorch eager, one thread."""

    packages = ("torch", "transformers")
    precision = None
    inputs = ("input_ids", "attention_mask")

    def __init__(self, path: str, session: dict | None) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        self._tensor = torch.from_numpy
        self._model = AutoModelForSequenceClassification.from_pretrained(path, local_files_only=True).eval()

    def run(self, feed: dict) -> np.ndarray:
        """Logits, [1, labels]."""
        return self._model(**{name: self._tensor(value) for name, value in feed.items()}).logits.numpy()


RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "torch": Torch}


def feed_of(ids: list, names: list) -> dict:
    """One text as a model's inputs, [1, tokens] each; all of it is the first segment and none of it is padding."""
    values = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
    return {name: np.array([values[name]], dtype=np.int64) for name in names}


class Competitor:
    """One loaded model."""

    def __init__(self, request: dict) -> None:
        os.sched_setaffinity(0, {request["cpu"]})
        begin = time.perf_counter_ns()
        runtime = RUNTIMES[request["runtime"]]
        self._model = runtime(request["path"], request["session"])
        self.ready = {
            "load_ms": (time.perf_counter_ns() - begin) / 1e6,
            "versions": {name: version(name) for name in runtime.packages},
            "precision": self._model.precision,
        }
        self._feeds = {
            name: [feed_of(ids, self._model.inputs) for ids in texts] for name, texts in request["workloads"].items()
        }

    def turn(self, request: dict) -> dict:
        """Time some of a workload's texts."""
        feeds = self._feeds[request["workload"]][request["start"] : request["stop"]]
        run, clock, taken = self._model.run, time.perf_counter_ns, []
        run(feeds[0])
        for feed in feeds:
            begin = clock()
            run(feed)
            taken.append(clock() - begin)
        return {"ns": taken}

    def predict(self, request: dict) -> dict:
        """The logits of texts."""
        feeds = (feed_of(ids, self._model.inputs) for ids in request["texts"])
        return {"logits": [self._model.run(feed)[0].astype(float).tolist() for feed in feeds]}


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    competitor = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "load":
            competitor = Competitor(request)
            answer = competitor.ready
        else:
            answer = {"turn": competitor.turn, "predict": competitor.predict}[request["do"]](request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
