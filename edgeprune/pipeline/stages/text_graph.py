"""text-graph: write the shipped model as one file that takes a text and gives a label.

The stage writes `text.onnx`, which lies beside the package: the package's own graph stays as it is, and holds no weights
twice. Before the file is shipped, it reads rows of the test split and texts with each added token. It must give the ids of
`tokenizers`, and the package's own scores.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from edgeprune.base.errors import ParityError
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edgeprune.models.reader import Array
    from edgeprune.tasks.prepared import Prepared
    from edgeprune.tasks.spec import TaskSpec

__all__ = ["TEXT_MODEL", "TextGraph"]

TEXT_MODEL = "text.onnx"
_ROWS = 64
_TOLERANCE = 1e-5
"""Largest difference from the package's graph. It is small, because both files hold one graph with the same session options."""


class TextGraph(Stage):
    """Put the tokenizer in front of the shipped graph.

    Args:
        threads: Threads of the target's runtime.
        round_number: The round of the package's checkpoint.
    """

    name = "text-graph"
    version = 1
    libraries = ("onnxruntime", "onnxruntime-extensions", "tokenizers", "onnx-ir")
    roles = ("dense", "model")
    produces = (TEXT_MODEL,)

    def __init__(self, *, threads: int, round_number: int) -> None:
        self.round = round_number
        self._threads = threads

    def fingerprint(self) -> dict[str, JsonValue]:
        return {"threads": self._threads}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.graph.parity import agreement, require_parity
        from edgeprune.graph.session import onnx_session, raw_output
        from edgeprune.graph.text_graph import text_session, write_text_graph
        from edgeprune.models.spelling import spelling_of
        from edgeprune.models.wordpiece import read_wordpiece
        from edgeprune.ondevice.preprocess_text import Inputs
        from edgeprune.tasks.prepared import open_prepared
        from edgeprune.tasks.text import tokenizer_of

        model = work.parents["model"]
        variant = read_variant(model)
        assert variant is not None  # noqa: S101 (quantize always says which it made)
        session = variant.session or SessionOptions(threads=self._threads)
        prepared = open_prepared(work.parents["dense"], work.data, splits=("test",), reader=model.file("reader"))
        spec, reading = prepared.task.spec, prepared.task.reading(prepared.reader)
        tokenizer = tokenizer_of(prepared.reader).backend_tokenizer
        reader = Inputs(model.file("reader"), {**reading, "inputs": list(spec.inputs)}, tokenizer)
        wordpiece = read_wordpiece(tokenizer, split_special_tokens=bool(reading["split_special_tokens"]))
        made = work.folder / TEXT_MODEL
        write_text_graph(
            model.file("model.onnx"),
            made,
            spec,
            wordpiece,
            spelling_of(tokenizer),
            max_length=reader.config["max_length"],
            from_left=reading["truncation_side"] == "left",
        )

        whole, alone = text_session(made, session), onnx_session(model.file("model.onnx"), session)
        names = [value.name for value in whole.get_outputs()]
        expected, found = [], []
        texts = list(_texts(prepared, tokenizer))
        for text in texts:
            encoding = reader.encode(text)
            given = dict(zip(names, whole.run(None, {"text": np.array([text], dtype=object)}), strict=True))
            if given["input_ids"].tolist() != [encoding.ids]:
                raise ParityError(
                    f"the graph that reads texts makes other tokens of {text[:60]!r} than tokenizers does; nothing was shipped. "
                    f"This is a fault of edgeprune's: please report it, and leave stages.package.tokenizer out"
                )
            numbers, label = _meaning(spec, raw_output(alone, reader.feed(encoding)))
            if label is not None and given[names[0]].tolist() != label:
                raise ParityError(
                    f"the graph that reads texts says {given[names[0]].tolist()} to {text[:60]!r}, the package {label}; nothing "
                    f"was shipped. This is a fault of edgeprune's: please report it, and leave stages.package.tokenizer out"
                )
            expected.append(numbers)
            found.append(given["scores" if label is not None else names[0]])
        agreed = agreement(np.concatenate(expected), np.concatenate(found).reshape(np.concatenate(expected).shape))
        require_parity(agreed, _TOLERANCE, what="the graph that reads texts against the package's graph")
        return StageMetrics(
            parameters=model.manifest.metrics.parameters,
            model_bytes=made.stat().st_size,
            scores={"parity_max_error": agreed.relative_error, "texts": len(texts)},
        )


def _texts(prepared: "Prepared", tokenizer: "Tokenizer") -> Iterator[str]:
    """Yield rows of test, spread over all lengths, and texts with added tokens; nothing at all is a text too."""
    for row in prepared.spread(_ROWS):
        yield str(prepared.test.contents[row])
    yield ""
    for token in tokenizer.get_added_tokens_decoder().values():
        yield f"one{token.content}two {token.content.lower()} {token.content}"


def _meaning(spec: "TaskSpec", output: "Array") -> tuple["Array", list[str] | None]:
    """Say what a graph's outputs mean, as `postprocess_classification` does; None: they are numbers alone."""
    from scipy.special import expit, softmax

    if spec.problem_type == "single_label_classification":
        return softmax(output.astype(np.float64), axis=-1), [spec.labels[int(output.argmax())]]
    if spec.problem_type == "multi_label_classification":
        scores = expit(output.astype(np.float64))
        return scores, [label for label, score in zip(spec.labels, scores[0], strict=True) if score > 0.5]
    return output, None
