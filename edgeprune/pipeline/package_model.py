"""Run a package's model in this process: texts or images in, answers, probabilities or embeddings out.

A package's own `run.py` gives the same answers without edgeprune, one input at a time. Here, inputs may also be given in
batches. Inputs of similar length share a batch, because padding costs time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from edgeprune.base.errors import UsageError
from edgeprune.data.batches import together
from edgeprune.store.package import opened, usable
from edgeprune.tasks.registry import TASKS, TaskName, ondevice_modules

__all__ = ["Content", "PackageModel", "open_package_model"]

Content = str | tuple[str, str] | bytes | Path
"""A text, or two that belong together; an image's path, or the bytes of its file."""
Floats = npt.NDArray[np.float32]


class PackageModel:
    """Answer texts or images with a package's model. `edgeprune.load_onnx` makes it.

    Every method takes a list, or one text or image alone. `batch_size` is how many are answered at once. With 1, the
    answers are those of `run.py` to the last bit. With more, rows are padded on the right; outputs are the same up to
    rounding, and dynamic int8 rounds by one scale for the whole batch.
    """

    task: TaskName
    """The task's name."""
    labels: tuple[str, ...]
    """The names of the labels, in the order of the columns of `predict_proba`; empty if the task has none."""
    kind: Literal["text", "image"]
    """What the inputs are."""
    pair: bool
    """Whether an input is two texts that belong together."""
    padded: bool
    """Whether inputs of several lengths may share a batch."""
    shown: str
    """What messages call the package."""

    def __init__(self, model: Any, shown: str) -> None:
        self._model = model
        self.shown = shown
        self.task = model.config["task"]
        self._entry = TASKS[model.config["task"]]
        self.labels = tuple(model.config["labels"])
        self.kind = model.preprocess.KIND
        self.pair = bool(model.config.get("pair"))
        self.padded = self.kind == "image" or "attention_mask" in model.config["inputs"]

    def __call__(self, contents: Content | Sequence[Content], *, batch_size: int = 1) -> Any:
        """Answer one text or image with a dict, or a list of them with a list of dicts.

        The keys are those that `run.py` prints: `label` and `scores` for a classification, and so on.

        Raises:
            UsageError: One of them can't be read, or they don't fit into batches.
        """
        answers = self._answers(self._listed(contents), batch_size)
        return answers[0] if self._is_one(contents) else answers

    def predict(self, contents: Content | Sequence[Content], *, batch_size: int = 1) -> list[Any]:
        """Give the label of each text or image, the list of its labels (multi-label), or its number (regression).

        Raises:
            UsageError: The task is no classification, or one of the inputs can't be read.
        """
        self._require_labels("predict")
        answers = self._answers(self._listed(contents), batch_size)
        return [answer.get("label", answer.get("labels", answer.get("value"))) for answer in answers]

    def predict_proba(self, contents: Content | Sequence[Content], *, batch_size: int = 1) -> Floats:
        """Compute the probability of each label, [rows, labels]. Labels of a multi-label task have a sigmoid each.

        Raises:
            UsageError: The task has no labels to choose from, or one of the inputs can't be read.
        """
        from scipy.special import expit, softmax

        self._require_labels("predict_proba")
        kind = self._model.config["problem_type"]
        if kind == "regression":
            raise UsageError(f"{self.shown} gives a number, not labels, so there is no predict_proba; call predict")
        logits = self._stacked(contents, batch_size).astype(np.float64)
        if kind == "multi_label_classification":
            return cast("Floats", expit(logits).astype(np.float32))
        return cast("Floats", softmax(logits, axis=1).astype(np.float32))

    def encode(self, contents: Content | Sequence[Content], *, batch_size: int = 1) -> Floats:
        """Compute embeddings, [rows, hidden size].

        Raises:
            UsageError: The task is no feature extraction, or one of the inputs can't be read.
        """
        if not self._entry.taught_only:
            raise UsageError(f"{self.shown} is for {self.task}, which has no embeddings; call the model itself")
        return self._stacked(contents, batch_size)

    def read(self, lines: Iterable[str]) -> Iterator[Any]:
        """Make inputs of lines, as `run.py` does: two make one where the model takes pairs, and blank ones are left out.

        Raises:
            UsageError: A line can't be used.
        """
        try:
            with usable(f"{self.shown} can't read the lines", ValueError):
                yield from self._model.preprocess.contents(lines, self._model.config)
        except ValueError as error:
            raise UsageError(f"{self.shown} can't read the lines: {error}") from error

    def named(self, content: Content, answer: dict[str, Any]) -> dict[str, Any]:
        """Put an input, under the name of its kind, before its answer."""
        return {self.kind: content, **answer}

    def outputs(self, contents: Content | Sequence[Content], *, batch_size: int = 1) -> list[Floats]:
        """Compute the model's own outputs for each row: [labels], [hidden size] or [tokens, …].

        Raises:
            UsageError: One of the inputs can't be read, or they don't fit into batches.
        """
        return self._each(self._listed(contents), batch_size, lambda output, _encoding, _content: output)

    def _answers(self, contents: Sequence[Content], batch_size: int) -> list[dict[str, Any]]:
        answer = self._model.postprocess.answer
        return self._each(
            contents, batch_size, lambda output, encoding, content: answer(output, encoding, content, self._model)
        )

    def _each(
        self, contents: Sequence[Content], batch_size: int, made: Callable[[Floats, Any, Content], Any]
    ) -> list[Any]:
        """Run all inputs in batches of similar length, and make something of each one's output, in the given order.

        Only the tokens of one batch are held at once. A text is as long as its characters, which is near enough.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size should be 1 or more, got {batch_size}")
        inputs = self._model.inputs
        results: list[Any] = [None] * len(contents)
        try:
            with usable(f"{self.shown} can't answer this", ValueError, TypeError):
                order = sorted(range(len(contents)), key=lambda row: _characters(contents[row]))
                for first in range(0, len(order), batch_size):
                    rows = order[first : first + batch_size]
                    encodings = [inputs.encode(contents[row]) for row in rows]
                    outputs = self._run([inputs.feed(encoding) for encoding in encodings])
                    for row, encoding, output in zip(rows, encodings, outputs, strict=True):
                        results[row] = made(output, encoding, contents[row])
        except (ValueError, TypeError) as error:
            raise UsageError(f"{self.shown} can't read the inputs: {error}") from error
        return results

    def _run(self, feeds: list[dict[str, npt.NDArray[Any]]]) -> list[Floats]:
        """Run one batch. Of outputs that have a row for each token, give those of the input's own tokens."""
        raw = self._model.session.run(self._model.config["outputs"], together(feeds))
        found = (raw[0] if len(raw) == 1 else np.stack(raw, -1)).astype(np.float32)
        if self._entry.problem_types or self._entry.taught_only:
            return list(found)
        return [row[: feed["input_ids"].shape[1]] for row, feed in zip(found, feeds, strict=True)]

    def _stacked(self, contents: Content | Sequence[Content], batch_size: int) -> Floats:
        rows = self.outputs(contents, batch_size=batch_size)
        if not rows:
            raise UsageError(f"{self.shown} was given no inputs; give one or more")
        return np.stack(rows)

    def _require_labels(self, method: str) -> None:
        if not self._entry.problem_types:
            raise UsageError(
                f"{self.shown} is for {self.task}, which is no classification of whole inputs, so there is no {method}; call "
                f"the model itself"
            )

    def _is_one(self, contents: Content | Sequence[Content]) -> bool:
        return isinstance(contents, str | bytes | Path) or (isinstance(contents, tuple) and self.pair)

    def _listed(self, contents: Content | Sequence[Content]) -> list[Content]:
        if self._is_one(contents):
            return [cast("Content", contents)]
        try:
            listed = list(cast("Sequence[Content]", contents))
        except TypeError as error:
            raise UsageError(f"{self.shown} takes an input or a list of them, got {type(contents).__name__}") from error
        wanted, kinds = (
            ("images as paths or as the bytes of their files", str | bytes | Path)
            if self.kind == "image"
            else ("two texts as a tuple", tuple | list)
            if self.pair
            else ("texts", str)
        )
        for number, one in enumerate(listed):
            if not isinstance(one, kinds):
                raise UsageError(f"{self.shown} takes {wanted}, but input {number + 1} is {type(one).__name__}")
        return listed


