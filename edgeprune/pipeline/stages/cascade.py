"""cascade: let a first stage answer the texts that it is sure of, so that only the others need the encoder.

The first stage is a bag of the shipped model's own tokens and pairs of neighbours (`edgeprune/cascade/`). It learns the dense
model's answers on the training rows, and on rows without labels where there are some. From which margin on it may answer is
chosen on the selection split: with the given confidence, new texts lose no more accuracy against the encoder alone than the
limit. The first stage has never seen these rows. The encoder was only chosen among its epochs on them, which makes it look
better there than it is, so the choice errs on the safe side.

The stage writes what quantize writes (`model.onnx`, `variant.json`, `reader/`, the outputs on test), and `cascade.json`. If
no threshold is sure enough, the graph is the encoder's, and a note says so.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue, TypeAdapter

from edgeprune.base.events import Note
from edgeprune.base.metric_words import change_words
from edgeprune.cascade.records import CascadeRow, PromiseRow
from edgeprune.pipeline.stages.answers import ANSWERS
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.unlabelled import read_unlabelled
from edgeprune.profiles.pipeline import CascadeConfig
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.variant import VARIANT, read_variant
from edgeprune.store.files import graph_files, total_bytes
from edgeprune.store.records import Artifact, StageMetrics
from edgeprune.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeprune.cascade.bag import Bag, Tokens
    from edgeprune.cascade.compared import Compared
    from edgeprune.cascade.risk_control import Promise
    from edgeprune.cascade.training import Lesson
    from edgeprune.models.reader import Array, Encoding, Inputs
    from edgeprune.tasks.prepared import Prepared, Split

__all__ = ["DENSE_ANSWERS", "Cascade", "answered_early", "read_cascade"]

DENSE_ANSWERS = "dense-answers"
"""The role of the dense model's own answers on the rows that are learned from."""

_FACTS = "cascade.json"
_EARLY = "early.json"
_ROW = TypeAdapter(CascadeRow | None)
_NUMBERS = TypeAdapter(list[int])


