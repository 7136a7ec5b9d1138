"""finetune: train a pruned checkpoint, with the dense model as its teacher, until it has recovered."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from edgeprune.base.events import Note
from edgeprune.pipeline.stages.answers import ANSWERS, TEACHER
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.substitutes import SUBSTITUTES
from edgeprune.pipeline.stages.unlabelled import read_unlabelled
from edgeprune.profiles.pipeline import FinetuneConfig
from edgeprune.store.environment import NumericMode
from edgeprune.store.records import StageMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeprune.data.table import Content, Text
    from edgeprune.tasks.prepared import Prepared
    from edgeprune.training.distillation import Teacher
    from edgeprune.training.word_replacement import Substitutes

__all__ = ["Finetune"]


class Finetune(Stage):
    """Recover a pruned checkpoint in one round.

    Args:
        config: The pipeline's `stages.finetune`.
        unlabelled_digest: Digest of the rows without labels; None: there are none.
        numeric: The numeric mode of training on this machine.
        round_number: The round, from 1.
    """

    name = "finetune"
    version = 2
    libraries = ("torch", "transformers", "accelerate")
    roles = ("dense", "checkpoint")
    produces = ("checkpoint/model.safetensors", "outputs.safetensors")

    def __init__(
        self, config: FinetuneConfig, *, unlabelled_digest: str | None, numeric: NumericMode, round_number: int
    ) -> None:
        self.round = round_number
        self._config = config
        self._unlabelled_digest = unlabelled_digest
        self._numeric = numeric

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(  # the parents tell what is left out
                mode="json", exclude={"distill": {"teachers"}, "replace": {"by"}}
            ),
            "unlabelled": self._unlabelled_digest,
            "numeric": self._numeric.model_dump(mode="json"),
            **self._config.key_parts,
        }

    def run(self, work: Work) -> StageMetrics:
        from transformers import set_seed

        from edgeprune.models.architectures import layers_of
        from edgeprune.models.checkpoint import count_parameters, load_checkpoint, save_checkpoint
        from edgeprune.models.record import dense_hidden, dense_layers, dense_tokens, read_pruning
        from edgeprune.tasks.evaluation import predict_torch
        from edgeprune.tasks.prepared import load_outputs, open_prepared
        from edgeprune.training.augmentation import Augmentation
        from edgeprune.training.distillation import Teacher
        from edgeprune.training.rows import Rows
        from edgeprune.training.trainer import train
        from edgeprune.training.word_replacement import WordReplacement

        dense, pruned = work.parents["dense"].file("checkpoint"), work.parents["checkpoint"].file("checkpoint")
        prepared = open_prepared(work.parents["dense"], work.data, reader=pruned)
        record, dense_record = read_pruning(pruned), read_pruning(dense)
        task = prepared.task
        model = load_checkpoint(pruned, task.auto_class)
        dense_model = load_checkpoint(dense, task.auto_class).requires_grad_(requires_grad=False)
        others = [
            load_checkpoint(artifact.file("checkpoint"), task.auto_class).requires_grad_(requires_grad=False)
            for role, artifact in work.parents.items()
            if role.startswith(TEACHER)
        ]
        teacher = Teacher(
            dense_model,
            self._config.distill,
            others=others,
            layers=dense_layers(record, dense_record, len(layers_of(dense_model))),
            tokens=dense_tokens(record, dense_record),
            hidden=dense_hidden(record, dense_record),
        )
        learned, selection = prepared.splits["train"], prepared.splits["selection"]
        contents, examples, notes = list(learned.contents), list(learned.examples), list[str]()
        if work.unlabelled is not None:
            unlabelled, notes = read_unlabelled(work.unlabelled, prepared)
            for note in notes:
                work.emit(Note(note, level="info"))
            contents += unlabelled
            examples += task.encode(prepared.reader, unlabelled)
        if "answers" in work.parents:
            answers = load_outputs(work.parents["answers"].file(ANSWERS))["train"]
            examples = [replace(example, answer=answer) for example, answer in zip(examples, answers, strict=True)]
        augmentation = replacement = None
        if (replacing := self._config.replace) is not None:
            substitutes = _substitutes(work, prepared, teacher, contents)
            replacement = WordReplacement(substitutes, texts=replacing.texts, words=replacing.words)
        if self._config.augment or replacement is not None:
            augmentation = Augmentation(
                task,
                prepared.reader,
                contents,
                share=self._config.augment,
                seed=work.seed,
                replacement=replacement,
            )
        set_seed(work.seed)
        train(
            model,
            task,
            config=self._config,
            teacher=teacher,
            examples=examples,
            selection=Rows(selection.examples, selection.references),
            reader=prepared.reader,
            numeric=self._numeric,
            seed=work.seed,
            folder=work.partial,
            on_step=lambda done, total: work.progress(done, total, "steps"),
            hold_zeros=record is not None and record.sparse,
            augmentation=augmentation,
        )
        save_checkpoint(model, work.folder / "checkpoint", record=record, reader=prepared.reader)
        outputs = predict_torch(model, task, prepared.test.examples, prepared.reader)
        return StageMetrics(
            parameters=count_parameters(model),
            model_bytes=(work.folder / "checkpoint/model.safetensors").stat().st_size,
            metric=prepared.report(outputs, work.folder, seed=work.seed),
            notes=tuple(notes),
        )


def _substitutes(work: Work, prepared: "Prepared", teacher: "Teacher", contents: "Sequence[Content]") -> "Substitutes":
    """Give what may take a word's place: what was found for it in its text, or else its neighbours.

    A word that the pruned model reads in pieces takes no place.
    """
    from edgeprune.tasks.text import tokenizer_of
    from edgeprune.training.whole_words import whole_words
    from edgeprune.training.word_neighbours import Neighbours
    from edgeprune.training.words_in_context import FoundInContext, InContext

    tokenizer = tokenizer_of(prepared.reader)
    if "substitutes" not in work.parents:
        return Neighbours(tokenizer, teacher.embedding, cast("Sequence[Text]", contents))
    found = FoundInContext.load(work.parents["substitutes"].file(SUBSTITUTES))
    whole, tokens = whole_words(tokenizer), teacher.tokens
    return InContext(found, whole if tokens is None else {int(tokens[token]): word for token, word in whole.items()})
