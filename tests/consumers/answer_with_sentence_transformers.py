"""Embed texts with sentence-transformers on ONNX, in its own environment: FOLDER, and a JSON list of texts.

It prints JSON: `alone` has each text's embedding when it is asked alone, `lists` when it is asked in padded lists of 8, and
`left` what is said when a list is padded on the left.
"""

import json
import sys

from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from sentence_transformers import SentenceTransformer


def main() -> None:
    """Embed all texts, and print the embeddings."""
    _, folder = sys.argv
    texts = json.load(sys.stdin)
    model = SentenceTransformer(folder, backend="onnx", device="cpu", local_files_only=True)
    alone = [model.encode([text])[0] for text in texts]
    lists = [row for first in range(0, len(texts), 8) for row in model.encode(texts[first : first + 8], batch_size=8)]
    model.tokenizer.padding_side = "left"
    try:
        model.encode(texts[:8], batch_size=8)
        left = "answered"
    except InvalidArgument as error:
        left = str(error)
    json.dump(
        {"alone": [row.tolist() for row in alone], "lists": [row.tolist() for row in lists], "left": left}, sys.stdout
    )


if __name__ == "__main__":
    main()
