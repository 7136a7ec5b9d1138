#!/usr/bin/env python3
"""Run this package's model on text, with onnxruntime, tokenizers and numpy alone.

    pip install onnxruntime tokenizers numpy
    python run.py "A text." "Another one."    one JSON object a line
    python run.py < texts.txt                 one text a line
    python run.py --check                     replay the goldens: is this device computing the right thing?

From Python:

    from run import Model
    Model("path/to/this/folder").answers(["A text."])
"""

import argparse
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

    def __init__(self, folder, threads=None, provider=None):
        self.folder = Path(folder)
        self.config = json.loads((self.folder / "edgeprune.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.config["max_length"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or self.config["threads"]
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(self.folder / "model.onnx"), options, providers=[provider or self.config["provider"]]
        )

    def outputs(self, texts):
        """Raw outputs, [texts, ...] float32."""
        rows = []
        for text in texts:
            encoding = self.tokenizer.encode(text)
            values = {
                "input_ids": encoding.ids,
                "attention_mask": encoding.attention_mask,
                "token_type_ids": encoding.type_ids,
            }
            feed = {name: np.array([values[name]], dtype=np.int64) for name in self.config["inputs"]}
            rows.append(self.session.run([self.config["output"]], feed)[0][0])
        return np.stack(rows).astype(np.float32)

    def answers(self, texts):
        """What the outputs mean, a dict a text."""
        from postprocess import answers

        return answers(self.outputs(texts), self.config)


def check(model):
    """Replay the goldens; returns a sentence for each that fails."""
    from postprocess import same_answers

    record = json.loads((model.folder / "goldens.json").read_text(encoding="utf-8"))
    faults = []
    for golden in record["goldens"]:
        expected = np.array(golden["outputs"], dtype=np.float32)
        found = model.outputs([golden["text"]])[0]
        (same,) = same_answers(expected[None], found[None], model.config)
        error = float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))
        if not same:
            faults.append("%r: another answer than when the package was made" % golden["text"][:60])
        elif not error <= record["tolerance"]:
            faults.append(
                "%r: outputs differ by %.2g, more than %.2g" % (golden["text"][:60], error, record["tolerance"])
            )
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
    for text in arguments.texts or (line.rstrip("\n") for line in sys.stdin):
        if text.strip():
            print(json.dumps({"text": text, **model.answers([text])[0]}, ensure_ascii=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
