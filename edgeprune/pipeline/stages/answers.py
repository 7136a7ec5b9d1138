"""answers: compute what the teachers answer on the rows that a pruned model learns from, once for all epochs and rounds.

The stage writes `answers.safetensors`: the teachers' mean output for each training row, and behind them for each row
without labels. A teacher whose hidden states are learned too runs in every step anyway, so it isn't among them.
"""

from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.base.events import Note
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.unlabelled import read_unlabelled
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from edgeprune.models.reader import Array

__all__ = ["ANSWERS", "TEACHER", "Answers"]

ANSWERS = "answers.safetensors"

TEACHER = "teacher-"
"""What the roles of other seeds' dense models begin with; a number follows."""


class Answers(Stage):
    """Answer the training rows and the rows without labels.

    Args:
        of_dense: Whether the build's dense model is among the teachers; else only those of other seeds are.
        unlabelled_digest: Digest of the rows without labels; None: there are none.
    """

    name = "answers"
    version = 1
    libraries = ("torch", "transformers", "tokenizers")
    roles = ("dense",)
    produces = (ANSWERS,)

    def __init__(self, *, of_dense: bool, unlabelled_digest: str | None) -> None:
        self._of_dense = of_dense
        self._unlabelled_digest = unlabelled_digest

    def fingerprint(self) -> dict[str, JsonValue]:
        return {"of_dense": self._of_dense, "unlabelled": self._unlabelled_digest}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.models.checkpoint import load_checkpoint
        from edgeprune.tasks.evaluation import predict_torch
        from edgeprune.tasks.prepared import open_prepared, save_outputs

        prepared = open_prepared(work.parents["dense"], work.data)
        task, examples = prepared.task, list(prepared.splits["train"].examples)
        if work.unlabelled is not None:
            unlabelled, notes = read_unlabelled(work.unlabelled, prepared)
            for note in notes:
                work.emit(Note(note, level="info"))
            examples += task.encode(prepared.reader, unlabelled)
        others = [artifact for role, artifact in work.parents.items() if role.startswith(TEACHER)]
        teachers = [work.parents["dense"], *others] if self._of_dense else others
        total: list[Array] | None = None
        for number, artifact in enumerate(teachers, 1):
            model = load_checkpoint(artifact.file("checkpoint"), task.auto_class)
            outputs = predict_torch(model, task, examples, prepared.reader)
            total = outputs if total is None else [one + two for one, two in zip(total, outputs, strict=True)]
            work.progress(number, len(teachers), "teachers")
        assert total is not None  # noqa: S101 (without a teacher the stage isn't planned)
        save_outputs({"train": [row / len(teachers) for row in total]}, work.folder / ANSWERS)
        return StageMetrics(scores={"rows": len(examples), "teachers": len(teachers)})
