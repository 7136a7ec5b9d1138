"""Refuse `stages.package.tokenizer: graph` where a graph can't read texts as the tokenizer does, before anything is trained."""

from edgeprune.base.errors import ModelError, UsageError
from edgeprune.pipeline.checks import require_single_texts
from edgeprune.pipeline.subject import Subject
from edgeprune.profiles.pipeline import Pipeline

__all__ = ["check_graph_tokenizer"]

_OPSET = 20
"""The first opset with StringSplit."""
_INSTEAD = "leave it out: the package has a tokenizer.json"


def check_graph_tokenizer(pipeline: Pipeline, subject: Subject) -> None:
    """Check that a graph can read this model's texts, if the pipeline asks for one.

    Torch is imported only if it does.

    Raises:
        UsageError: The task has no such graph, or onnxruntime-extensions isn't installed.
        ModelError: The tokenizer is of a kind that a graph doesn't read as `tokenizers` does.
    """
    if pipeline.stages.package.tokenizer != "graph":
        return
    require_single_texts(subject, what="stages.package.tokenizer is graph", instead=_INSTEAD)
    if pipeline.stages.export.opset < _OPSET:
        raise UsageError(
            f"stages.package.tokenizer is graph, which takes opset {_OPSET}, but stages.export.opset is "
            f"{pipeline.stages.export.opset}; raise it, or leave stages.package.tokenizer out"
        )
    from edgeprune.graph.text_graph import import_extensions
    from edgeprune.graph.wordpiece_nodes import require_tellable
    from edgeprune.models.spelling import spelling_of
    from edgeprune.models.text_reader import load_text_reader
    from edgeprune.models.wordpiece import read_wordpiece, why_not_wordpiece

    import_extensions()
    reader = load_text_reader(subject.model.folder, pipeline.stages.prepare.max_length)
    tokenizer = reader.tokenizer.backend_tokenizer
    fault = why_not_wordpiece(tokenizer)
    if fault is not None:
        raise ModelError(
            f"stages.package.tokenizer is graph, which reads BERT's kind of tokenizer, but this "
            f"{subject.model.config['model_type']} model has another one: {fault}; {_INSTEAD}"
        )
    wordpiece = read_wordpiece(tokenizer, split_special_tokens=reader.tokenizer.split_special_tokens)
    require_tellable(wordpiece, spelling_of(tokenizer))
