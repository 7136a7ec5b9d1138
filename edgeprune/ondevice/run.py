#!/usr/bin/env python3
"""Run this package's model, with onnxruntime, numpy and what preprocess.py reads its inputs with.

    pip install onnxruntime numpy tokenizers  a model of texts; of images: pillow
    python run.py "A text." "Another one."    one JSON object a line; of images: their paths
    python run.py < inputs.txt                one text, or path, a line
    python run.py --check                     replay the goldens: is this device computing the right thing?

Where the model takes two texts (a question and its context), two arguments or two lines belong together.

From Python:

    from run import Model
    Model("path/to/this/folder").answers(["A text."])       [("A question?", "Its context.")] where it takes two;
                                                            ["image.jpg"], or a file's bytes, where it takes images
"""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

# onnxruntime >= 1.29 reports telemetry from an extra thread unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime


class OldRuntimeError(ImportError):
    """The installed onnxruntime can't run this package."""


class Model:
    """The package's model: texts or images to outputs, one unpadded row at a time.

    Dynamic quantization chooses its scales over a whole batch; a row alone always gets the same outputs.
    Raises OldRuntimeError where onnxruntime is too old.
    """

    def __init__(self, folder, threads=None, provider=None, preprocess=None, postprocess=None):
        self.folder = Path(folder)
        self.config = json.loads((self.folder / "edgeprune.json").read_text(encoding="utf-8"))
        oldest = self.config["oldest_onnxruntime"]
        if _version(onnxruntime.__version__) < _version(oldest):
            raise OldRuntimeError(
                "onnxruntime %s is too old for this package; install %s or newer" % (onnxruntime.__version__, oldest)
            )
        self.preprocess = preprocess or _module(self.folder / "preprocess.py")
        self.postprocess = postprocess or _module(self.folder / "postprocess.py")
        self.inputs = self.preprocess.Inputs(self.folder, self.config)
        wanted = self.config["session"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or wanted["threads"]
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, "ORT_ENABLE_" + wanted["level"].upper()
        )
        options.enable_cpu_mem_arena = wanted["arena"]
        for key, value in wanted["config"].items():
            options.add_session_config_entry(key, value)
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(self.folder / "model.onnx"), options, providers=[provider or self.config["provider"]]
        )

    def output(self, encoding):
        """Raw outputs, float32: [labels], [hidden] or [tokens, ...]; several are stacked along a new last axis."""
        found = self.session.run(self.config["outputs"], self.inputs.feed(encoding))
        return (found[0] if len(found) == 1 else np.stack(found, -1))[0].astype(np.float32)

    def outputs(self, contents):
        """Raw outputs, an array a text or image."""
        return [self.output(self.inputs.encode(content)) for content in contents]

    def answer(self, content):
        """What the outputs for one text (or two that belong together) or one image mean, a dict."""
        encoding = self.inputs.encode(content)
        return self.postprocess.answer(self.output(encoding), encoding, content, self)

    def answers(self, contents):
        """What the outputs mean, a dict a text or image."""
        return [self.answer(content) for content in contents]

    def golden(self, content):
        """What `replay` compares: the input, its outputs (where they are many, a part of them) and what they say."""
        encoding = self.inputs.encode(content)
        output = self.output(encoding)
        kept = getattr(self.postprocess, "kept", None)
        return {
            self.preprocess.KIND: self.preprocess.to_json(content),
            "outputs": (kept(output, encoding, self) if kept else output).tolist(),
            "decision": self.postprocess.decision(self.postprocess.answer(output, encoding, content, self)),
        }

    def golden_content(self, golden):
        """The text or image of a golden."""
        return self.preprocess.from_json(golden[self.preprocess.KIND])

    def replay(self, golden):
        """How a golden's input does now: whether the outputs say the same, whether they are equal, how far they are.

        The distance is relative to max(1, the largest output); outputs of another shape are infinitely far.
        """
        now = self.golden(self.golden_content(golden))
        expected, found = (np.array(one["outputs"], dtype=np.float32) for one in (golden, now))
        if expected.shape != found.shape:
            return False, False, float("inf")
        error = np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0))
        same = golden["decision"] == now["decision"]
        return same, np.array_equal(expected, found), float(error) if np.isfinite(error) else float("inf")


def _version(text):
    return tuple(int(part) for part in text.split(".")[:2])


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(model):
    """Replay the goldens; returns a sentence for each that fails."""
    record = json.loads((model.folder / "goldens.json").read_text(encoding="utf-8"))
    faults = []
    for golden in record["goldens"]:
        same, _, error = model.replay(golden)
        shown = model.preprocess.shown(model.golden_content(golden))
        if not same:
            faults.append("%s: another answer than when the package was made" % shown)
        elif error > record["tolerance"]:
            faults.append("%s: outputs differ by %.2g, more than %.2g" % (shown, error, record["tolerance"]))
    return faults


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Run this package's model on texts or images.")
    parser.add_argument("inputs", nargs="*", help="texts, or paths of images; none: one a line from standard input")
    parser.add_argument("--check", action="store_true", help="replay the goldens instead")
    arguments = parser.parse_args()
    try:
        model = Model(Path(__file__).resolve().parent)
    except OldRuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.check:
        faults = check(model)
        for fault in faults:
            print(fault, file=sys.stderr)
        print("goldens: %s" % ("%d failed" % len(faults) if faults else "ok"))
        return 5 if faults else 0
    given = arguments.inputs or (line.rstrip("\n") for line in sys.stdin)
    try:
        for content in model.preprocess.contents(given, model.config):
            found = model.answer(content)
            print(json.dumps({model.preprocess.KIND: content, **found}, ensure_ascii=False), flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
