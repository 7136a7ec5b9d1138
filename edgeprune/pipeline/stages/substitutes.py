"""substitutes: find the words that fit in place of each word of the texts that a pruned model learns from, once for all rounds.

The checkpoint that the build was given finds them, with its masked-language head, not the dense model that was made of it. The
stage writes `substitutes.safetensors`: for each word of the training texts, and behind them of the texts without labels,
the tokens of the likeliest words at its place.
"""

from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.unlabelled import read_unlabelled
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeprune.data.table import Text
    from edgeprune.models.text_reader import TextReader
    from edgeprune.tasks.text import Texts

__all__ = ["SUBSTITUTES", "FindSubstitutes"]

SUBSTITUTES = "substitutes.safetensors"


class FindSubstitutes(Stage):
    """Find the likeliest words for each place.

    Args:
        model_digest: Digest of the files of the checkpoint that the build was given.
        unlabelled_digest: Digest of the rows without labels; None: there are none.
    """

    name = "substitutes"
    version = 1
    libraries = ("torch", "transformers", "tokenizers")
    roles = ("dense",)
    produces = (SUBSTITUTES,)

    def __init__(self, *, model_digest: str, unlabelled_digest: str | None) -> None:
        self._model_digest = model_digest
        self._unlabelled_digest = unlabelled_digest

    def fingerprint(self) -> dict[str, JsonValue]:
        return {"model": self._model_digest, "unlabelled": self._unlabelled_digest}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.models.masked_head import load_masked_model
        from edgeprune.tasks.prepared import open_prepared
        from edgeprune.training.words_in_context import find_in_context

        prepared = open_prepared(work.parents["dense"], work.data)
        contents = list(prepared.splits["train"].contents)
        if work.unlabelled is not None:
            contents += read_unlabelled(work.unlabelled, prepared)[0]
        found = find_in_context(
            load_masked_model(work.model.folder),
            cast("Texts", prepared.task),
            cast("TextReader", prepared.reader),
            cast("Sequence[Text]", contents),
            on_batch=lambda done, total: work.progress(done, total, "batches"),
        )
        found.save(work.folder / SUBSTITUTES)
        return StageMetrics(scores={"rows": len(contents), "places": len(found.chunks)})