class Cascade(Stage):
    """Put a first stage in front of the shipped graph.

    Args:
        config: The pipeline's `stages.cascade`.
        than_encoder: What may be lost against the encoder alone.
        than_dense: What may be lost against the dense model; None: the encoder's own budget sees to it.
        threads: Threads of the target's runtime.
        unlabelled_digest: Digest of the rows without labels; None: there are none.
        round_number: The round of the graph's checkpoint.
    """

    name = "cascade"
    version = 1
    libraries = ("torch", "transformers", "onnx", "onnx-ir", "onnxruntime", "scipy")
    roles = ("dense", "model", DENSE_ANSWERS)
    produces = ("model.onnx", VARIANT, "reader", "outputs.safetensors", _FACTS, _EARLY)

    def __init__(
        self,
        config: CascadeConfig,
        *,
        than_encoder: PromiseRow,
        than_dense: PromiseRow | None,
        threads: int,
        unlabelled_digest: str | None,
        round_number: int,
    ) -> None:
        self.round = round_number
        self._config = config
        self._than_encoder = than_encoder
        self._than_dense = than_dense
        self._threads = threads
        self._unlabelled_digest = unlabelled_digest

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "pair_bits": self._config.pair_bits,
            "than_encoder": self._than_encoder.model_dump(),
            "than_dense": None if self._than_dense is None else self._than_dense.model_dump(),
            "threads": self._threads,
            "unlabelled": self._unlabelled_digest,
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.tasks.prepared import open_prepared, read_spec

        reader = work.parents["model"].file("reader")
        shutil.copytree(reader, work.folder / "reader")
        shutil.copyfile(work.parents["model"].file(VARIANT), work.folder / VARIANT)
        unfit = _why_unfit(read_spec(work.parents["dense"]))
        if unfit is not None:
            return _without(work, None, [f"stages.cascade had no effect: {unfit}"])
        return self._made(work, open_prepared(work.parents["dense"], work.data, reader=reader))

    def _made(self, work: Work, prepared: "Prepared") -> StageMetrics:
        from edgeprune.cascade.bag import margins
        from edgeprune.cascade.graph import write_cascade
        from edgeprune.cascade.parity import require_both_branches
        from edgeprune.cascade.risk_control import candidates, choose_threshold
        from edgeprune.cascade.training import train_bag
        from edgeprune.graph.session import onnx_session, predict_onnx
        from edgeprune.tasks.prepared import OUTPUTS, load_outputs

        model, reader, chosen_on = work.parents["model"], prepared.reader, prepared.splits["selection"]
        lesson, notes = _lesson(work, prepared)
        bag = train_bag(
            lesson,
            pair_bits=self._config.pair_bits,
            seed=work.seed,
            on_step=lambda done, total: work.progress(done, total, "epochs"),
        )
        session = self._session(model)
        encoder = onnx_session(model.file("model.onnx"), session)
        answered = predict_onnx(encoder, prepared.task, chosen_on.examples, reader)
        selection = _compared(bag, chosen_on, answered)
        test = _compared(bag, prepared.test, load_outputs(model.file(OUTPUTS))["test"])
        threshold = choose_threshold(
            selection.margins,
            selection.right,
            candidates(margins(bag.logits(lesson.texts))),
            self._promises(selection, prepared),
        )
        row = CascadeRow(
            than_encoder=self._than_encoder,
            than_dense=self._than_dense,
            threshold=threshold,
            selection=selection.row(threshold),
            test=test.row(threshold),
        )
        if threshold is None:
            return _without(work, row, [*notes, _unsure(row)])
        made = work.folder / "model.onnx"
        write_cascade(model.file("model.onnx"), made, bag, threshold)
        whole = onnx_session(made, session)
        outputs = predict_onnx(whole, prepared.task, prepared.test.examples, reader)
        error = require_both_branches(whole, encoder, prepared, outputs, test.outputs(threshold))
        _write_facts(work.folder, row, test.early(threshold).nonzero()[0].tolist())
        notes.append(_words(row))
        work.emit(Note(notes[-1], level="info"))
        return StageMetrics(
            parameters=(model.manifest.metrics.parameters or 0) + bag.table.size + bag.bias.size,
            model_bytes=total_bytes(graph_files(made)),
            metric=prepared.report(outputs, work.folder, seed=work.seed),
            notes=tuple(notes),
            scores={"parity_max_error": error},
        )

    def _promises(self, selection: "Compared", prepared: "Prepared") -> "list[Promise]":
        import numpy as np

        from edgeprune.cascade.risk_control import Promise

        _, encoder = selection.right
        promises = [Promise(encoder, **self._than_encoder.model_dump())]
        if self._than_dense is not None:
            dense = np.stack(prepared.dense_outputs["selection"]).argmax(-1) == selection.labels
            promises.append(Promise(dense, **self._than_dense.model_dump()))
        return promises

    def _session(self, model: Artifact) -> SessionOptions:
        variant = read_variant(model)
        assert variant is not None  # noqa: S101 (quantize always says which it made)
        return variant.session_on(self._threads)


def read_cascade(artifact: Artifact) -> CascadeRow | None:
    """Read what a cascade was found to do; None: there is no first stage for this kind of labels."""
    return _ROW.validate_json(artifact.file(_FACTS).read_bytes())


def answered_early(artifact: Artifact) -> list[int]:
    """List the test rows that the first stage of a graph answers; none if the graph has no first stage."""
    path = artifact.file(_EARLY)
    return _NUMBERS.validate_json(path.read_bytes()) if path.is_file() else []


def _why_unfit(spec: TaskSpec) -> str | None:
    """Say why a first stage can't answer; None: it can."""
    if spec.problem_type != "single_label_classification":
        return f"a first stage answers one label for each text, but this is a {spec.problem_type}"
    if len(spec.labels) < 2:
        return "there is one label, which needs no choice"
    return None


