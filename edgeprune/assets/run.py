#!/usr/bin/env python3
"""Run this package's model on text, with onnxruntime, tokenizers and numpy alone.

    pip install onnxruntime tokenizers numpy
    python run.py "A text." "Another one."    one JSON object a line
    python run.py < texts.txt                 one text a line
    python run.py --check                     replay the goldens: is this device computing the right thing?

Where the model takes two texts (a question and its context), two arguments or two lines belong together.

From Python:

    from run import Model
    Model("path/to/this/folder").answers(["A text."])       [("A question?", "Its context.")] where it takes two
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
from tokenizers import Tokenizer


class Model:
    """The package's model: texts to outputs, one unpadded text at a time.

    Dynamic quantization chooses its scales over a whole batch; a text alone always gets the same outputs.
    """

    def __init__(self, folder, threads=None, provider=None, postprocess=None):
        self.folder = Path(folder)
        self.config = json.loads((self.folder / "edgeprune.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.config["max_length"], strategy=self.config["truncation"])
        self.postprocess = postprocess or _module(self.folder / "postprocess.py")
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

    def encode(self, text):
        """A text, or two that belong together, as tokenizers' Encoding."""
        try:
            return self.tokenizer.encode(*text) if self.config["pair"] else self.tokenizer.encode(text)
        except Exception as error:  # tokenizers has no class of its own for it
            shown = (text[0] if self.config["pair"] else text)[:60]
            raise ValueError("%r can't be cut to %d tokens: %s" % (shown, self.config["max_length"], error)) from error

    def output(self, encoding):
        """Raw outputs, float32: [labels], [hidden] or [tokens, ...]; several are stacked along a new last axis."""
        values = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        feed = {name: np.array([values[name]], dtype=np.int64) for name in self.config["inputs"]}
        found = self.session.run(self.config["outputs"], feed)
        return (found[0] if len(found) == 1 else np.stack(found, -1))[0].astype(np.float32)

    def outputs(self, texts):
        """Raw outputs, an array a text."""
        return [self.output(self.encode(text)) for text in texts]

    def answer(self, text):
        """What the outputs for one text mean, a dict; for two that belong together likewise."""
        encoding = self.encode(text)
        return self.postprocess.answer(self.output(encoding), encoding, text, self)

    def answers(self, texts):
        """What the outputs mean, a dict a text."""
        return [self.answer(text) for text in texts]

    def golden(self, text):
        """What `replay` compares: the text, its outputs (where they are many, a part of them) and what they say."""
        encoding = self.encode(text)
        output = self.output(encoding)
        kept = getattr(self.postprocess, "kept", None)
        return {
            "text": text,
            "outputs": (kept(output, encoding, self) if kept else output).tolist(),
            "decision": self.postprocess.decision(self.postprocess.answer(output, encoding, text, self)),
        }

    def replay(self, golden):
        """How a golden's text does now: whether the outputs say the same, whether they are equal, how far they are.

        The distance is relative to max(1, the largest output); outputs of another shape are infinitely far.
        """
        now = self.golden(golden["text"])
        expected, found = (np.array(one["outputs"], dtype=np.float32) for one in (golden, now))
        if expected.shape != found.shape:
            return False, False, float("inf")
        error = np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0))
        same = golden["decision"] == now["decision"]
        return same, np.array_equal(expected, found), float(error) if np.isfinite(error) else float("inf")


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
        shown = str(golden["text"])[:60]
        if not same:
            faults.append("%r: another answer than when the package was made" % shown)
        elif error > record["tolerance"]:
            faults.append("%r: outputs differ by %.2g, more than %.2g" % (shown, error, record["tolerance"]))
    return faults


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Run this package's model on text.")
    parser.add_argument("texts", nargs="*", help="texts; none: one a line from standard input")
    parser.add_argument("--check", action="store_true", help="replay the goldens instead")
    arguments = parser.parse_args()
    model = Model(Path(__file__).resolve().parent)
    if arguments.check:
        faults = check(model)
        for fault in faults:
            print(fault, file=sys.stderr)
        print("goldens: %s" % ("%d failed" % len(faults) if faults else "ok"))
        return 5 if faults else 0
    texts = iter(arguments.texts or (line.rstrip("\n") for line in sys.stdin))
    pair = model.config["pair"]
    for first in texts:
        text = (first, next(texts, "")) if pair else first
        if pair and not all(map(str.strip, text)):
            print("this model takes two texts at a time, got %r and %r" % (text[0][:60], text[1][:60]), file=sys.stderr)
            return 2
        if not first.strip():
            continue
        try:
            found = model.answer(text)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        print(json.dumps({"text": text, **found}, ensure_ascii=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
