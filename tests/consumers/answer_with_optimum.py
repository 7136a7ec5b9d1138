"""Answer texts with optimum-onnx, in its own environment: CLASS FOLDER, and a JSON list of texts or pairs on standard input.

It prints JSON: `alone` has each text's output when it is asked alone, `lists` when it is asked in padded lists of 8, and
`left` what is said when a list is padded on the left.
"""

import json
import sys
from typing import Any

import numpy as np
import optimum.onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from transformers import AutoTokenizer


def main() -> None:
    """Answer all texts, and print the outputs."""
    _, name, folder = sys.argv
    texts = [tuple(text) if isinstance(text, list) else text for text in json.load(sys.stdin)]
    model = getattr(optimum.onnxruntime, name).from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def outputs(some: list[Any]) -> list[np.ndarray]:
        """Each text's outputs; of a token's outputs, those that aren't padding's."""
        inputs = tokenizer(some, padding=True, truncation=True, return_tensors="np")
        found = model(**inputs)
        raw = np.stack([found.start_logits, found.end_logits], -1) if "start_logits" in found else found.logits
        if raw.ndim == 2:
            return list(raw)
        return [row[: mask.sum()] for row, mask in zip(raw, inputs["attention_mask"], strict=True)]

    alone = [outputs([text])[0] for text in texts]
    lists = [row for first in range(0, len(texts), 8) for row in outputs(texts[first : first + 8])]
    tokenizer.padding_side = "left"
    try:
        outputs(texts[:8])
        left = "answered"
    except InvalidArgument as error:
        left = str(error)
    json.dump(
        {"alone": [row.tolist() for row in alone], "lists": [row.tolist() for row in lists], "left": left}, sys.stdout
    )


if __name__ == "__main__":
    main()