def _without(work: Work, row: CascadeRow | None, notes: "Sequence[str]") -> StageMetrics:
    """Give on the encoder as it is."""
    from edgeprune.tasks.prepared import OUTPUTS

    model = work.parents["model"]
    for path in (*graph_files(model.file("model.onnx")), model.file(OUTPUTS)):
        shutil.copyfile(path, work.folder / path.name)
    _write_facts(work.folder, row, [])
    work.emit(Note(notes[-1]))
    found = model.manifest.metrics
    return StageMetrics(
        parameters=found.parameters, model_bytes=found.model_bytes, metric=found.metric, notes=tuple(notes)
    )


def _write_facts(folder: Path, row: CascadeRow | None, early: list[int]) -> None:
    (folder / _FACTS).write_bytes(_ROW.dump_json(row, indent=2) + b"\n")
    (folder / _EARLY).write_bytes(_NUMBERS.dump_json(early) + b"\n")


def _lesson(work: Work, prepared: "Prepared") -> "tuple[Lesson, list[str]]":
    """Read the rows that a first stage learns from, and the dense model's answers. Return also what was assumed of them."""
    import numpy as np

    from edgeprune.cascade.training import Lesson
    from edgeprune.models.checkpoint import load_checkpoint, load_tokenizer
    from edgeprune.tasks.prepared import load_outputs
    from edgeprune.tasks.text import tokenizer_of

    task, dense = prepared.task, work.parents["dense"].file("checkpoint")
    inputs, notes = list(prepared.splits["train"].inputs), list[str]()
    if work.unlabelled is not None:
        unlabelled, notes = read_unlabelled(work.unlabelled, prepared)
        inputs += [example.inputs for example in task.encode(prepared.reader, unlabelled)]
    teacher = np.stack(load_outputs(work.parents[DENSE_ANSWERS].file(ANSWERS))["train"])
    # A vocabulary that was pruned has other numbers for the same tokens.
    known, ours = load_tokenizer(dense).get_vocab(), tokenizer_of(prepared.reader).get_vocab()
    places = np.zeros(1 + max(ours.values()), np.int64)
    places[list(ours.values())] = [known[token] for token in ours]
    embedding = load_checkpoint(dense, task.auto_class).get_input_embeddings().weight.detach().numpy()[places]
    return Lesson(_tokens(inputs), teacher, embedding), notes


def _tokens(rows: "Sequence[Inputs]") -> "list[Tokens]":
    import numpy as np

    return [np.array(cast("Encoding", row)["input_ids"], np.int64) for row in rows]


def _compared(bag: "Bag", split: "Split", encoder: "Sequence[Array]") -> "Compared":
    import numpy as np

    from edgeprune.cascade.compared import Compared

    assert split.references is not None  # noqa: S101 (a classification has labels)
    return Compared.of(bag, _tokens(split.inputs), np.stack(encoder), list(map(int, split.references)))


def _words(row: CascadeRow) -> str:
    """Say what a first stage does and promises."""
    return (
        f"a first stage answers {row.test.answered:.0%} of the test texts without the encoder: that lowers the mean time, and "
        f"leaves the slowest texts as slow; on test the accuracy changes by {_change(-row.test.lost)} against the encoder "
        f"alone; {_promised(row)}"
    )


def _promised(row: CascadeRow) -> str:
    """Say what new texts lose at most, and with which confidence."""
    promises = [(row.than_encoder, "the encoder alone"), (row.than_dense, "the dense model")]
    return " and ".join(
        f"with {promise.confidence:.0%} confidence new texts lose at most {100 * promise.limit:.2g} points against {model}"
        for promise, model in promises
        if promise is not None
    )


def _unsure(row: CascadeRow) -> str:
    """Say that no threshold passed."""
    return (
        f"the encoder answers every text: {row.selection.rows:,} selection rows show of no threshold of a first stage that "
        f"{_promised(row)}; give more rows (stages.prepare.selection_share or --selection-data), a larger budget.metric_drop "
        f"or stages.cascade.share, or set stages.cascade to null"
    )


def _change(change: float) -> str:
    return change_words("accuracy", change)