def _characters(content: Content) -> int:
    """Count a text's characters, or those of both texts of a pair; images have one size."""
    texts = content if isinstance(content, tuple | list) else (content,)
    return sum(len(text) for text in texts if isinstance(text, str))


def open_package_model(path: Path, *, threads: int | None, provider: str | None) -> PackageModel:
    """Open a package's model: see `edgeprune.load_onnx`."""
    from onnxruntime import get_available_providers

    from edgeprune.ondevice.run import Model, OldLibraryError
    from edgeprune.store.package import description

    if threads is not None and threads < 1:
        raise UsageError(f"threads should be 1 or more, got {threads}")
    with opened(path) as folder, usable(str(path), OldLibraryError):
        described = description(folder)
        preprocess, postprocess = ondevice_modules(described["task"])
        wanted, here = provider or described["provider"], get_available_providers()
        if wanted not in here:  # ONNX Runtime would take the CPU
            raise UsageError(
                f"{path} is to run by {wanted}, but this onnxruntime has {', '.join(here)}; install one that has it, or name "
                f"another provider from Python"
            )
        try:
            model = Model(folder, threads=threads, provider=provider, preprocess=preprocess, postprocess=postprocess)
        except OldLibraryError as error:
            raise UsageError(f"{path}: {error}") from error
    return PackageModel(model, path.name)
