"""Compare a package's answers in padded lists with its answers to each input alone.

    python benchmarks/lists.py dist/my-model-0-host pipelines/data/movie-reviews.test.jsonl

Dynamic int8 has one scale for a whole list, so that an input's outputs depend on the others in the list and on the padding.
Other precisions round alike. The script prints how many answers are the same, and how far the outputs lie apart.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np

import edgeprune


def main() -> None:
    """Ask, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("data", type=Path, help="JSON Lines with a key `text`")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--list", type=int, default=8, help="texts in a list, as they follow each other in the data")
    arguments = parser.parse_args()
    with arguments.data.open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in islice(file, arguments.rows)]
    model = edgeprune.load_onnx(arguments.package)
    alone = np.stack(model.outputs(texts))
    starts = range(0, len(texts), arguments.list)
    lists = np.concatenate(
        [model.outputs(texts[start : start + arguments.list], batch_size=arguments.list) for start in starts]
    )
    cosines = (alone * lists).sum(-1) / np.linalg.norm(alone, axis=-1) / np.linalg.norm(lists, axis=-1)
    print(f"{len(texts)} texts in lists of {arguments.list}: largest difference {np.abs(alone - lists).max():.2g}")
    print(f"cosine to the output alone: median {np.median(cosines):.4f}, least {cosines.min():.4f}")
    if model.labels:
        print(f"labels that stay: {np.mean(alone.argmax(-1) == lists.argmax(-1)):.1%}")


if __name__ == "__main__":
    main()
