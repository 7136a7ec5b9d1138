"""Embed texts with a custom model of fastembed, in its own environment: FOLDER POOLING NORMALIZED, and a JSON list of texts.

It prints JSON: `alone` has each text's embedding when it is asked alone, `lists` when it is asked in padded lists of 8, and
`left` what is said when a list is padded on the left.
"""

import json
import sys

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument


def main() -> None:
    """Embed all texts, and print the embeddings."""
    _, folder, pooling, normalized = sys.argv
    texts = json.load(sys.stdin)
    TextEmbedding.add_custom_model(
        model="mine",
        pooling=PoolingType[pooling],
        normalization=normalized == "normalized",
        sources=ModelSource(url="https://localhost/nothing"),
        dim=0,
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding("mine", specific_model_path=folder)

    def embed(some: list[str]) -> list[list[float]]:
        return [row.tolist() for row in model.embed(some, batch_size=8)]

    alone = [row for text in texts for row in embed([text])]
    lists = embed(texts)
    model.model.tokenizer.enable_padding(direction="left")
    try:
        embed(texts[:8])
        left = "answered"
    except InvalidArgument as error:
        left = str(error)
    json.dump({"alone": alone, "lists": lists, "left": left}, sys.stdout)


if __name__ == "__main__":
    main()
