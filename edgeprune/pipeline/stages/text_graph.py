"""text-graph: write the shipped model as one file that takes a text and gives a label.

The stage writes `text.onnx`, which lies beside the package: the package's own graph stays as it is, and holds no weights
twice. Before the file is shipped, it reads rows of the test split and texts with each added token. It must give the ids of
`tokenizers`, and the package's own scores.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edgeprune.tasks.prepared import Prepared

__all__ = ["TEXT_MODEL", "TextGraph"]

TEXT_MODEL = "text.onnx"
_ROWS = 64


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
        from edgeprune.graph.session import onnx_session
        from edgeprune.graph.text_graph import text_session, write_text_graph
        from edgeprune.graph.text_graph_check import require_same_readings
        from edgeprune.models.spelling import spelling_of
        from edgeprune.models.wordpiece import read_wordpiece
        from edgeprune.ondevice.preprocess_text import Inputs
        from edgeprune.tasks.prepared import open_prepared
        from edgeprune.tasks.text import tokenizer_of

        model = work.parents["model"]
        variant = read_variant(model)
        assert variant is not None  # noqa: S101 (quantize always says which it made)
        session = variant.session_on(self._threads)
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

        texts = list(_texts(prepared, tokenizer))
        whole, alone = text_session(made, session), onnx_session(model.file("model.onnx"), session)
        found = require_same_readings(whole, alone, reader, spec, texts)
        return StageMetrics(
            parameters=model.manifest.metrics.parameters,
            model_bytes=made.stat().st_size,
            scores={"parity_max_error": found.relative_error, "texts": len(texts)},
        )


def _texts(prepared: "Prepared", tokenizer: "Tokenizer") -> Iterator[str]:
    """Yield rows of test, spread over all lengths, and texts with added tokens; nothing at all is a text too."""
    for row in prepared.spread(_ROWS):
        yield str(prepared.test.contents[row])
    yield ""
    for token in tokenizer.get_added_tokens_decoder().values():
        yield f"one{token.content}two {token.content.lower()} {token.content}"
