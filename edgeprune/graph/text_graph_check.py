"""Ask a graph that reads texts, and compare with the graph that reads tokens: same ids, same labels, same numbers."""

from collections.abc import Sequence

import numpy as np
import onnxruntime
from scipy.special import expit, softmax

from edgeprune.base.errors import ParityError
from edgeprune.graph.parity import Agreement, agreement, require_parity
from edgeprune.graph.session import raw_output
from edgeprune.models.reader import Array
from edgeprune.ondevice.preprocess_text import Inputs
from edgeprune.tasks.spec import TaskSpec

__all__ = ["require_same_readings"]

_TOLERANCE = 1e-5
"""Largest difference of numbers. It is small, because both files hold one graph with the same session options."""
_FAULT = "nothing was shipped. This is a fault of edgeprune's: please report it, and leave stages.package.tokenizer out meanwhile"


def require_same_readings(
    whole: onnxruntime.InferenceSession,
    alone: onnxruntime.InferenceSession,
    reader: Inputs,
    spec: TaskSpec,
    texts: Sequence[str],
) -> Agreement:
    """Compare two graphs of one model.

    Args:
        whole: The graph that reads texts.
        alone: The graph that reads tokens.
        reader: What makes tokens of a text for it, in packages too.
        spec: The task.
        texts: The texts, at least one.

    Returns:
        How far scores, values or embeddings lie apart.

    Raises:
        ParityError: An id or a label is another, or the numbers lie too far apart. The message names the text.
    """
    names = [value.name for value in whole.get_outputs()]
    expected, found = [], []
    for text in texts:
        encoding = reader.encode(text)
        given = dict(zip(names, whole.run(None, {"text": np.array([text], dtype=object)}), strict=True))
        if given["input_ids"].tolist() != [encoding.ids]:
            raise ParityError(
                f"the graph that reads texts makes other tokens of {text[:60]!r} than tokenizers does; {_FAULT}"
            )
        numbers, labels = _meaning(spec, raw_output(alone, reader.feed(encoding))[0])
        if labels is not None and given[names[0]].tolist() != labels:
            raise ParityError(
                f"the graph that reads texts answers {text[:60]!r} with {given[names[0]].tolist()}, the package's graph with "
                f"{labels}; {_FAULT}"
            )
        expected.append(numbers)
        found.append(given[names[0] if labels is None else "scores"].reshape(numbers.shape))
    agreed = agreement(np.stack(expected), np.stack(found))
    require_parity(agreed, _TOLERANCE, what="the graph that reads texts against the package's graph")
    return agreed


def _meaning(spec: TaskSpec, output: Array) -> tuple[Array, list[str] | None]:
    """Say what a graph's outputs for one text mean, as `postprocess_classification` does; None: they are numbers alone."""
    exact = output.astype(np.float64)
    if spec.problem_type == "single_label_classification":
        return softmax(exact), [spec.labels[int(output.argmax())]]
    if spec.problem_type == "multi_label_classification":
        scores = expit(exact)
        return scores, [label for label, score in zip(spec.labels, scores, strict=True) if score > 0.5]
    return exact, None
