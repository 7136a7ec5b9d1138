"""Answer texts or images with optimum-onnx, in its own environment: CLASS FOLDER, and a JSON list of inputs.

It prints JSON: `alone` has each input's output when it is asked alone, `lists` when it is asked in padded lists of 8, and
`left` what is said when a list of texts is padded on the left.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optimum.onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer


def main() -> None:
    """Answer all inputs, and print the outputs."""
    _, name, folder = sys.argv
    contents = [tuple(one) if isinstance(one, list) else one for one in json.load(sys.stdin)]
    images = (Path(folder) / "preprocessor_config.json").exists()
    model = getattr(optimum.onnxruntime, name).from_pretrained(folder)
    read = AutoImageProcessor.from_pretrained(folder) if images else AutoTokenizer.from_pretrained(folder)

    def outputs(some: list[Any]) -> list[np.ndarray]:
        """Each input's outputs; of a token's outputs, those that aren't padding's; of features, the mean of the tokens."""
        if images:
            return list(model(**read([Image.open(one) for one in some], return_tensors="np")).logits)
        inputs = read(some, padding=True, truncation=True, return_tensors="np")
        found = model(**inputs)
        if "start_logits" in found:
            raw = np.stack([found.start_logits, found.end_logits], -1)
        else:
            raw = found.last_hidden_state if "last_hidden_state" in found else found.logits
        if raw.ndim == 2:
            return list(raw)
        rows = [row[: mask.sum()] for row, mask in zip(raw, inputs["attention_mask"], strict=True)]
        if "last_hidden_state" not in found:
            return rows
        means = [row.mean(0) for row in rows]
        return [mean / np.linalg.norm(mean) for mean in means]

    alone = [outputs([content])[0] for content in contents]
    lists = [row for first in range(0, len(contents), 8) for row in outputs(contents[first : first + 8])]
    left = None
    if not images:
        read.padding_side = "left"
        try:
            outputs(contents[:8])
            left = "answered"
        except InvalidArgument as error:
            left = str(error)
    json.dump(
        {"alone": [row.tolist() for row in alone], "lists": [row.tolist() for row in lists], "left": left}, sys.stdout
    )


if __name__ == "__main__":
    main()
